//! An application: one SQL file with tables and several jobs that share them.
//!
//! [`Application::load`] parses and plans the whole file, so that what is wrong in its last line is said before its first
//! job has begun. [`Application::run`] runs the jobs side by side: stream jobs until their sources end or they are told to
//! stop, batch jobs once or again and again, and at last those with `trigger = 'end'`.

mod batch;
mod binding;
mod job;
mod planner;
mod run;

use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
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

/// One step of the file: jobs that run side by side, or a query that waits for those before it.
#[derive(Debug)]
enum Step {
    Start(Arc<AppJob>),
    Query(Arc<AppJob>),
}

/// A loaded application.
#[derive(Debug)]
pub struct Application {
    session: Session,
    options: RunOptions,
    steps: Vec<Step>,
    run: u64,
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
        let mut planner = Planner::new(session, &options, options.console.clone());
        let mut steps: Vec<Step> = Vec::new();
        for statement in &statements {
            match &statement.kind {
                StatementKind::Set(set) => {
                    session
                        .set(&set.key.text, &set.value.text)
                        .map_err(|error| {
                            statement
                                .source()
                                .error(set.key.position, error.to_string())
                        })?;
                }
                StatementKind::CreateTable(create) => {
                    planner.create_table(statement, create).await?;
                }
                StatementKind::CreateJob(create) => {
                    let job = planner.create_job(statement, create).await?;
                    if steps
                        .iter()
                        .any(|step| matches!(step, Step::Start(j) if j.name == job.name))
                    {
                        let what = format!("there is a job '{}' already", job.name);
                        return Err(statement.source().error(create.name.position, what).into());
                    }
                    steps.push(Step::Start(Arc::new(job)));
                }
                StatementKind::Insert(insert) => {
                    let job = planner.plain_insert(statement, insert).await?;
                    steps.push(Step::Start(Arc::new(job)));
                }
                StatementKind::Job(_) => {
                    let what = "this command is for the shell; a file only creates jobs";
                    return Err(statement.source().error(statement.position, what).into());
                }
                StatementKind::Sql(sql) => {
                    if is_query(sql) {
                        let job = planner.plain_query(statement, sql).await?;
                        steps.push(Step::Query(Arc::new(job)));
                    } else {
                        session
                            .execute(sql)
                            .await
                            .map_err(|error| statement.locate(&error))?;
                    }
                }
            }
        }
        let run = planner.run();
        Ok(Self {
            session: session.clone(),
            options,
            steps,
            run,
            findings: Mutex::default(),
        })
    }

    fn jobs(&self) -> impl Iterator<Item = &Arc<AppJob>> {
        self.steps.iter().map(|step| match step {
            Step::Start(job) | Step::Query(job) => job,
        })
    }

    /// What the jobs have done so far, in the order of the file; plain queries are left out.
    pub fn reports(&self) -> Vec<JobReport> {
        self.steps
            .iter()
            .filter_map(|step| match step {
                Step::Start(job) => Some(job.report()),
                Step::Query(_) => None,
            })
            .collect()
    }
}

/// Whether a statement returns rows to its caller.
fn is_query(sql: &datafusion::sql::parser::Statement) -> bool {
    use datafusion::sql::parser::Statement;
    use datafusion::sql::sqlparser::ast::Statement as Ast;
    match sql {
        Statement::Explain(_) => true,
        Statement::Statement(ast) => matches!(
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
