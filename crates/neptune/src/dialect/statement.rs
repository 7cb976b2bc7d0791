//! What a script consists of once it is parsed.

use std::sync::Arc;

use datafusion::arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::common::TableReference;
use datafusion::error::DataFusionError;
use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::Expr;

use super::cursor::reason;
use super::error::DialectError;
use super::options::Options;
use super::source::{Located, Position, Source};

/// One statement of a script and where it stands.
#[derive(Debug, Clone)]
pub struct Statement {
    /// What it says.
    pub kind: StatementKind,
    /// Its first character.
    pub position: Position,
    /// Its text as written, without the `;` and without comments before or after it.
    pub text: String,
    pub(super) source: Arc<Source>,
}

impl Statement {
    /// The text this statement comes from, to report a fault somewhere in it.
    #[must_use]
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Puts an error of DataFusion's planner at its place in the file: at the span that its diagnostic names
    /// (DataFusion collects spans if `datafusion.sql_parser.collect_spans` is on), else at the statement.
    #[must_use]
    pub fn locate(&self, error: &DataFusionError) -> DialectError {
        let diagnostic = error.diagnostic();
        let position = diagnostic
            .and_then(|found| found.span)
            .filter(|span| span.start.line > 0)
            .map_or(self.position, |span| Position {
                line: span.start.line,
                column: span.start.column,
            });
        // The root carries the reason; what wraps it only names the phases it went through.
        let what = reason(error.find_root());
        let help = diagnostic
            .map(|found| {
                let helps: Vec<&str> = found.helps.iter().map(|h| h.message.as_str()).collect();
                helps.join("; ")
            })
            .filter(|help| !help.is_empty());
        self.source.error(position, what).with_optional_help(help)
    }
}

/// The kinds of statement.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum StatementKind {
    /// `CREATE TABLE … WITH (connector = …)`.
    CreateTable(Box<CreateTable>),
    /// `CREATE JOB … AS …`.
    CreateJob(Box<CreateJob>),
    /// `SET key = value`, whoever the key belongs to.
    Set(Set),
    /// `INSERT INTO` or `INSERT OVERWRITE` with a query.
    Insert(Box<Insert>),
    /// `SHOW JOBS`, `SUSPEND JOB …` and so on.
    Job(JobCommand),
    /// Everything else, as DataFusion parses it.
    Sql(Box<SqlStatement>),
}

/// `CREATE [OR REPLACE] TABLE [IF NOT EXISTS] name [(columns, WATERMARK FOR …)] WITH (connector = …, …)`.
#[derive(Debug, Clone)]
pub struct CreateTable {
    /// The table's name.
    pub name: TableReference,
    /// Where the name stands.
    pub name_position: Position,
    /// `OR REPLACE` was written.
    pub or_replace: bool,
    /// `IF NOT EXISTS` was written.
    pub if_not_exists: bool,
    /// The columns; empty when the connector is to find them out.
    pub columns: Vec<Column>,
    /// Event time, from `WATERMARK FOR` or the option `event_time_field`.
    pub watermark: Option<Watermark>,
    /// The value of the option `connector`, in lower case.
    pub connector: Located,
    /// All options; `connector` and `event_time_field` count as read.
    pub options: Options,
}

impl CreateTable {
    /// The schema of the listed columns, if there are any.
    #[must_use]
    pub fn schema(&self) -> Option<SchemaRef> {
        let fields: Vec<FieldRef> = self.columns.iter().map(|c| Arc::clone(&c.field)).collect();
        (!fields.is_empty()).then(|| Arc::new(Schema::new(fields)))
    }
}

/// A column of a [`CreateTable`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name, Arrow type (by DataFusion's own mapping of SQL types) and nullability.
    pub field: FieldRef,
    /// Where the name stands.
    pub position: Position,
}

/// Which column is the event time, and how far it runs behind.
#[derive(Debug, Clone)]
pub struct Watermark {
    /// The event time column.
    pub column: Located,
    /// The expression after `AS`; none means the column itself, without delay.
    pub expression: Option<WatermarkExpression>,
}

/// The expression of a watermark, such as `ts - INTERVAL '5 seconds'`.
#[derive(Debug, Clone)]
pub struct WatermarkExpression {
    /// Its text as written.
    pub text: String,
    /// Where it stands.
    pub position: Position,
    /// Parsed, not planned.
    pub expr: Expr,
}

/// `CREATE JOB name [WITH (…)] AS body`.
#[derive(Debug, Clone)]
pub struct CreateJob {
    /// The job's name.
    pub name: Located,
    /// Class, trigger and so on; none of them read yet.
    pub options: Options,
    /// What the job does.
    pub body: JobBody,
    /// The body's text as written.
    pub body_text: String,
    /// Where the body begins.
    pub body_position: Position,
}

/// What a job does.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum JobBody {
    /// Writes a query's rows to a table.
    Insert(Box<Insert>),
    /// A query whose rows go to the caller.
    Query(Box<SqlStatement>),
}

/// `SET key = value` or `SET key TO value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// The key in lower case, parts joined by dots.
    pub key: Located,
    /// The value: a string without its quotes, a number as written, or a word in lower case.
    pub value: Located,
}

/// `INSERT INTO table [(columns)] query` or `INSERT OVERWRITE table [(columns)] query`.
#[derive(Debug, Clone)]
pub struct Insert {
    /// The target.
    pub table: TableReference,
    /// Where the target's name stands.
    pub table_position: Position,
    /// The listed target columns; empty means all in their order.
    pub columns: Vec<Located>,
    /// Replace what the table holds rather than add to it.
    pub overwrite: bool,
    /// The query alone, to be planned for a sink of our own.
    pub query: SqlStatement,
    /// The whole statement, to be planned by DataFusion.
    pub statement: SqlStatement,
}

/// Commands about jobs that exist already.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobCommand {
    /// `SHOW JOBS`.
    Show,
    /// `DROP JOB [IF EXISTS] name`.
    Drop {
        /// Name or number of the job.
        job: Located,
        /// A job that is not there is no error.
        if_exists: bool,
    },
    /// `SUSPEND JOB name`.
    Suspend {
        /// Name or number of the job.
        job: Located,
    },
    /// `RESUME JOB name`.
    Resume {
        /// Name or number of the job.
        job: Located,
    },
    /// `CANCEL JOB name`.
    Cancel {
        /// Name or number of the job.
        job: Located,
    },
}
