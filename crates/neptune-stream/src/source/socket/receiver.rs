//! The thread that connects, receives and cuts what it receives into records.

use std::io::{self, Read};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use crate::format::{
    Chunk, Format, Found, ReadOptions, Splitter, is_blank, line_length, trim_end_of_line,
};
use crate::source::socket::buffer::{Buffer, Most};

/// Bytes read at a time.
const READ_BYTES: usize = 64 << 10;
/// Bytes of records that are handed over together, at most one record more.
const CHUNK_BYTES: usize = 64 << 10;
/// Patience with one address that does not answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before the first attempt to connect again; doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Where to connect and how.
#[derive(Debug, Clone)]
pub(crate) struct Connect {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The end of the connection is the end of the source.
    pub(crate) bounded: bool,
    /// Attempts in a row without a connection after which the source fails.
    pub(crate) attempts: Option<u64>,
}

/// How a connection ended.
enum End {
    /// The other side has said that it is done.
    Done,
    Broken(io::Error),
    /// The source has been closed.
    Closed,
}

/// Connects and receives until the source is closed, or ends.
pub(crate) fn run(connect: &Connect, options: &ReadOptions, buffer: &Arc<Buffer>) {
    let address = format!("{}:{}", connect.host, connect.port);
    let (mut failures, mut pause) = (0, FIRST_PAUSE);
    loop {
        match open(connect) {
            Ok(connection) => {
                tracing::debug!(address, "connected");
                failures = 0;
                let mut records = Records::new(options, buffer);
                let end = receive(connection, buffer, &mut records);
                if records.any {
                    pause = FIRST_PAUSE;
                }
                match end {
                    End::Closed => return,
                    End::Done if connect.bounded => return buffer.end(),
                    End::Broken(error) if connect.bounded => return buffer.fail("read", &error),
                    End::Done => tracing::warn!(address, "the connection was closed"),
                    End::Broken(error) => tracing::warn!(address, %error, "the connection broke"),
                }
            }
            Err(error) => {
                failures += 1;
                if connect.attempts.is_some_and(|most| failures >= most) {
                    return buffer.fail("connect to", &error);
                }
                if failures == 1 {
                    tracing::warn!(address, %error, "cannot connect, trying again");
                }
            }
        }
        if !buffer.pause(pause) {
            return;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn open(connect: &Connect) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (connect.host.as_str(), connect.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(connection) => return Ok(connection),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn receive(mut connection: TcpStream, buffer: &Buffer, records: &mut Records<'_>) -> End {
    match connection.try_clone().map(|clone| buffer.connected(clone)) {
        Ok(true) => {}
        Ok(false) => return End::Closed,
        Err(error) => return End::Broken(error),
    }
    let mut bytes = vec![0; READ_BYTES];
    loop {
        let read = match connection.read(&mut bytes) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return End::Broken(error),
        };
        records
            .pending
            .extend_from_slice(bytes.get(..read).unwrap_or_default());
        if !records.hand_over(read == 0) {
            return End::Closed;
        }
        if read == 0 {
            return End::Done;
        }
    }
}

/// What one connection has given, on its way into the buffer.
struct Records<'a> {
    buffer: &'a Buffer,
    format: Format,
    splitter: Splitter,
    pending: Vec<u8>,
    /// The rest of a line that is too long is being passed over.
    skipping: bool,
    /// The beginning, where a byte order mark may stand, has been seen.
    begun: bool,
    /// There has been a record.
    any: bool,
}

impl<'a> Records<'a> {
    fn new(options: &ReadOptions, buffer: &'a Buffer) -> Self {
        Self {
            buffer,
            format: options.format,
            splitter: options.splitter(),
            pending: Vec::new(),
            skipping: false,
            begun: false,
            any: false,
        }
    }

    /// Puts the whole records of what is pending into the buffer, waiting for room; `last` when nothing will
    /// follow. False when the source has been closed.
    fn hand_over(&mut self, last: bool) -> bool {
        if !self.begun {
            if BYTE_ORDER_MARK.starts_with(&self.pending) && !last {
                // It may become one.
                return true;
            }
            if self.pending.starts_with(BYTE_ORDER_MARK) {
                self.pending.drain(..BYTE_ORDER_MARK.len());
            }
            self.begun = true;
        }
        let mut at = 0;
        loop {
            let Some(room) = self.buffer.wait_for_room() else {
                return false;
            };
            let mut chunk = Chunk::default();
            let more = self.cut(&mut at, room, last, &mut chunk);
            if chunk.rows() > 0 {
                self.any = true;
                self.buffer.push(chunk);
            }
            if !more {
                self.pending.drain(..at);
                return true;
            }
        }
    }

    /// Moves records from `at` on into a chunk; false when no whole record is left.
    fn cut(&mut self, at: &mut usize, room: Most, last: bool, chunk: &mut Chunk) -> bool {
        let bytes = room.bytes.min(CHUNK_BYTES);
        while (chunk.rows() as u64) < room.rows && chunk.data.len() < bytes {
            let rest = self.pending.get(*at..).unwrap_or_default();
            if rest.is_empty() {
                return false;
            }
            if self.skipping {
                let line = line_length(rest);
                let end = *at + line;
                self.skipping = self.pending.get(end.saturating_sub(1)) != Some(&b'\n');
                *at = end;
                continue;
            }
            let (bytes, bad) = match self.splitter.first(rest, last) {
                Found::More => return false,
                Found::Record { bytes, .. } => (bytes, None),
                Found::Bad {
                    bytes,
                    lines,
                    reason,
                } => {
                    self.skipping = lines == 0;
                    (bytes, Some(reason))
                }
            };
            let record = rest.get(..bytes).unwrap_or_default();
            *at += bytes;
            if bad.is_some() {
                // Nobody will decode it: the beginning tells what it was.
                chunk.push(record.get(..1 << 10).unwrap_or(record), bad);
            } else if !is_blank(self.format, trim_end_of_line(record)) {
                chunk.push(record, None);
            }
        }
        true
    }
}
