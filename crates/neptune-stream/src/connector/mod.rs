//! From `CREATE TABLE … WITH (connector = …, …)` to sources, sinks and tables.
//!
//! [`ConnectorTable::create`] checks every option when the table is declared, so that a wrong key or value is
//! found before anything runs. What the declaration stands for is opened from it: a source of its own for
//! each stream job, a sink for each write, a table for batch queries.

mod options;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use parking_lot::Mutex;

use crate::error::StreamError;
use crate::format::{FileReader, Format, Packing, ReadOptions, WriteOptions, infer_schema};
use crate::memory::MemoryTable;
use crate::shared::{DEFAULT_KEEP_VERSIONS, SharedTable};
use crate::sink::{
    Console, ConsoleSink, FilesystemSink, MemorySink, NoopSink, SharedSink, SingleFileSink, Sink,
};
use crate::source::{
    Clock, FileSource, FileTable, GeneratorSource, GeneratorTable, Place, RateGenerator,
    RowGenerator, RowTimes, Source, SystemClock,
};

pub use options::Options;

/// The connectors that can be used now.
pub const CONNECTORS: [&str; 7] = [
    "filesystem",
    "single_file",
    "rate",
    "console",
    "memory",
    "noop",
    "shared",
];

/// Rows a console sink prints of each write unless told otherwise.
const CONSOLE_ROWS: u64 = 100;

/// A table as it was declared.
#[derive(Debug, Clone)]
pub struct TableSpec {
    /// Its name.
    pub name: String,
    /// The value of option `connector`.
    pub connector: String,
    /// The column list; `None` when it was left out.
    pub schema: Option<SchemaRef>,
    /// All other options, except those the SQL layer deals with itself.
    pub options: BTreeMap<String, String>,
}

/// What a table can be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// A stream job can read it as a [`Source`].
    pub source: bool,
    /// A job can write to it.
    pub sink: bool,
    /// A query can read what is there, as a plain table.
    pub table: bool,
    /// Reading it as a source comes to an end.
    pub bounded: bool,
}

/// A declared table, its options checked.
#[derive(Debug)]
pub struct ConnectorTable {
    name: String,
    connector: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Files(Files),
    Generator(Generated),
    Console { rows: usize },
    Noop,
    Memory(Arc<MemoryTable>),
    Shared(Arc<SharedTable>),
}

#[derive(Debug)]
struct Files {
    place: Place,
    read: ReadOptions,
    write: WriteOptions,
    bounded: bool,
    reads: bool,
    writes: bool,
    schema: Mutex<Option<SchemaRef>>,
    /// Made once the columns are known; one for all sources, so that malformed records are counted together.
    reader: Mutex<Option<Arc<FileReader>>>,
}

struct Generated {
    generator: Arc<dyn RowGenerator>,
    rows_per_second: u64,
    rows: Option<u64>,
}

impl std::fmt::Debug for Generated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generated")
            .field("rows_per_second", &self.rows_per_second)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl ConnectorTable {
    /// Declares a table. Where the column list was left out, looks into the first file for the columns: not for
    /// a thread that must not wait.
    ///
    /// # Errors
    /// [`StreamError`] for an unknown connector, format or option, a value that cannot be used, and columns
    /// that do not fit or cannot be read off the first file.
    pub fn create(spec: &TableSpec) -> Result<Self, StreamError> {
        let mut options = Options::new(&spec.connector, &spec.options);
        let kind = match spec.connector.as_str() {
            "filesystem" | "single_file" => Kind::Files(files(spec, &mut options)?),
            "rate" => {
                return Self::generator(spec, Arc::new(RateGenerator::new()));
            }
            "console" => {
                options.kind(false, true)?;
                Kind::Console {
                    rows: count(options.number("rows", 1)?.unwrap_or(CONSOLE_ROWS)),
                }
            }
            "noop" => {
                options.kind(false, true)?;
                Kind::Noop
            }
            "memory" => {
                options.kind(true, true)?;
                let most = options.number("max_rows", 1)?.map(count);
                let table = MemoryTable::new(&spec.name, spec.schema.clone(), most);
                Kind::Memory(Arc::new(table))
            }
            "shared" => {
                options.kind(true, true)?;
                let keep = options.number("keep_versions", 1)?;
                let keep = keep.map_or(DEFAULT_KEEP_VERSIONS, count);
                let table = SharedTable::new(&spec.name, spec.schema.clone(), keep)?;
                Kind::Shared(Arc::new(table))
            }
            other => return Err(unknown_connector(other)),
        };
        options.finish()?;
        let table = Self {
            name: spec.name.clone(),
            connector: spec.connector.clone(),
            kind,
        };
        if let Kind::Files(files) = &table.kind {
            files.infer_if_there()?;
        }
        Ok(table)
    }

    /// Declares a table whose rows `generator` computes, with the options of connector `rate`.
    ///
    /// # Errors
    /// [`StreamError`] for options `rate` does not have and for a column list that is not the generator's.
    pub fn generator(
        spec: &TableSpec,
        generator: Arc<dyn RowGenerator>,
    ) -> Result<Self, StreamError> {
        let mut options = Options::new(&spec.connector, &spec.options);
        let generated = Generated {
            rows_per_second: options.number("rows_per_second", 1)?.unwrap_or(1),
            rows: options.number("rows", 0)?,
            generator,
        };
        options.kind(true, false)?;
        options.finish()?;
        if let Some(given) = &spec.schema {
            let own = generated.generator.schema();
            let fits = own.fields().len() == given.fields().len()
                && own
                    .fields()
                    .iter()
                    .zip(given.fields())
                    .all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type());
            if !fits {
                let columns: Vec<_> = own
                    .fields()
                    .iter()
                    .map(|f| format!("{} {}", f.name(), f.data_type()))
                    .collect();
                return Err(StreamError::Schema {
                    table: spec.name.clone(),
                    reason: format!(
                        "connector '{}' has the columns ({})",
                        spec.connector,
                        columns.join(", ")
                    ),
                    help: "declare the same, or leave the column list out".to_owned(),
                });
            }
        }
        Ok(Self {
            name: spec.name.clone(),
            connector: spec.connector.clone(),
            kind: Kind::Generator(generated),
        })
    }

    /// The name of the table.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of the connector.
    pub fn connector(&self) -> &str {
        &self.connector
    }

    /// What the table can be used for.
    pub fn capabilities(&self) -> Capabilities {
        let (source, sink, table, bounded) = match &self.kind {
            Kind::Files(files) => {
                let single = matches!(files.place, Place::File(_));
                let bounded = files.bounded || single;
                (files.reads, files.writes, files.reads, bounded)
            }
            Kind::Generator(g) => (true, false, g.rows.is_some(), g.rows.is_some()),
            Kind::Console { .. } | Kind::Noop => (false, true, false, true),
            Kind::Memory(_) | Kind::Shared(_) => (false, true, true, true),
        };
        Capabilities {
            source,
            sink,
            table,
            bounded,
        }
    }

    /// The columns, a shared table's without its version column; `None` while they are not known.
    pub fn schema(&self) -> Option<SchemaRef> {
        match &self.kind {
            Kind::Files(files) => files.schema.lock().clone(),
            Kind::Generator(generated) => Some(generated.generator.schema()),
            Kind::Console { .. } | Kind::Noop => None,
            Kind::Memory(table) => table.columns(),
            Kind::Shared(table) => table.columns(),
        }
    }

    /// Says which columns an `INSERT` writes, where the column list was left out.
    ///
    /// # Errors
    /// [`StreamError::Schema`] when the table has other columns.
    pub fn set_schema(&self, schema: SchemaRef) -> Result<(), StreamError> {
        match &self.kind {
            Kind::Files(files) => {
                files.schema.lock().get_or_insert(schema);
                Ok(())
            }
            Kind::Memory(table) => table.set_schema(schema),
            Kind::Shared(table) => table.set_schema(schema),
            Kind::Generator(_) | Kind::Console { .. } | Kind::Noop => Ok(()),
        }
    }

    /// The versioned table, for connector `shared`.
    pub fn shared(&self) -> Option<&Arc<SharedTable>> {
        match &self.kind {
            Kind::Shared(table) => Some(table),
            _ => None,
        }
    }

    /// The table in memory, for connector `memory`.
    pub fn memory(&self) -> Option<&Arc<MemoryTable>> {
        match &self.kind {
            Kind::Memory(table) => Some(table),
            _ => None,
        }
    }

    /// A source for one job, at the beginning.
    ///
    /// # Errors
    /// [`StreamError::Unsupported`] when the table is no source; as [`ConnectorTable::create`] when the columns
    /// have to be looked for.
    pub fn open_source(&self) -> Result<Arc<dyn Source>, StreamError> {
        match &self.kind {
            Kind::Files(files) if files.reads => Ok(Arc::new(FileSource::new(
                &self.name,
                files.place.clone(),
                files.bounded,
                files.reader(&self.name)?,
            ))),
            Kind::Generator(generated) => {
                let generator = Arc::clone(&generated.generator);
                let source = GeneratorSource::new(&self.name, generator, generated.rows_per_second);
                Ok(Arc::new(source.with_rows(generated.rows)))
            }
            _ => Err(self.unsupported(
                "read as a stream",
                match self.kind {
                    Kind::Files(_) => "it was declared with type = 'sink'",
                    Kind::Memory(_) | Kind::Shared(_) => {
                        "join it to a stream, or read it in a batch job"
                    }
                    _ => "its connector only writes",
                },
            )),
        }
    }

    /// A sink; `console` is where connector `console` prints.
    ///
    /// # Errors
    /// [`StreamError::Unsupported`] when the table cannot be written.
    pub fn open_sink(&self, console: &Console) -> Result<Arc<dyn Sink>, StreamError> {
        let name = self.name.as_str();
        match &self.kind {
            Kind::Files(files) if files.writes => Ok(match &files.place {
                Place::Directory(path) => {
                    Arc::new(FilesystemSink::new(name, path.clone(), files.write))
                }
                Place::File(path) => Arc::new(SingleFileSink::new(name, path.clone(), files.write)),
            }),
            Kind::Console { rows } => Ok(Arc::new(ConsoleSink::new(name, console.clone(), *rows))),
            Kind::Noop => Ok(Arc::new(NoopSink::new(name))),
            Kind::Memory(table) => Ok(Arc::new(MemorySink::new(Arc::clone(table)))),
            Kind::Shared(table) => Ok(Arc::new(SharedSink::new(Arc::clone(table)))),
            Kind::Files(_) => {
                Err(self.unsupported("written", "it was declared with type = 'source'"))
            }
            Kind::Generator(_) => Err(self.unsupported("written", "its connector only reads")),
        }
    }

    /// What is there, as a plain table.
    ///
    /// # Errors
    /// [`StreamError::Unsupported`] when the table cannot be read or does not end; as
    /// [`ConnectorTable::create`] when the columns have to be looked for.
    pub fn batch_table(&self) -> Result<Arc<dyn TableProvider>, StreamError> {
        match &self.kind {
            Kind::Files(files) if files.reads => Ok(Arc::new(FileTable::new(
                &self.name,
                files.place.clone(),
                files.reader(&self.name)?,
            ))),
            Kind::Generator(generated) => {
                let rows = generated.rows.ok_or_else(|| {
                    let help = "it has no end: give it the option rows, or read it in a stream job";
                    self.unsupported("read as a whole", help)
                })?;
                let times = RowTimes {
                    start_micros: SystemClock::new().now_micros(),
                    rows_per_second: generated.rows_per_second,
                };
                let generator = Arc::clone(&generated.generator);
                Ok(Arc::new(GeneratorTable::new(
                    &self.name, generator, rows, times,
                )))
            }
            Kind::Memory(table) => Ok(Arc::clone(table) as _),
            Kind::Shared(table) => Ok(Arc::clone(table) as _),
            Kind::Files(_) => Err(self.unsupported("read", "it was declared with type = 'sink'")),
            Kind::Console { .. } | Kind::Noop => {
                Err(self.unsupported("read", "its connector only writes"))
            }
        }
    }

    fn unsupported(&self, what: &'static str, help: &str) -> StreamError {
        StreamError::Unsupported {
            table: self.name.clone(),
            what,
            help: help.to_owned(),
        }
    }
}

impl Files {
    /// Looks for the columns if there is something to look at.
    fn infer_if_there(&self) -> Result<(), StreamError> {
        let known = self.schema.lock().is_some();
        if known || !self.reads || !self.place.path().exists() {
            return Ok(());
        }
        if let Some(first) = self.place.files()?.first() {
            let found = infer_schema(first, &self.read)?;
            self.schema.lock().get_or_insert(found);
        }
        Ok(())
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
        let schema = self.schema.lock().clone();
        let schema = schema.ok_or_else(|| StreamError::Schema {
            table: table.to_owned(),
            reason: format!(
                "it has no column list, and '{}' has no file to read the columns off",
                self.place.path().display()
            ),
            help: "give CREATE TABLE a column list".to_owned(),
        })?;
        let reader = FileReader::new(table, schema, self.read.clone())?;
        let mut slot = self.reader.lock();
        Ok(Arc::clone(slot.get_or_insert(Arc::new(reader))))
    }
}

fn files(spec: &TableSpec, options: &mut Options<'_>) -> Result<Files, StreamError> {
    let single = spec.connector == "single_file";
    let path = match options.text("path") {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        _ => {
            let help = match single {
                true => "write path = 'FILE'",
                false => "write path = 'DIRECTORY'",
            };
            return Err(options.missing("path", help));
        }
    };
    let format = match options.text("format") {
        Some(name) => format_of(name)?,
        None => match format_by_ending(&path).filter(|_| single) {
            Some(format) => format,
            None => {
                let help = "write format = 'json', 'csv' or 'parquet'";
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
    // A Parquet file is sound or it is not, and packs its pages itself.
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
        place: match single {
            true => Place::File(path),
            false => Place::Directory(path),
        },
        write: WriteOptions {
            format,
            csv: read.csv,
            packing: read.packing,
            sync: options.flag("fsync")?.unwrap_or(false),
        },
        read,
        bounded: !single && options.flag("bounded")?.unwrap_or(false),
        reads,
        writes,
        schema: Mutex::new(spec.schema.clone()),
        reader: Mutex::default(),
    })
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
        _ => None,
    }
}

fn format_of(name: &str) -> Result<Format, StreamError> {
    if let Some((_, format)) = Format::NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(*format);
    }
    if matches!(name, "avro" | "debezium_json") {
        return Err(StreamError::NotYet {
            what: format!("format '{name}'"),
            plan: "it comes with the message broker; json, csv and parquet can be used now"
                .to_owned(),
        });
    }
    let known = Format::NAMES.map(|(known, _)| known);
    Err(StreamError::UnknownFormat {
        name: name.to_owned(),
        known: known.join(", "),
        suggestion: options::closest(name, &known),
    })
}

fn unknown_connector(name: &str) -> StreamError {
    let plan = match name {
        "kafka" => "it comes with the message broker; use connector = 'filesystem' until then",
        "socket" => "it comes with the message broker; use connector = 'filesystem' until then",
        "nexmark" => "it comes with event-time windows; use connector = 'rate' until then",
        _ => {
            return StreamError::UnknownConnector {
                name: name.to_owned(),
                known: CONNECTORS.join(", "),
                suggestion: options::closest(name, &CONNECTORS),
            };
        }
    };
    StreamError::NotYet {
        what: format!("connector '{name}'"),
        plan: plan.to_owned(),
    }
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
