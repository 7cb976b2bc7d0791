//! Lines of text over a TCP connection as a source, mostly for trying things out.
//!
//! A thread of its own connects, receives and keeps the records until the micro-batch that read them is
//! committed; it stops receiving while too many are kept, which makes the sender wait. An offset is a number of
//! records received. Within one life of the source any range that was not committed can be read again; a socket cannot
//! be asked for the past, so what was received and not committed before a crash is lost: **at most once** across
//! restarts; a micro-batch that is run again after one finds no rows. Each job has a connection of its own.

mod buffer;
mod receiver;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::physical_plan::ExecutionPlan;
use parking_lot::Mutex;

use crate::error::StreamError;
use crate::format::FileReader;
use crate::offset::{Offset, OffsetRange};
use crate::source::{FileEntry, ScanRequest, Source};
use buffer::{Buffer, Most};
use receiver::Connect;

/// Where a socket source connects, and how much it keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketOptions {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The source ends when the other side closes the connection; otherwise it connects again, with growing pauses.
    pub bounded: bool,
    /// Attempts in a row without a connection after which reading fails; without it there is no end.
    pub connect_attempts: Option<u64>,
    /// Records that are kept at most.
    pub max_rows: u64,
    /// Bytes of records after which receiving pauses, too.
    pub max_bytes: usize,
}

/// Records received over TCP.
#[derive(Debug)]
pub struct SocketSource {
    name: String,
    connect: Connect,
    reader: Arc<FileReader>,
    buffer: Arc<Buffer>,
    /// The thread has been started.
    started: Mutex<bool>,
}

impl SocketSource {
    /// A source that connects when it is first asked for its latest offset.
    pub fn new(name: impl Into<String>, socket: SocketOptions, reader: Arc<FileReader>) -> Self {
        let most = Most {
            rows: socket.max_rows,
            bytes: socket.max_bytes,
        };
        Self {
            reader,
            name: name.into(),
            connect: Connect {
                host: socket.host,
                port: socket.port,
                bounded: socket.bounded,
                attempts: socket.connect_attempts,
            },
            buffer: Arc::new(Buffer::new(most)),
            started: Mutex::new(false),
        }
    }

    /// What messages call the other side.
    fn place(&self) -> PathBuf {
        PathBuf::from(format!(
            "socket://{}:{}",
            self.connect.host, self.connect.port
        ))
    }

    fn start(&self) -> Result<(), StreamError> {
        let mut started = self.started.lock();
        if *started {
            return Ok(());
        }
        let (connect, options) = (self.connect.clone(), self.reader.options().clone());
        let buffer = Arc::clone(&self.buffer);
        std::thread::Builder::new()
            .name("neptune-socket".to_owned())
            .spawn(move || receiver::run(&connect, &options, &buffer))
            .map_err(StreamError::io("start a thread for", &self.place()))?;
        *started = true;
        Ok(())
    }
}

impl Drop for SocketSource {
    fn drop(&mut self) {
        self.buffer.close();
    }
}

#[async_trait]
impl Source for SocketSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn schema(&self) -> SchemaRef {
        self.reader.schema()
    }

    fn is_bounded(&self) -> bool {
        self.connect.bounded
    }

    fn initial_offset(&self) -> Offset {
        Offset::Rows(0)
    }

    async fn latest_offset(&self) -> Result<Offset, StreamError> {
        self.start()?;
        match self.buffer.received() {
            Ok(rows) => Ok(Offset::Rows(rows)),
            Err((action, error)) => Err(StreamError::io(action, &self.place())(error)),
        }
    }

    fn final_offset(&self) -> Option<Offset> {
        self.buffer.total().map(Offset::Rows)
    }

    async fn plan(
        &self,
        _: &dyn Session,
        range: &OffsetRange,
        request: ScanRequest<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>, StreamError> {
        let rows = range.rows(&self.name)?;
        let received = self
            .buffer
            .range(&rows)
            .ok_or_else(|| StreamError::Offset {
                name: self.name.clone(),
                reason: format!(
                    "rows {} to {} are not here: a socket keeps only what it received since it was \
                 opened and no micro-batch has committed",
                    rows.start, rows.end
                ),
            })?;
        let entry = FileEntry {
            path: self.place(),
            len: 0,
            modified_nanos: 0,
        };
        self.reader
            .plan_received(&self.name, entry, received, request)
    }

    /// How far the range goes: nothing before it can be had again.
    fn memo(&self, range: &OffsetRange) -> Result<Option<serde_json::Value>, StreamError> {
        let rows = range.rows(&self.name)?;
        Ok((!rows.is_empty()).then(|| rows.end.into()))
    }

    /// Counts on from where the earlier process was; what that received and did not commit is lost.
    fn recall(&self, memos: Vec<serde_json::Value>) -> Result<(), StreamError> {
        let ends: Option<Vec<u64>> = memos.iter().map(serde_json::Value::as_u64).collect();
        let ends = ends.ok_or_else(|| StreamError::Offset {
            name: self.name.clone(),
            reason: "the checkpoint's positions are of another source".to_owned(),
        })?;
        if let Some(end) = ends.into_iter().max() {
            self.buffer.begin_at(end);
        }
        Ok(())
    }

    async fn commit(&self, end: &Offset) -> Result<(), StreamError> {
        self.buffer.commit(end.position());
        Ok(())
    }

    fn malformed_records(&self) -> u64 {
        self.reader.malformed_records()
    }
}
