//! The records a socket has given and no micro-batch has committed, with a bound.

use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::format::{Chunk, Received};

/// Shared by the thread that receives and the source that reads.
#[derive(Debug)]
pub(crate) struct Buffer {
    state: Mutex<State>,
    /// There is room again, or the source has been closed.
    changed: Condvar,
    most: Most,
}

/// How much is kept before receiving stops; the last record may have more bytes than there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Most {
    pub(crate) rows: u64,
    pub(crate) bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Arc<Chunk>>,
    /// Where this life of the source has begun.
    begun: u64,
    /// Number of the first record in `chunks`.
    first: u64,
    /// Everything before it will not be asked for again.
    committed: u64,
    /// Records there have been.
    received: u64,
    /// Bytes in `chunks`.
    bytes: usize,
    /// Nothing more will come.
    ended: bool,
    failure: Option<(&'static str, io::ErrorKind, String)>,
    closed: bool,
    connection: Option<TcpStream>,
}

impl Buffer {
    pub(crate) fn new(most: Most) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            most,
        }
    }

    /// Adds records.
    pub(crate) fn push(&self, chunk: Chunk) {
        let mut state = self.state.lock();
        state.received += chunk.rows() as u64;
        state.bytes += chunk.data.len();
        state.chunks.push_back(Arc::new(chunk));
    }

    /// Waits until there is room and says how much; `None` when the source has been closed.
    pub(crate) fn wait_for_room(&self) -> Option<Most> {
        let mut state = self.state.lock();
        loop {
            let rows = state.received - state.committed;
            let room = Most {
                rows: self.most.rows.saturating_sub(rows),
                bytes: self.most.bytes.saturating_sub(state.bytes),
            };
            if state.closed {
                return None;
            }
            if room.rows > 0 && room.bytes > 0 {
                return Some(room);
            }
            self.changed.wait(&mut state);
        }
    }

    /// Waits for `time`; false when the source has been closed.
    pub(crate) fn pause(&self, time: Duration) -> bool {
        let mut state = self.state.lock();
        let until = std::time::Instant::now() + time;
        while !state.closed && !self.changed.wait_until(&mut state, until).timed_out() {}
        !state.closed
    }

    /// Notes down the connection to be shut down by [`Buffer::close`]; false when that has been.
    pub(crate) fn connected(&self, connection: TcpStream) -> bool {
        let mut state = self.state.lock();
        if !state.closed {
            state.connection = Some(connection);
        }
        !state.closed
    }

    /// Nothing more will come.
    pub(crate) fn end(&self) {
        self.state.lock().ended = true;
    }

    /// Nothing more will come, and that is an error.
    pub(crate) fn fail(&self, action: &'static str, error: &io::Error) {
        self.state.lock().failure = Some((action, error.kind(), error.to_string()));
    }

    /// Tells the thread that receives to end, wherever it waits.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        if let Some(connection) = state.connection.take() {
            // It may have gone already.
            let _ = connection.shutdown(Shutdown::Both);
        }
        self.changed.notify_all();
    }

    /// Records there have been.
    ///
    /// # Errors
    /// What was tried and why it failed, when nothing more will come for that.
    pub(crate) fn received(&self) -> Result<u64, (&'static str, io::Error)> {
        let state = self.state.lock();
        match &state.failure {
            Some((action, kind, text)) => Err((action, io::Error::new(*kind, text.clone()))),
            None => Ok(state.received),
        }
    }

    /// Records there have been and will ever be, once that is known.
    pub(crate) fn total(&self) -> Option<u64> {
        let state = self.state.lock();
        state.ended.then_some(state.received)
    }

    /// The records of a range, as long as none of them was committed or is still to come; none of a range from an
    /// earlier life.
    pub(crate) fn range(&self, rows: &Range<u64>) -> Option<Received> {
        let state = self.state.lock();
        if rows.end <= state.begun {
            return Some(Received::new(vec![], rows.start));
        }
        if rows.start < state.committed || rows.end > state.received {
            return None;
        }
        let (mut slices, mut at) = (Vec::new(), state.first);
        for chunk in &state.chunks {
            let end = at + chunk.rows() as u64;
            if rows.start < end && at < rows.end {
                let within = |row: u64| usize::try_from(row.clamp(at, end) - at).unwrap_or(0);
                slices.push((Arc::clone(chunk), within(rows.start)..within(rows.end)));
            }
            at = end;
        }
        Some(Received::new(slices, rows.start))
    }

    /// Counts on from a position of an earlier life of the source, before anything is received.
    pub(crate) fn begin_at(&self, position: u64) {
        let mut state = self.state.lock();
        if state.received == 0 {
            (state.begun, state.first) = (position, position);
            (state.committed, state.received) = (position, position);
        }
    }

    /// Forgets the records before `end`.
    pub(crate) fn commit(&self, end: u64) {
        let mut state = self.state.lock();
        let end = end.min(state.received);
        state.committed = state.committed.max(end);
        while let Some(chunk) = state.chunks.front()
            && state.first + chunk.rows() as u64 <= state.committed
        {
            let (rows, bytes) = (chunk.rows() as u64, chunk.data.len());
            state.first += rows;
            state.bytes -= bytes;
            state.chunks.pop_front();
        }
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(records: &[&str]) -> Chunk {
        let mut chunk = Chunk::default();
        for record in records {
            chunk.push(record.as_bytes(), None);
        }
        chunk
    }

    fn texts(buffer: &Buffer, rows: Range<u64>) -> Option<Vec<String>> {
        let mut received = buffer.range(&rows)?;
        let mut all = vec![];
        while let Some((record, number, _)) = received.next() {
            assert_eq!(number, rows.start + all.len() as u64 + 1);
            all.push(String::from_utf8_lossy(record).into_owned());
        }
        Some(all)
    }

    #[test]
    fn any_range_that_was_not_committed_can_be_read_again() {
        let buffer = Buffer::new(Most {
            rows: 5,
            bytes: 100,
        });
        buffer.push(chunk(&["a", "b"]));
        buffer.push(chunk(&["c", "d", "e"]));
        assert_eq!(buffer.received().unwrap(), 5);
        for _ in 0..2 {
            assert_eq!(texts(&buffer, 1..4).unwrap(), ["b", "c", "d"]);
        }
        assert_eq!(texts(&buffer, 2..2).unwrap(), [""; 0]);
        buffer.commit(3);
        assert_eq!(texts(&buffer, 3..5).unwrap(), ["d", "e"]);
        assert!(texts(&buffer, 2..4).is_none(), "committed");
        assert!(texts(&buffer, 3..6).is_none(), "still to come");
        assert_eq!(buffer.wait_for_room().unwrap().rows, 3);
        buffer.commit(3);
        buffer.commit(1);
        assert_eq!(texts(&buffer, 3..5).unwrap(), ["d", "e"]);
        buffer.commit(5);
        assert_eq!(texts(&buffer, 5..5).unwrap(), [""; 0]);
        assert_eq!(buffer.total(), None);
        buffer.end();
        assert_eq!(buffer.total(), Some(5));
    }

    #[test]
    fn bytes_are_bounded_as_well_and_waiting_ends_with_the_source() {
        let buffer = Arc::new(Buffer::new(Most {
            rows: 100,
            bytes: 4,
        }));
        buffer.push(chunk(&["ab", "cd"]));
        let (tell, told) = std::sync::mpsc::channel();
        let waiting = Arc::clone(&buffer);
        let waiting = std::thread::spawn(move || {
            let first = waiting.wait_for_room();
            waiting.push(chunk(&["efgh"]));
            tell.send(first).unwrap();
            waiting.wait_for_room()
        });
        // Half of a chunk frees nothing: it is kept as a whole.
        buffer.commit(1);
        assert!(told.try_recv().is_err());
        buffer.commit(2);
        let room = Most {
            rows: 100,
            bytes: 4,
        };
        assert_eq!(told.recv().unwrap(), Some(room));
        buffer.close();
        assert_eq!(waiting.join().unwrap(), None);
        assert!(!buffer.pause(Duration::from_secs(1000)));
    }

    #[test]
    fn counting_goes_on_from_an_earlier_life_whose_records_are_lost() {
        let buffer = Buffer::new(Most {
            rows: 10,
            bytes: 100,
        });
        buffer.begin_at(40);
        assert_eq!(buffer.received().unwrap(), 40);
        buffer.push(chunk(&["a", "b"]));
        assert_eq!(buffer.received().unwrap(), 42);
        assert_eq!(texts(&buffer, 30..40).unwrap(), [""; 0]);
        assert!(texts(&buffer, 39..41).is_none());
        assert_eq!(texts(&buffer, 40..42).unwrap(), ["a", "b"]);
        assert_eq!(buffer.wait_for_room().unwrap().rows, 8);
    }
}
