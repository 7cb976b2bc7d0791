//! Connectors `filesystem` and `single_file`: the options of data files, and what is opened from them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::datatypes::SchemaRef;
use parking_lot::Mutex;
use url::Url;

use crate::connector::{Options, TableSpec, count, options};
use crate::error::StreamError;
use crate::event_time::mark_column;
use crate::format::{
    AvroCodec, FileReader, Format, Packing, ReadOptions, WriteOptions, infer_schema,
};
use crate::remote;
use crate::sink::{FilesystemSink, ObjectSink, ObjectsSink, SingleFileSink, Sink};
use crate::source::{FileSource, FileTable, Place, Source};

/// Pause between two looks at what objects there are, unless told otherwise: each costs a request, and money.
const LIST_INTERVAL_MS: u64 = 1000;

/// Data files as they were declared.
#[derive(Debug)]
pub(crate) struct Files {
    place: Place,
    read: ReadOptions,
    write: WriteOptions,
    bounded: bool,
    event_time: Option<String>,
    /// Rows are written in envelopes that say what became of them.
    pub(crate) changelog: bool,
    pub(crate) reads: bool,
    pub(crate) writes: bool,
    schema: Mutex<Option<SchemaRef>>,
    /// Made once the columns are known; one for all sources, so that malformed records are counted together.
    reader: Mutex<Option<Arc<FileReader>>>,
}

impl Files {
    /// Looks for the columns if there is something to look at.
    pub(crate) fn infer_if_there(&self) -> Result<(), StreamError> {
        let known = self.schema.lock().is_some();
        if known || !self.reads {
            return Ok(());
        }
        let files = match self.place.files() {
            // A job may make it.
            Err(error) if error.is_not_found() => return Ok(()),
            files => files?,
        };
        // An empty file says nothing of the columns.
        if let Some(first) = files.iter().find(|file| file.len > 0) {
            let found = infer_schema(&self.place.access(), first, &self.read)?;
            self.schema.lock().get_or_insert(found);
        }
        Ok(())
    }

    pub(crate) fn is_bounded(&self) -> bool {
        self.bounded || self.place.is_single()
    }

    /// The columns, the event time marked; `None` while they are not known.
    pub(crate) fn schema(&self) -> Option<SchemaRef> {
        let schema = self.schema.lock().clone()?;
        Some(match &self.event_time {
            Some(column) => mark_column(&schema, column),
            None => schema,
        })
    }

    /// Says which columns are written, where the column list was left out.
    pub(crate) fn set_schema(&self, schema: SchemaRef) {
        self.schema.lock().get_or_insert(schema);
    }

    /// The directory of this machine in which the files are.
    pub(crate) fn directory(&self) -> Option<&Path> {
        match &self.place {
            Place::Directory(path) => Some(path),
            _ => None,
        }
    }

    /// A source for one job, at the beginning.
    ///
    /// # Errors
    /// [`StreamError`] when the columns are not known and cannot be looked for.
    pub(crate) fn source(&self, table: &str) -> Result<Arc<dyn Source>, StreamError> {
        let (place, reader) = (self.place.clone(), self.reader(table)?);
        Ok(Arc::new(FileSource::new(
            table,
            place,
            self.bounded,
            reader,
        )))
    }

    /// All files that are there, as a plain table.
    ///
    /// # Errors
    /// As [`Files::source`].
    pub(crate) fn table(&self, table: &str) -> Result<Arc<FileTable>, StreamError> {
        let reader = self.reader(table)?;
        Ok(Arc::new(FileTable::new(table, self.place.clone(), reader)))
    }

    pub(crate) fn sink(&self, table: &str) -> Arc<dyn Sink> {
        match &self.place {
            Place::Directory(path) => {
                Arc::new(FilesystemSink::new(table, path.clone(), self.write))
            }
            Place::File(path) => Arc::new(SingleFileSink::new(table, path.clone(), self.write)),
            Place::Prefix(remote, _) => {
                Arc::new(ObjectsSink::new(table, Arc::clone(remote), self.write))
            }
            Place::Object(remote) => {
                Arc::new(ObjectSink::new(table, Arc::clone(remote), self.write))
            }
        }
    }

    fn reader(&self, table: &str) -> Result<Arc<FileReader>, StreamError> {
        if let Some(reader) = &*self.reader.lock() {
            return Ok(Arc::clone(reader));
        }
        // Says what is wrong with the place, if there is something.
        if self.place.files()?.is_empty() {
            tracing::debug!(table, "no data files yet");
        }
        self.infer_if_there()?;
        let schema = self.schema();
        let schema = schema.ok_or_else(|| StreamError::Schema {
            table: table.to_owned(),
            reason: format!(
                "it has no column list, and '{}' has no file to read the columns off",
                self.place.path().display()
            ),
            help: "give CREATE TABLE a column list".to_owned(),
        })?;
        let reader = FileReader::new(table, schema, self.read.clone())?;
        let reader = reader.with_access(self.place.access());
        let mut slot = self.reader.lock();
        Ok(Arc::clone(slot.get_or_insert(Arc::new(reader))))
    }
}

/// Reads the options of `filesystem` and `single_file`.
///
/// # Errors
/// [`StreamError`] for an option that is missing or has a value that cannot be used.
pub(crate) fn files(spec: &TableSpec, options: &mut Options<'_>) -> Result<Files, StreamError> {
    let single = spec.connector == "single_file";
    let place = place(single, options)?;
    let path = place.path();
    let mut changelog = false;
    let format = match options.text("format") {
        Some("debezium_json") => {
            changelog = true;
            Format::Json
        }
        Some(name) => format_of(name)?,
        None => match format_by_ending(&path).filter(|_| single) {
            Some(format) => format,
            None => {
                let help = "write format = 'json', 'csv', 'parquet' or 'avro'";
                return Err(options.missing("format", help));
            }
        },
    };
    let mut read = ReadOptions::new(format);
    if format == Format::Csv {
        read.csv.header = options.flag("header")?.unwrap_or(read.csv.header);
        read.csv.delimiter = options
            .character("delimiter")?
            .unwrap_or(read.csv.delimiter);
    }
    let (reads, writes) = options.kind(true, true)?;
    // A Parquet or Avro file is sound or it is not, and packs its pages or blocks itself.
    let mut avro = AvroCodec::default();
    if format == Format::Avro {
        avro = options
            .choice("compression", &AvroCodec::NAMES)?
            .unwrap_or(avro);
    }
    if matches!(format, Format::Json | Format::Csv) {
        read.on_error = options.on_error()?;
        read.packing = options
            .choice("compression", &Packing::NAMES)?
            .unwrap_or_default();
        read.max_record_bytes = options
            .number("max_record_bytes", 1)?
            .map_or(read.max_record_bytes, count);
    }
    Ok(Files {
        place,
        write: WriteOptions {
            format,
            csv: read.csv,
            packing: read.packing,
            avro,
            sync: options.flag("fsync")?.unwrap_or(false),
        },
        read,
        bounded: !single && options.flag("bounded")?.unwrap_or(false),
        event_time: spec.event_time.clone(),
        changelog,
        // What was written are envelopes, not the table's rows.
        reads: reads && !changelog,
        writes,
        schema: Mutex::new(spec.schema.clone()),
        reader: Mutex::default(),
    })
}

/// Where the files are, from option `path` and those of an object store.
fn place(single: bool, options: &mut Options<'_>) -> Result<Place, StreamError> {
    let path = match options.text("path") {
        Some(path) if !path.is_empty() => path,
        _ => {
            let help = match single {
                true => "write path = 'FILE'",
                false => "write path = 'DIRECTORY'",
            };
            return Err(options.missing("path", help));
        }
    };
    let local = |path: PathBuf| match single {
        true => Place::File(path),
        false => Place::Directory(path),
    };
    if !path.contains("://") {
        return Ok(local(PathBuf::from(path)));
    }
    let url = Url::parse(path).map_err(|error| {
        let help = "write a path, or SCHEME://BUCKET/NAME".to_owned();
        options.wrong("path", &error.to_string(), help)
    })?;
    if url.scheme() == "file" {
        return url.to_file_path().map(local).map_err(|()| {
            let help = "write file:///PATH".to_owned();
            options.wrong("path", "it names no file of this machine", help)
        });
    }
    let remote = Arc::new(remote::open(&url, options)?);
    if single {
        return Ok(Place::Object(remote));
    }
    let pause = options.number("list_interval_ms", 0)?;
    let pause = Duration::from_millis(pause.unwrap_or(LIST_INTERVAL_MS));
    Ok(Place::Prefix(remote, pause))
}

/// The format that a file's name tells, behind the ending of a packed one.
fn format_by_ending(path: &Path) -> Option<Format> {
    let ending = |path: &Path| path.extension()?.to_str().map(str::to_owned);
    let mut last = ending(path);
    if matches!(last.as_deref(), Some("gz" | "zst" | "zstd")) {
        last = ending(Path::new(path.file_stem()?));
    }
    match last.as_deref() {
        Some("json" | "jsonl" | "ndjson") => Some(Format::Json),
        Some("csv") => Some(Format::Csv),
        Some("parquet") => Some(Format::Parquet),
        Some("avro") => Some(Format::Avro),
        _ => None,
    }
}

/// The format called `name`.
///
/// # Errors
/// [`StreamError::UnknownFormat`] when there is none.
pub(crate) fn format_of(name: &str) -> Result<Format, StreamError> {
    if let Some((_, format)) = Format::NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(*format);
    }
    let known = Format::NAMES.map(|(known, _)| known);
    Err(StreamError::UnknownFormat {
        name: name.to_owned(),
        known: known.join(", "),
        suggestion: options::closest(name, &known),
    })
}
