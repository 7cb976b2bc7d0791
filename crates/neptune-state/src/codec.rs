//! The inside of commits, snapshots and their parts.
//!
//! ```text
//! commit    body length 4 | body | section*
//! part      section*
//! section   table 4 | key group 2 | rows 4 | row*
//! row       key length 4 | value length 4 (all ones: deleted) | key | value
//! snapshot  key groups 2 | through 8 | rows 8 | bytes 8 | parts 4 | (length 8 | CRC 4)*
//! ```

use crate::changes::{Change, Changes, MAX_KEY, MAX_VALUE, TableId};
use crate::group::{Group, KeyGroups};
use crate::{Bytes, StateError};

const DELETED: u32 = u32::MAX;

/// Writes sections; rows of one table and key group go into one section as long as nothing comes between.
#[derive(Debug, Default)]
pub(crate) struct SectionWriter {
    buffer: Vec<u8>,
    /// The open section: its place, its count and where the count goes.
    open: Option<((TableId, Group), u32, usize)>,
}

impl SectionWriter {
    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.buffer.len()
    }

    pub(crate) fn row(&mut self, table: TableId, group: Group, key: &[u8], value: Option<&[u8]>) {
        let place = (table, group);
        if self
            .open
            .is_none_or(|(open, count, _)| open != place || count == u32::MAX)
        {
            self.close();
            self.buffer.extend_from_slice(&table.0.to_le_bytes());
            self.buffer.extend_from_slice(&group.number().to_le_bytes());
            self.open = Some((place, 0, self.buffer.len()));
            self.buffer.extend_from_slice(&[0; 4]);
        }
        if let Some((_, count, _)) = &mut self.open {
            *count += 1;
        }
        // Both lengths were checked when the change was made.
        self.buffer.extend_from_slice(&length(key).to_le_bytes());
        let value_length = value.map_or(DELETED, length);
        self.buffer.extend_from_slice(&value_length.to_le_bytes());
        self.buffer.extend_from_slice(key);
        self.buffer.extend_from_slice(value.unwrap_or_default());
    }

    fn close(&mut self) {
        if let Some((_, count, at)) = self.open.take() {
            self.buffer[at..at + 4].copy_from_slice(&count.to_le_bytes());
        }
    }

    /// The sections.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.close();
        self.buffer
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(DELETED)
}

/// The sections of a set of changes.
pub(crate) fn sections(changes: &Changes) -> Vec<u8> {
    let size: usize = changes
        .sections()
        .map(|(_, _, changes)| 10 + changes.iter().map(|c| 8 + c.size()).sum::<usize>())
        .sum();
    let mut writer = SectionWriter {
        buffer: Vec::with_capacity(size),
        open: None,
    };
    for (table, group, changes) in changes.sections() {
        for change in changes {
            writer.row(table, group, &change.key, change.value.as_deref());
        }
    }
    writer.finish()
}

/// Reads what the writers wrote; what does not fit is an error and never a panic.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    path: &'a str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(path: &'a str, content: &'a [u8]) -> Self {
        Self {
            path,
            rest: content,
        }
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], StateError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| self.malformed("a length in it goes past its end"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StateError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    fn u16(&mut self) -> Result<u16, StateError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, StateError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, StateError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn malformed(&self, what: &str) -> StateError {
        StateError::malformed(self.path, what)
    }

    /// The body of a commit.
    pub(crate) fn body(&mut self) -> Result<Vec<u8>, StateError> {
        let length = self.u32()? as usize;
        Ok(self.bytes(length)?.to_vec())
    }

    /// Hands the sections that follow to `take`.
    pub(crate) fn sections(
        &mut self,
        groups: KeyGroups,
        mut take: impl FnMut(TableId, Group, Vec<Change>) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        while !self.rest.is_empty() {
            let table = TableId(self.u32()?);
            let group = Group::new(self.u16()?);
            if groups.check(group).is_err() {
                return Err(
                    self.malformed(&format!("it has a row of {group}, which does not exist"))
                );
            }
            let count = self.u32()?;
            // A row has 8 bytes at least: a wrong count asks for no more memory than the file has.
            let mut changes = Vec::with_capacity((count as usize).min(self.rest.len() / 8));
            for _ in 0..count {
                let key_length = self.u32()? as usize;
                let value_length = self.u32()?;
                if key_length > MAX_KEY {
                    return Err(self.malformed("a key in it is too long"));
                }
                let key = Bytes::new(self.bytes(key_length)?);
                let value = match value_length {
                    DELETED => None,
                    length if length as usize > MAX_VALUE => {
                        return Err(self.malformed("a value in it is too long"));
                    }
                    length => Some(Bytes::new(self.bytes(length as usize)?)),
                };
                changes.push(Change { key, value });
            }
            take(table, group, changes)?;
        }
        Ok(())
    }
}

/// What a snapshot consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) groups: u16,
    /// The last micro-batch of which changes may be in the parts.
    pub(crate) through: u64,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// Length and checksum of the content of each part.
    pub(crate) parts: Vec<(u64, u32)>,
}

impl Manifest {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut buffer = Vec::with_capacity(30 + 12 * self.parts.len());
        buffer.extend_from_slice(&self.groups.to_le_bytes());
        buffer.extend_from_slice(&self.through.to_le_bytes());
        buffer.extend_from_slice(&self.rows.to_le_bytes());
        buffer.extend_from_slice(&self.bytes.to_le_bytes());
        buffer.extend_from_slice(&u32::try_from(self.parts.len()).unwrap_or(0).to_le_bytes());
        for (length, crc) in &self.parts {
            buffer.extend_from_slice(&length.to_le_bytes());
            buffer.extend_from_slice(&crc.to_le_bytes());
        }
        buffer
    }

    pub(crate) fn decode(path: &str, content: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader::new(path, content);
        let mut manifest = Self {
            groups: reader.u16()?,
            through: reader.u64()?,
            rows: reader.u64()?,
            bytes: reader.u64()?,
            parts: Vec::new(),
        };
        for _ in 0..reader.u32()? {
            manifest.parts.push((reader.u64()?, reader.u32()?));
        }
        if reader.rest.is_empty() {
            Ok(manifest)
        } else {
            Err(reader.malformed("it has more than its parts say"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_come_back_as_they_were() {
        let groups = KeyGroups::default();
        let mut changes = Changes::new(groups);
        let at = |group| Group::new(group);
        changes.put(TableId(2), at(63), b"", b"").unwrap();
        changes.put(TableId(1), at(0), b"k", vec![7; 100]).unwrap();
        changes.delete(TableId(1), at(0), b"k").unwrap();
        changes
            .delete(TableId(u32::MAX), at(3), vec![1; MAX_KEY])
            .unwrap();
        let mut read = Changes::new(groups);
        Reader::new("f", &sections(&changes))
            .sections(groups, |table, group, changes| {
                read.add_all(table, group, changes);
                Ok(())
            })
            .unwrap();
        assert!(read.sections().eq(changes.sections()));
        assert_eq!(read.len(), 4);
    }

    #[test]
    fn a_cut_at_any_place_is_an_error_or_a_shorter_list() {
        let groups = KeyGroups::default();
        let mut changes = Changes::new(groups);
        changes
            .put(TableId(1), Group::new(0), b"key", b"value")
            .unwrap();
        changes.delete(TableId(1), Group::new(1), b"key").unwrap();
        let whole = sections(&changes);
        let first_section = 10 + 8 + 8;
        for cut in 0..whole.len() {
            let read = Reader::new("f", &whole[..cut]).sections(groups, |_, _, _| Ok(()));
            assert_eq!(
                read.is_ok(),
                cut == 0 || cut == first_section,
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn a_manifest_comes_back_as_it_was() {
        let manifest = Manifest {
            groups: 64,
            through: 17,
            rows: 3,
            bytes: 99,
            parts: vec![(12, 34), (56, 78)],
        };
        let bytes = manifest.encode();
        assert_eq!(Manifest::decode("m", &bytes).unwrap(), manifest);
        for cut in 0..bytes.len() {
            assert!(Manifest::decode("m", &bytes[..cut]).is_err());
        }
    }
}
