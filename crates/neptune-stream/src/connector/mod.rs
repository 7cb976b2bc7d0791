//! From `CREATE TABLE … WITH (connector = …, …)` to sources, sinks and tables.
//!
//! [`ConnectorTable::create`] checks every option when the table is declared, so that a wrong key or value is
//! found before anything runs. What the declaration stands for is opened from it: a source of its own for
//! each stream job, a sink for each write, a table for batch queries.

mod files;
mod generated;
mod options;
mod socket;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;

use crate::error::StreamError;
use crate::format::repeated;
use crate::memory::MemoryTable;
use crate::shared::{DEFAULT_KEEP_VERSIONS, SharedTable};
use crate::sink::{Console, ConsoleSink, MemorySink, NoopSink, SharedSink, Sink};
use crate::source::{RowGenerator, Source, marked};

use files::Files;
use generated::Generated;
pub use options::Options;
use socket::Socket;

/// The connectors that can be used now.
pub const CONNECTORS: [&str; 9] = [
    "filesystem",
    "single_file",
    "socket",
    "rate",
    "nexmark",
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
    /// The column that is the event time.
    pub event_time: Option<String>,
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
    Socket(Socket),
    Console {
        rows: usize,
    },
    Noop,
    Memory(Arc<MemoryTable>),
    Shared(Arc<SharedTable>),
    /// A sink made by a program.
    Sink(Arc<dyn Sink>),
}

impl ConnectorTable {
    /// Declares a table. Where the column list was left out, looks into the first file for the columns: not for
    /// a thread that must not wait.
    ///
    /// # Errors
    /// [`StreamError`] for an unknown connector, format or option, a value that cannot be used, and columns
    /// that do not fit or cannot be read off the first file.
    pub fn create(spec: &TableSpec) -> Result<Self, StreamError> {
        if let Some(name) = spec.schema.as_deref().and_then(repeated) {
            return Err(StreamError::Schema {
                table: spec.name.clone(),
                reason: format!("column '{name}' is declared twice"),
                help: "give each column a name of its own".to_owned(),
            });
        }
        let mut options = Options::new(&spec.connector, &spec.options);
        let kind = match spec.connector.as_str() {
            "filesystem" | "single_file" => Kind::Files(files::files(spec, &mut options)?),
            "socket" => Kind::Socket(socket::socket(spec, &mut options)?),
            "rate" => Kind::Generator(Generated::rate(&mut options)?),
            "nexmark" => Kind::Generator(Generated::nexmark(&mut options)?),
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
        if let Kind::Generator(generated) = &kind {
            generated.check_columns(spec)?;
        }
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
        let generator = match &spec.event_time {
            Some(column) => marked(generator, column),
            None => generator,
        };
        let mut options = Options::new(&spec.connector, &spec.options);
        let generated = Generated::new(generator, &mut options)?;
        options.finish()?;
        generated.check_columns(spec)?;
        Ok(Self {
            name: spec.name.clone(),
            connector: spec.connector.clone(),
            kind: Kind::Generator(generated),
        })
    }

    /// A table that is written to a sink made by a program.
    pub fn from_sink(sink: Arc<dyn Sink>) -> Self {
        Self {
            name: sink.name().to_owned(),
            connector: "program".to_owned(),
            kind: Kind::Sink(sink),
        }
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
            Kind::Files(files) => (files.reads, files.writes, files.reads, files.is_bounded()),
            Kind::Generator(g) => (true, false, g.rows.is_some(), g.rows.is_some()),
            Kind::Socket(socket) => (true, false, false, socket.is_bounded()),
            Kind::Console { .. } | Kind::Noop | Kind::Sink(_) => (false, true, false, true),
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
            Kind::Files(files) => files.schema(),
            Kind::Generator(generated) => Some(generated.generator.schema()),
            Kind::Socket(socket) => Some(socket.schema()),
            Kind::Console { .. } | Kind::Noop | Kind::Sink(_) => None,
            Kind::Memory(table) => table.columns(),
            Kind::Shared(table) => table.columns(),
        }
    }

    /// Whether its rows are written in envelopes that say what became of them.
    pub fn is_changelog(&self) -> bool {
        matches!(&self.kind, Kind::Files(files) if files.changelog)
    }

    /// Says which columns an `INSERT` writes, where the column list was left out.
    ///
    /// # Errors
    /// [`StreamError::Schema`] when the table has other columns.
    pub fn set_schema(&self, schema: SchemaRef) -> Result<(), StreamError> {
        match &self.kind {
            Kind::Files(files) => {
                files.set_schema(schema);
                Ok(())
            }
            Kind::Memory(table) => table.set_schema(schema),
            Kind::Shared(table) => table.set_schema(schema),
            Kind::Generator(_)
            | Kind::Socket(_)
            | Kind::Console { .. }
            | Kind::Noop
            | Kind::Sink(_) => Ok(()),
        }
    }

    /// The directory of this machine in which the table's files are, for connector `filesystem`.
    pub fn directory(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Files(files) => files.directory(),
            _ => None,
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
            Kind::Files(files) if files.reads => files.source(&self.name),
            Kind::Socket(socket) => Ok(socket.source(&self.name)),
            Kind::Generator(generated) => Ok(Arc::new(generated.source(&self.name))),
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
            Kind::Files(files) if files.writes => Ok(files.sink(name)),
            Kind::Console { rows } => Ok(Arc::new(ConsoleSink::new(name, console.clone(), *rows))),
            Kind::Noop => Ok(Arc::new(NoopSink::new(name))),
            Kind::Sink(sink) => Ok(Arc::clone(sink)),
            Kind::Memory(table) => Ok(Arc::new(MemorySink::new(Arc::clone(table)))),
            Kind::Shared(table) => Ok(Arc::new(SharedSink::new(Arc::clone(table)))),
            Kind::Files(_) => {
                Err(self.unsupported("written", "it was declared with type = 'source'"))
            }
            Kind::Generator(_) | Kind::Socket(_) => {
                Err(self.unsupported("written", "its connector only reads"))
            }
        }
    }

    /// What is there, as a plain table.
    ///
    /// # Errors
    /// [`StreamError::Unsupported`] when the table cannot be read or does not end; as
    /// [`ConnectorTable::create`] when the columns have to be looked for.
    pub fn batch_table(&self) -> Result<Arc<dyn TableProvider>, StreamError> {
        match &self.kind {
            Kind::Files(files) if files.reads => Ok(files.table(&self.name)?),
            Kind::Generator(generated) => {
                let rows = generated.rows.ok_or_else(|| {
                    let help = "it has no end: give it one with an option such as rows, or read it in a stream job";
                    self.unsupported("read as a whole", help)
                })?;
                Ok(Arc::new(generated.table(&self.name, rows)))
            }
            Kind::Memory(table) => Ok(Arc::clone(table) as _),
            Kind::Shared(table) => Ok(Arc::clone(table) as _),
            Kind::Files(_) => Err(self.unsupported("read", "it was declared with type = 'sink'")),
            Kind::Socket(_) => Err(self.unsupported("read as a whole", "read it in a stream job")),
            Kind::Console { .. } | Kind::Noop | Kind::Sink(_) => {
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

fn unknown_connector(name: &str) -> StreamError {
    let plan = match name {
        "kafka" => "it comes with the message broker; use connector = 'filesystem' until then",
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
