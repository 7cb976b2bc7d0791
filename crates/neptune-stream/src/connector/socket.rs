//! Connector `socket`: its options, and the source that is opened from them.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;

use crate::connector::files::format_of;
use crate::connector::{Options, TableSpec, count};
use crate::error::StreamError;
use crate::event_time::mark_column;
use crate::format::{FileReader, Format, ReadOptions};
use crate::source::{SocketOptions, SocketSource, Source};

/// Records kept at most unless told otherwise.
const MAX_ROWS: u64 = 100_000;
/// Bytes of records kept at most unless told otherwise.
const MAX_BYTES: u64 = 64 << 20;

/// A socket as it was declared.
#[derive(Debug)]
pub(crate) struct Socket {
    socket: SocketOptions,
    /// One for all sources, so that malformed records are counted together.
    reader: Arc<FileReader>,
}

impl Socket {
    pub(crate) fn is_bounded(&self) -> bool {
        self.socket.bounded
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        self.reader.schema()
    }

    /// A source with a connection of its own.
    pub(crate) fn source(&self, table: &str) -> Arc<dyn Source> {
        let (socket, reader) = (self.socket.clone(), Arc::clone(&self.reader));
        Arc::new(SocketSource::new(table, socket, reader))
    }
}

/// Reads the options of `socket`.
///
/// # Errors
/// [`StreamError`] for an option that is missing or has a value that cannot be used.
pub(crate) fn socket(spec: &TableSpec, options: &mut Options<'_>) -> Result<Socket, StreamError> {
    let host = match options.text("host") {
        Some(host) if !host.is_empty() => host.to_owned(),
        _ => return Err(options.missing("host", "write host = 'NAME'")),
    };
    let port = match options.number("port", 1)? {
        None => return Err(options.missing("port", "write port = 'NUMBER'")),
        Some(port) => u16::try_from(port).map_err(|_| StreamError::Option {
            key: "port".to_owned(),
            value: port.to_string(),
            reason: "not a port".to_owned(),
            help: "a number from 1 to 65535 is expected".to_owned(),
        })?,
    };
    let format = match options.text("format") {
        None => return Err(options.missing("format", "write format = 'json' or 'csv'")),
        Some(name) => match format_of(name)? {
            format @ (Format::Json | Format::Csv) => format,
            _ => {
                return Err(StreamError::Option {
                    key: "format".to_owned(),
                    value: name.to_owned(),
                    reason: "it has no lines to be told apart by".to_owned(),
                    help: "use 'json' or 'csv'".to_owned(),
                });
            }
        },
    };
    let mut read = ReadOptions::new(format);
    read.csv.header = false;
    if format == Format::Csv {
        read.csv.delimiter = options
            .character("delimiter")?
            .unwrap_or(read.csv.delimiter);
    }
    read.on_error = options.on_error()?;
    read.max_record_bytes = options
        .number("max_record_bytes", 1)?
        .map_or(read.max_record_bytes, count);
    let rows = options.number("max_buffered_rows", 1)?;
    let bytes = options.number("max_buffered_bytes", 1)?;
    options.kind(true, false)?;
    let schema = spec.schema.clone().ok_or_else(|| StreamError::Schema {
        table: spec.name.clone(),
        reason: "nobody can tell the columns of a socket before it speaks".to_owned(),
        help: "give CREATE TABLE a column list".to_owned(),
    })?;
    let schema = match &spec.event_time {
        Some(column) => mark_column(&schema, column),
        None => schema,
    };
    Ok(Socket {
        socket: SocketOptions {
            host,
            port,
            bounded: options.flag("bounded")?.unwrap_or(false),
            connect_attempts: options.number("connect_attempts", 1)?,
            max_rows: rows.unwrap_or(MAX_ROWS),
            max_bytes: count(bytes.unwrap_or(MAX_BYTES)),
        },
        reader: Arc::new(FileReader::new(&spec.name, schema, read)?),
    })
}
