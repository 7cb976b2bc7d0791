//! `CREATE JOB`, and the commands about jobs.

use std::sync::Arc;

use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::{SetExpr, Statement as Ast};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::error::DialectError;
use super::insert::insert;
use super::options::Options;
use super::settings::with_options;
use super::source::Located;
use super::statement::{CreateJob, JobBody, JobCommand};

/// What a job's body may be, for messages.
const BODY_FORM: &str = "a job is INSERT INTO … SELECT …, INSERT OVERWRITE … SELECT … or a query";

pub(super) fn is_job(cursor: &Cursor) -> bool {
    cursor.sees(&["CREATE", "JOB"]) || cursor.sees(&["CREATE", "OR", "REPLACE", "JOB"])
}

/// Reads a statement for which [`is_job`] holds.
pub(super) fn create_job(cursor: &mut Cursor) -> Result<CreateJob, DialectError> {
    cursor.expect(&["CREATE"])?;
    if cursor.sees(&["OR"]) {
        return Err(cursor
            .expected("JOB")
            .with_help("a job is not replaced while it may be running: DROP JOB first"));
    }
    cursor.expect(&["JOB"])?;
    let name = cursor.name("the job's name")?;
    let owner = format!("job `{}`", name.text);
    let options = if cursor.sees(&["AS"]) {
        Options::new(Arc::clone(cursor.source()), owner, name.position)
    } else if cursor.sees(&["WITH"]) {
        with_options(cursor, owner)?
    } else {
        return Err(cursor.expected("WITH (…) or AS after the job's name"));
    };
    cursor.expect(&["AS"])?;
    let body_position = cursor.here();
    let body_text = cursor.text_from(body_position);
    let statement = cursor.sql_statement()?;
    let body = if let Some(insert) = insert(&statement) {
        JobBody::Insert(Box::new(insert))
    } else if is_query(&statement) {
        JobBody::Query(Box::new(statement))
    } else {
        return Err(cursor
            .source()
            .error(body_position, format!("job `{}` cannot do this", name.text))
            .with_help(BODY_FORM));
    };
    Ok(CreateJob {
        name,
        options,
        body,
        body_text,
        body_position,
    })
}

/// A query that only reads: `WITH … INSERT` and the like parse as queries too.
fn is_query(statement: &SqlStatement) -> bool {
    fn reads(body: &SetExpr) -> bool {
        match body {
            SetExpr::Select(_) | SetExpr::Values(_) | SetExpr::Table(_) => true,
            SetExpr::Query(query) => reads(&query.body),
            SetExpr::SetOperation { left, right, .. } => reads(left) && reads(right),
            _ => false,
        }
    }
    match statement {
        SqlStatement::Statement(ast) => matches!(&**ast, Ast::Query(query) if reads(&query.body)),
        _ => false,
    }
}

/// Reads a command about jobs, if the statement is one.
pub(super) fn command(cursor: &mut Cursor) -> Result<Option<JobCommand>, DialectError> {
    let command = if cursor.take(&["SHOW", "JOBS"]) {
        JobCommand::Show
    } else if cursor.take(&["DROP", "JOB"]) {
        let if_exists = cursor.take(&["IF", "EXISTS"]);
        let job = job(cursor)?;
        JobCommand::Drop { job, if_exists }
    } else if cursor.take(&["SUSPEND"]) {
        cursor.expect(&["JOB"])?;
        let job = job(cursor)?;
        JobCommand::Suspend { job }
    } else if cursor.take(&["RESUME"]) {
        cursor.expect(&["JOB"])?;
        let job = job(cursor)?;
        JobCommand::Resume { job }
    } else if cursor.take(&["CANCEL"]) {
        cursor.expect(&["JOB"])?;
        let job = job(cursor)?;
        JobCommand::Cancel { job }
    } else {
        return Ok(None);
    };
    cursor.expect_end()?;
    Ok(Some(command))
}

/// A job's name or number.
fn job(cursor: &mut Cursor) -> Result<Located, DialectError> {
    if let Token::Number(digits, _) = cursor.peek() {
        let job = Located {
            text: digits.clone(),
            position: cursor.here(),
        };
        cursor.advance();
        return Ok(job);
    }
    cursor.name("the job's name or number")
}
