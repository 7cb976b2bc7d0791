//! The stream of one partition of row-format files.
//!
//! Blocks are read ahead on the blocking pool; records are decoded inside the task's own poll, so that a
//! suspended task stops here too. A batch is made of a window of raw records: when decoding it fails, and only
//! then, the records are tried one by one to find the malformed ones. Records that were received over a connection go
//! the same way, without the files.

use std::future::poll_fn;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::metrics::Count;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::stream;
use neptune_exec::yielding::poll_yield;

use crate::error::StreamError;
use crate::format::blocks::{Block, Blocks};
use crate::format::decode::{Layout, RowDecoder};
use crate::format::malformed::{Policy, Rejected};
use crate::format::received::Received;
use crate::format::records::{Found, Reason, Splitter, is_blank, line_length, trim_end_of_line};
use crate::format::{Format, ReadOptions};
use crate::scan::{ScanContext, ScanPartition};
use crate::source::{Access, FileEntry};

/// Rows per batch: converting more of them at once would make a long poll.
const WINDOW_ROWS: usize = 2048;
/// A window ends early when its records have this many bytes.
const WINDOW_BYTES: usize = 1 << 20;
/// Records decoded between two yield points.
const YIELD_EVERY: usize = 64;
/// Bytes of a record that are kept when it is too long.
const KEPT_OF_TOO_LONG: usize = 64 << 10;

/// Some files of one table in one row format, or records that were received.
#[derive(Debug)]
pub(crate) struct RowPartition {
    pub(crate) access: Access,
    /// The files; of received records what messages call the place they came from.
    pub(crate) files: Arc<[FileEntry]>,
    /// Records that are in memory already.
    pub(crate) received: Option<Received>,
    pub(crate) options: ReadOptions,
    /// All columns of the table.
    pub(crate) table: SchemaRef,
    /// The columns wanted.
    pub(crate) schema: SchemaRef,
    pub(crate) policy: Arc<Policy>,
}

impl ScanPartition for RowPartition {
    fn open(&self, cx: &ScanContext) -> Result<SendableRecordBatchStream> {
        let reader = RowReader {
            files: Arc::clone(&self.files),
            format: self.options.format,
            header: self.options.format == Format::Csv && self.options.csv.header,
            options: self.options.clone(),
            table: Arc::clone(&self.table),
            schema: Arc::clone(&self.schema),
            policy: Arc::clone(&self.policy),
            malformed: cx.malformed.clone(),
            splitter: self.options.splitter(),
            most_rows: cx.batch_size.min(WINDOW_ROWS),
            feed: match &self.received {
                Some(received) => Feed::Received(received.clone()),
                None => {
                    let files = Arc::clone(&self.files);
                    Feed::Files(Blocks::new(
                        self.access.clone(),
                        files,
                        self.options.packing,
                    ))
                }
            },
            window: Window::default(),
            file: None,
        };
        let batches = stream::try_unfold(reader, |mut reader| async move {
            let batch = reader.next_batch().await.map_err(DataFusionError::from)?;
            Ok(batch.map(|batch| (batch, reader)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            batches,
        )))
    }

    fn statistics(&self) -> Statistics {
        if let Some(received) = &self.received {
            return Statistics::new_unknown(&self.schema)
                .with_num_rows(Precision::Inexact(received.rows()))
                .with_total_byte_size(Precision::Inexact(received.bytes()));
        }
        let bytes: u64 = self.files.iter().map(|file| file.len).sum();
        let bytes = usize::try_from(bytes).map_or(Precision::Absent, Precision::Inexact);
        Statistics::new_unknown(&self.schema).with_total_byte_size(bytes)
    }
}

/// The file being read.
struct OpenFile {
    index: usize,
    /// Its last block has arrived.
    ended: bool,
    /// Line of the next record.
    line: u64,
    /// The rest of a line that is too long is being passed over.
    skipping: bool,
    /// Known once the header has been seen.
    layout: Option<Layout>,
    decoder: Option<RowDecoder>,
}

impl OpenFile {
    fn new(index: usize, ended: bool) -> Self {
        Self {
            index,
            ended,
            line: 1,
            skipping: false,
            layout: None,
            decoder: None,
        }
    }
}

/// Raw bytes of the records that make the next batch, and of what follows them.
#[derive(Default)]
struct Window {
    data: Vec<u8>,
    /// Where the first byte that is in no record yet stands.
    rest: usize,
    records: Vec<(Range<usize>, u64)>,
    /// What the splitter turned down.
    rejected: Vec<Rejected>,
}

impl Window {
    /// Forgets the records, keeps what follows them.
    fn begin(&mut self) {
        self.data.drain(..self.rest);
        self.rest = 0;
        self.records.clear();
        self.rejected.clear();
    }

    fn append(&mut self, block: Vec<u8>) {
        if self.data.is_empty() {
            self.data = block;
        } else {
            self.data.extend_from_slice(&block);
        }
    }

    /// Throws away the first `bytes` of the rest without keeping them for the records.
    fn skip(&mut self, bytes: usize) {
        let end = (self.rest + bytes).min(self.data.len());
        if end == self.data.len() {
            self.data.truncate(self.rest);
        } else {
            self.rest = end;
        }
    }

    fn has_rows(&self) -> bool {
        !self.records.is_empty() || !self.rejected.is_empty()
    }

    fn bytes(&self, range: &Range<usize>) -> &[u8] {
        self.data.get(range.clone()).unwrap_or_default()
    }
}

/// Where records come from.
enum Feed {
    Files(Blocks),
    Received(Received),
}

struct RowReader {
    files: Arc<[FileEntry]>,
    format: Format,
    header: bool,
    options: ReadOptions,
    table: SchemaRef,
    schema: SchemaRef,
    policy: Arc<Policy>,
    malformed: Count,
    splitter: Splitter,
    most_rows: usize,
    feed: Feed,
    window: Window,
    file: Option<OpenFile>,
}

impl RowReader {
    async fn next_batch(&mut self) -> Result<Option<RecordBatch>, StreamError> {
        while self.gather().await? {
            if let Some(batch) = self.decode().await? {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    /// Fills the window with records of one file; false at the end of the last file.
    async fn gather(&mut self) -> Result<bool, StreamError> {
        self.window.begin();
        if let Feed::Received(_) = &self.feed {
            return self.gather_received();
        }
        loop {
            if self.split()? {
                return Ok(true);
            }
            if self.file.as_ref().is_none_or(|file| file.ended) {
                if self.window.has_rows() {
                    return Ok(true);
                }
                self.file = None;
            }
            let Feed::Files(blocks) = &mut self.feed else {
                return Ok(false);
            };
            let Some(block) = blocks.next().await? else {
                return Ok(false);
            };
            if block.gone {
                self.malformed.add(1);
                self.policy.gone(entry(&self.files, block.file)?).await?;
            } else {
                self.take(block);
            }
        }
    }

    /// Fills the window with records that were received; false when there are no more.
    fn gather_received(&mut self) -> Result<bool, StreamError> {
        let (Feed::Received(received), window) = (&mut self.feed, &mut self.window) else {
            return Ok(false);
        };
        while window.records.len() + window.rejected.len() < self.most_rows
            && window.data.len() < WINDOW_BYTES
        {
            let Some((record, number, bad)) = received.next() else {
                break;
            };
            if let Some(reason) = bad {
                window.rejected.push(rejected(number, reason, record));
                continue;
            }
            let start = window.data.len();
            window.data.extend_from_slice(record);
            window.rest = window.data.len();
            window.records.push((start..window.rest, number));
        }
        if self.file.is_none() {
            let layout = layout(
                &self.options,
                &self.table,
                &self.schema,
                None,
                entry(&self.files, 0)?,
            )?;
            self.file = Some(OpenFile {
                layout: Some(layout),
                ..OpenFile::new(0, true)
            });
        }
        Ok(self.window.has_rows())
    }

    fn take(&mut self, mut block: Block) {
        match &mut self.file {
            Some(file) => file.ended = block.last,
            None => {
                if block.data.starts_with(b"\xef\xbb\xbf") {
                    // A byte order mark says nothing in UTF-8.
                    block.data.drain(..3);
                }
                self.file = Some(OpenFile::new(block.file, block.last));
            }
        }
        self.window.append(block.data);
    }

    /// Finds records in the bytes at hand; true when the window is full.
    fn split(&mut self) -> Result<bool, StreamError> {
        let (Some(file), window) = (&mut self.file, &mut self.window) else {
            return Ok(false);
        };
        loop {
            if window.records.len() + window.rejected.len() >= self.most_rows
                || window.rest >= WINDOW_BYTES && window.has_rows()
            {
                return Ok(true);
            }
            let rest = window.data.get(window.rest..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(false);
            }
            if file.skipping {
                let bytes = line_length(rest);
                file.skipping = !rest.get(..bytes).is_some_and(|line| line.ends_with(b"\n"));
                file.line += u64::from(!file.skipping);
                window.skip(bytes);
                continue;
            }
            let line = file.line;
            let (bytes, lines, bad) = match self.splitter.first(rest, file.ended) {
                Found::More => return Ok(false),
                Found::Record { bytes, lines } => (bytes, lines, None),
                Found::Bad {
                    bytes,
                    lines,
                    reason,
                } => (bytes, lines, Some(reason)),
            };
            let range = window.rest..window.rest + bytes;
            window.rest = range.end;
            file.line += lines;
            let record = window.data.get(range.clone()).unwrap_or_default();
            let raw = trim_end_of_line(record);
            if let Some(reason) = bad {
                file.skipping = lines == 0;
                window.rejected.push(rejected(line, reason, raw));
                window.rest = range.start;
                window.skip(bytes);
                continue;
            }
            if is_blank(self.format, raw) {
                continue;
            }
            if file.layout.is_none() {
                let header = self.header.then_some(record);
                let entry = entry(&self.files, file.index)?;
                let layout = layout(&self.options, &self.table, &self.schema, header, entry)?;
                file.layout = Some(layout);
                if self.header {
                    continue;
                }
            }
            window.records.push((range, line));
        }
    }

    /// Decodes the window's records; `None` when none of them is left.
    async fn decode(&mut self) -> Result<Option<RecordBatch>, StreamError> {
        let (Some(file), window) = (&mut self.file, &mut self.window) else {
            return Ok(None);
        };
        let entry = entry(&self.files, file.index)?;
        let (Some(layout), false) = (&file.layout, window.records.is_empty()) else {
            let rejected = std::mem::take(&mut window.rejected);
            self.malformed.add(rejected.len());
            self.policy.reject(entry, rejected).await?;
            return Ok(None);
        };
        let first_line = window.records.first().map(|(_, line)| *line);
        let broken = |reason: String| StreamError::Malformed {
            file: entry.path.clone(),
            line: first_line,
            column: None,
            reason,
        };

        // Sized to what is needed: a micro-batch of ten rows should not allocate for thousands.
        let rows = window.records.len();
        let mut decoder = match file.decoder.take() {
            Some(decoder) if decoder.capacity() >= rows => decoder,
            _ => RowDecoder::new(layout, rows.next_power_of_two()).map_err(broken)?,
        };
        let mut batch = Ok(None);
        for (index, (range, _)) in window.records.iter().enumerate() {
            if index % YIELD_EVERY == 0 {
                poll_fn(poll_yield).await;
            }
            let record = window.bytes(range);
            let mut push = decoder.begin(record);
            batch = loop {
                match decoder.step(&mut push) {
                    Ok(true) => break Ok(None),
                    Ok(false) => poll_fn(poll_yield).await,
                    Err(reason) => break Err(reason),
                }
            };
            if batch.is_err() {
                break;
            }
        }
        if batch.is_ok() {
            batch = decoder.finish();
        }
        if let Ok(batch) = batch {
            file.decoder = Some(decoder);
            if window.rejected.is_empty() {
                return Ok(batch);
            }
            let rejected = std::mem::take(&mut window.rejected);
            self.malformed.add(rejected.len());
            self.policy.reject(entry, rejected).await?;
            return Ok(batch);
        }

        let mut rejected = std::mem::take(&mut window.rejected);
        let mut sound = Vec::with_capacity(rows);
        for (index, (range, line)) in window.records.iter().enumerate() {
            if index % YIELD_EVERY == 0 {
                poll_fn(poll_yield).await;
            }
            let record = window.bytes(range);
            match layout.fault(record) {
                None => sound.push(range),
                Some(fault) => rejected.push(Rejected {
                    line: Some(*line),
                    column: fault.column,
                    reason: fault.reason,
                    raw: trim_end_of_line(record).to_vec(),
                }),
            }
        }
        rejected.sort_by_key(|record| record.line);
        self.malformed.add(rejected.len());
        self.policy.reject(entry, rejected).await?;
        let mut decoder =
            RowDecoder::new(layout, sound.len().next_power_of_two()).map_err(broken)?;
        for range in sound {
            decoder.push(window.bytes(range)).map_err(broken)?;
        }
        let batch = decoder.finish().map_err(broken)?;
        file.decoder = Some(decoder);
        Ok(batch)
    }
}

/// How the wanted columns lie in the records of a file.
fn layout(
    options: &ReadOptions,
    table: &SchemaRef,
    wanted: &SchemaRef,
    header: Option<&[u8]>,
    entry: &FileEntry,
) -> Result<Layout, StreamError> {
    match options.format {
        Format::Csv => Layout::csv(table, wanted, options.csv, header, entry),
        _ => Ok(Layout::json(wanted)),
    }
}

/// What the splitter turned down.
fn rejected(line: u64, reason: Reason, raw: &[u8]) -> Rejected {
    let kept = raw.len().min(KEPT_OF_TOO_LONG);
    Rejected {
        line: Some(line),
        column: None,
        reason: reason.to_string(),
        raw: trim_end_of_line(raw.get(..kept).unwrap_or(raw)).to_vec(),
    }
}

fn entry(files: &[FileEntry], index: usize) -> Result<&FileEntry, StreamError> {
    files
        .get(index)
        .ok_or_else(|| StreamError::lost("a block of no file"))
}
