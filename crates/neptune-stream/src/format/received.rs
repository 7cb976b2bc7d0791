//! Records that came in over a connection and wait in memory to be decoded.

use std::ops::Range;
use std::sync::Arc;

use crate::format::records::Reason;

/// Some records one after the other, as they came.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) data: Vec<u8>,
    /// Where each record ends in `data`, and why it is none, if it is none.
    pub(crate) ends: Vec<(usize, Option<Reason>)>,
}

impl Chunk {
    pub(crate) fn push(&mut self, record: &[u8], bad: Option<Reason>) {
        self.data.extend_from_slice(record);
        self.ends.push((self.data.len(), bad));
    }

    pub(crate) fn rows(&self) -> usize {
        self.ends.len()
    }

    fn record(&self, index: usize) -> Option<(&[u8], Option<Reason>)> {
        let start = match index.checked_sub(1) {
            Some(before) => self.ends.get(before)?.0,
            None => 0,
        };
        let (end, bad) = *self.ends.get(index)?;
        Some((self.data.get(start..end)?, bad))
    }
}

/// A range of the records that were received.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// Chunks with the records wanted of each.
    pub(crate) slices: Arc<[(Arc<Chunk>, Range<usize>)]>,
    /// The number of the first record, counted from 0 since the source was opened.
    pub(crate) first: u64,
    /// What has been taken: whole slices, and records of the slice after them.
    slice: usize,
    record: usize,
    taken: u64,
}

impl Received {
    pub(crate) fn new(slices: Vec<(Arc<Chunk>, Range<usize>)>, first: u64) -> Self {
        Self {
            slices: slices.into(),
            first,
            slice: 0,
            record: 0,
            taken: 0,
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.slices.iter().map(|(_, rows)| rows.len()).sum()
    }

    pub(crate) fn bytes(&self) -> usize {
        let bytes = self.slices.iter().map(|(chunk, rows)| {
            let end = |index: usize| chunk.ends.get(index).map_or(0, |(end, _)| *end);
            let start = rows.start.checked_sub(1).map_or(0, end);
            rows.end.checked_sub(1).map_or(0, end).saturating_sub(start)
        });
        bytes.sum()
    }

    /// The next record, its number counted from 1 and why it is none, if it is none.
    pub(crate) fn next(&mut self) -> Option<(&[u8], u64, Option<Reason>)> {
        while let Some((_, rows)) = self.slices.get(self.slice)
            && rows.start + self.record >= rows.end
        {
            (self.slice, self.record) = (self.slice + 1, 0);
        }
        let (chunk, rows) = self.slices.get(self.slice)?;
        let (record, bad) = chunk.record(rows.start + self.record)?;
        self.record += 1;
        self.taken += 1;
        Some((record, self.first + self.taken, bad))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_in_order_with_their_numbers() {
        let chunk = |records: &[&str]| {
            let mut chunk = Chunk::default();
            for record in records {
                chunk.push(record.as_bytes(), None);
            }
            Arc::new(chunk)
        };
        let slices = vec![
            (chunk(&["a", "b", "cc"]), 1..3),
            (chunk(&["x"]), 0..0),
            (chunk(&["", "d"]), 0..2),
        ];
        let mut received = Received::new(slices, 10);
        assert_eq!((received.rows(), received.bytes()), (4, 4));
        let mut all = vec![];
        while let Some((record, number, _)) = received.next() {
            all.push((String::from_utf8_lossy(record).into_owned(), number));
        }
        let expected = [("b", 11), ("cc", 12), ("", 13), ("d", 14)];
        assert_eq!(
            all,
            expected.map(|(text, number)| (text.to_owned(), number))
        );
    }
}
