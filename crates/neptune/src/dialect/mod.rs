//! Neptune's SQL dialect: DataFusion's SQL plus tables with connectors, watermarks, named jobs and job commands.
//!
//! Text goes in, statements with places come out; nothing is looked up or executed here. The text is cut into
//! tokens once for the whole file, so that every place, also one that DataFusion's parser names, is a line and
//! column of the file. Our own forms are read token by token (`table`, `job`, `settings`); names, types,
//! expressions and queries inside them, and all other statements, are left to DataFusion's parser. Window functions in the
//! place of a table (`window_tables`) become subqueries.

mod cursor;
mod error;
mod insert;
mod job;
mod options;
mod script;
mod settings;
mod source;
mod statement;
mod suggest;
mod table;
#[cfg(test)]
mod tests;
mod types;
mod window_tables;

use std::sync::Arc;

pub use error::DialectError;
pub use options::{DURATION_FORM, OptionValue, Options, parse_duration};
pub use source::{Located, Position, Source};
pub use statement::{
    Column, CreateJob, CreateTable, Insert, JobBody, JobCommand, Set, Statement, StatementKind,
    Watermark, WatermarkExpression,
};
pub use suggest::nearest;

use cursor::Cursor;

/// Parses a script: statements separated by `;`, with comments. `file` is the name that messages use.
///
/// # Errors
/// At the first fault of the text, with its place.
///
/// ```
/// use neptune::dialect::{StatementKind, parse};
///
/// let script = "SET neptune.job.class = 'stream'; -- from here on\nSELECT 1";
/// let statements = parse("app.sql", script)?;
/// assert!(matches!(statements[0].kind, StatementKind::Set(_)));
/// assert_eq!(statements[1].position.line, 2);
///
/// let error = parse("app.sql", "SELECT 1;\nSELCT 2").unwrap_err();
/// assert_eq!((error.line, error.column), (2, 1));
/// # Ok::<(), neptune::dialect::DialectError>(())
/// ```
pub fn parse(file: &str, text: &str) -> Result<Vec<Statement>, DialectError> {
    let source = Arc::new(Source::new(file, text));
    let (pieces, fault) = script::split(&source);
    let mut statements = Vec::with_capacity(pieces.len());
    for piece in pieces {
        script::refuse_endless_chain(&source, &piece.tokens)?;
        let position = piece.start;
        let text = source.slice(piece.start, piece.end).to_owned();
        let kind = statement(Cursor::new(&source, piece)?)?;
        statements.push(Statement {
            kind,
            position,
            text,
            source: Arc::clone(&source),
        });
    }
    match fault {
        Some(fault) => Err(fault),
        None => Ok(statements),
    }
}

fn statement(mut cursor: Cursor) -> Result<StatementKind, DialectError> {
    if table::is_table(&cursor) {
        return Ok(StatementKind::CreateTable(Box::new(table::create_table(
            &mut cursor,
        )?)));
    }
    if job::is_job(&cursor) {
        return Ok(StatementKind::CreateJob(Box::new(job::create_job(
            &mut cursor,
        )?)));
    }
    if settings::is_set(&cursor) {
        return Ok(StatementKind::Set(settings::set(&mut cursor)?));
    }
    if let Some(command) = job::command(&mut cursor)? {
        return Ok(StatementKind::Job(command));
    }
    let statement = cursor.sql_statement()?;
    Ok(match insert::insert(&statement) {
        Some(insert) => StatementKind::Insert(Box::new(insert)),
        None => StatementKind::Sql(Box::new(statement)),
    })
}
