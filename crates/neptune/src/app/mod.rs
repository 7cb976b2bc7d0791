//! An application: one SQL file with tables and several jobs that share them.
//!
//! [`Application::load`] parses and plans the whole file, so that what is wrong in its last line is said before its first
//! job has begun. [`Application::run`] runs the jobs side by side: stream jobs until their sources end or they are told to
//! stop, batch jobs once or again and again, and at last those with `trigger = 'end'`.

mod batch;
mod binding;
mod declare;
mod job;
mod job_options;
mod not_null;
mod planner;
mod run;
mod shape;

use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::sql::parser::Statement as SqlStatement;
use neptune_stream::sink::Console;
use parking_lot::Mutex;
use serde::Serialize;

use crate::dialect::{self, StatementKind};
use crate::error::NeptuneError;
use crate::session::Session;
use job::AppJob;
use planner::Planner;

pub use job::{AppJobState, JobReport};

/// Told how many of how many rows a generator has made.
pub type Notify = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// Given the rows of a query that returns them: its name and its batches.
pub type OnRows = Arc<dyn Fn(&str, &[RecordBatch]) + Send + Sync>;

/// How an application is run.
#[derive(Clone)]
pub struct RunOptions {
    /// Multiplies the rows of generated data sets.
    pub scale: f64,
    /// Hears of the making of generated data sets.
    pub notify: Notify,
    /// Gets the rows of plain queries.
    pub on_rows: OnRows,
    /// Where connector `console` prints.
    pub console: Console,
}

impl std::fmt::Debug for RunOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunOptions")
            .field("scale", &self.scale)
            .finish_non_exhaustive()
    }
}

/// One step of the file: a job that runs beside others, or a query (or `COPY`) that waits for those before it and that those
/// after it wait for.
#[derive(Debug)]
enum Step {
    Start(Arc<AppJob>),
    Query(Arc<AppJob>),
}

impl Step {
    fn job(&self) -> &Arc<AppJob> {
        match self {
            Step::Start(job) | Step::Query(job) => job,
        }
    }
}

/// A loaded application.
#[derive(Debug)]
pub struct Application {
    session: Session,
    options: RunOptions,
    steps: Vec<Step>,
    run: u64,
    /// A repeating job has made a pass.
    passed: tokio::sync::Notify,
    /// What jobs with `trigger = 'end'` found: the columns of their one row.
    findings: Mutex<serde_json::Map<String, serde_json::Value>>,
}

/// What an application did.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// `ok` if every job ended well, else `failed`.
    pub status: &'static str,
    /// Seconds it ran.
    pub wall_s: f64,
    /// Its jobs, in the order of the file.
    pub jobs: Vec<JobReport>,
    /// What its own queries at the end found.
    pub app: serde_json::Map<String, serde_json::Value>,
}

impl Application {
    /// Parses and plans `text`, whose name in messages is `file`. Settings and DDL take effect in `session`.
    ///
    /// # Errors
    /// The first thing that is wrong, with file, line and column.
    pub async fn load(
        session: &Session,
        file: &str,
        text: &str,
        options: RunOptions,
    ) -> Result<Self, NeptuneError> {
        let statements = dialect::parse(file, text)?;
        let mut planner = Planner::new(session, &options, &statements);
        let mut steps: Vec<Step> = Vec::new();
        for statement in &statements {
            let step = match &statement.kind {
                StatementKind::Set(set) => {
                    planner.set(statement, set).await?;
                    continue;
                }
                StatementKind::CreateTable(create) => {
                    declare::create_table(session, &options, statement, create).await?;
                    continue;
                }
                StatementKind::Job(_) => {
                    let what = "this command is for the shell; a file only creates jobs";
                    return Err(statement.source().error(statement.position, what).into());
                }
                StatementKind::CreateJob(create) => {
                    Step::Start(Arc::new(planner.create_job(statement, create).await?))
                }
                StatementKind::Insert(insert) => {
                    Step::Start(Arc::new(planner.plain_insert(statement, insert).await?))
                }
                StatementKind::Sql(sql) => match sql.as_ref() {
                    query if is_query(query) => {
                        Step::Query(Arc::new(planner.plain_query(statement, query).await?))
                    }
                    copy @ SqlStatement::CopyTo(_) => {
                        Step::Query(Arc::new(planner.copy(statement, copy).await?))
                    }
                    other => {
                        planner.define(statement, other).await?;
                        continue;
                    }
                },
            };
            steps.push(step);
        }
        let run = planner.finish()?;
        Ok(Self {
            session: session.clone(),
            options,
            steps,
            run,
            passed: tokio::sync::Notify::new(),
            findings: Mutex::default(),
        })
    }

    fn jobs(&self) -> impl Iterator<Item = &Arc<AppJob>> {
        self.steps.iter().map(Step::job)
    }

    /// What the jobs have done so far, in the order of the file; plain queries are left out unless they failed.
    pub fn reports(&self) -> Vec<JobReport> {
        let reports = self.steps.iter().filter_map(|step| {
            let report = step.job().report();
            let plain = matches!(step, Step::Query(job) if job.is_query());
            (!plain || report.state == AppJobState::Failed).then_some(report)
        });
        reports.collect()
    }
}

/// Whether a statement returns rows to its caller.
fn is_query(sql: &SqlStatement) -> bool {
    use datafusion::sql::sqlparser::ast::Statement as Ast;
    match sql {
        SqlStatement::Explain(_) => true,
        SqlStatement::Statement(ast) => matches!(
            **ast,
            Ast::Query(_)
                | Ast::ShowTables { .. }
                | Ast::ShowVariable { .. }
                | Ast::ShowColumns { .. }
                | Ast::ExplainTable { .. }
                | Ast::Explain { .. }
        ),
        _ => false,
    }
}
