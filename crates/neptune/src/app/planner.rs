//! Turns the statements of an application into tables and planned jobs. Nothing runs yet but what a statement does
//! at once: settings, views, DataFusion's own tables.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::common::DataFusionError;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, col, lit};
use datafusion::prelude::ParquetReadOptions;
use datafusion::scalar::ScalarValue;
use datafusion::sql::parser::Statement as SqlStatement;
use neptune_exec::JobSettings;
use neptune_gen::shop::ensure_history;
use neptune_sched::Class;
use neptune_stream::connector::{ConnectorTable, TableSpec};
use neptune_stream::sink::{Console, WriteMode};
use neptune_stream::{Limits, StreamError, StreamQuery, Trigger, reads_stream};

use super::RunOptions;
use super::binding::{bind, is_stream};
use super::job::{AppJob, BatchJob, Repeat, Target, Work};
use crate::dialect::{
    CreateJob, CreateTable, DialectError, Insert, JobBody, Options, Position, Statement,
};
use crate::error::NeptuneError;
use crate::session::Session;
use crate::shop::{ShopPart, generator};
use crate::table::DeclaredTable;

/// What the options of `CREATE JOB` say.
#[derive(Debug, Clone, Default)]
struct JobOptions {
    class: Option<Class>,
    priority: Option<i32>,
    weight: Option<u32>,
    trigger: Option<JobTrigger>,
    every: Option<Duration>,
    limits: Limits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JobTrigger {
    MicroBatch(Trigger),
    AtEnd,
}

/// Plans the statements of one file.
pub(crate) struct Planner<'a> {
    session: &'a Session,
    options: &'a RunOptions,
    console: Console,
    tables: BTreeMap<String, Arc<ConnectorTable>>,
    /// Tells this run of the application from earlier ones.
    run: u64,
}

impl<'a> Planner<'a> {
    pub(crate) fn new(session: &'a Session, options: &'a RunOptions, console: Console) -> Self {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let run = since_epoch.map_or(0, |since| since.as_millis() as u64);
        Self {
            session,
            options,
            console,
            tables: BTreeMap::new(),
            run,
        }
    }

    /// `CREATE TABLE … WITH (connector = …)`.
    pub(crate) async fn create_table(
        &mut self,
        statement: &Statement,
        create: &CreateTable,
    ) -> Result<(), NeptuneError> {
        let context = self.session.context();
        let name = create.name.to_string();
        let exists = context.table_exist(create.name.clone())?;
        if exists && create.if_not_exists {
            return Ok(());
        }
        if exists && !create.or_replace {
            let what = format!("table '{name}' exists already");
            return Err(at(statement, create.name_position, what).into());
        }
        if let Some(watermark) = &create.watermark {
            let what = "event time is not available yet: it comes with windows and state";
            return Err(at(statement, watermark.column.position, what).into());
        }
        let mut options = create.options.clone();
        let mut spec = TableSpec {
            name: name.clone(),
            connector: create.connector.text.clone(),
            schema: create.schema(),
            options: BTreeMap::new(),
        };
        let mut shop = None;
        if spec.connector == "shop" {
            match ShopPart::read(&mut options, self.options.scale)? {
                ShopPart::History { path, rows, seed } => {
                    options.finish()?;
                    let notify = Arc::clone(&self.options.notify);
                    let history = tokio::task::spawn_blocking(move || {
                        ensure_history(&path, rows, seed, |done| notify(done, rows))
                    });
                    let history = history
                        .await
                        .map_err(|error| DataFusionError::External(Box::new(error)))?
                        .map_err(|error| at(statement, create.name_position, error.to_string()))?;
                    let directory = history.dir.to_string_lossy().into_owned();
                    context
                        .register_parquet(
                            create.name.clone(),
                            directory,
                            ParquetReadOptions::default(),
                        )
                        .await?;
                    return Ok(());
                }
                ShopPart::Events {
                    shop: config,
                    first,
                } => shop = Some(generator(config, first)),
            }
        }
        let own = ["connector", "event_time_field", "part", "seed"];
        let of_shop = |key: &str| shop.is_some() && key == "rows";
        for (key, value) in options.iter() {
            if !(key == own[0]
                || key == own[1]
                || (shop.is_some() && own.contains(&key))
                || of_shop(key))
            {
                spec.options.insert(key.to_owned(), value.text.clone());
            }
        }
        let table = match shop {
            Some(events) => ConnectorTable::generator(&spec, events),
            None => ConnectorTable::create(&spec),
        };
        let table = table.map_err(|error| table_error(statement, create, error))?;
        let table = Arc::new(table);
        if exists {
            context.deregister_table(create.name.clone())?;
        }
        context.register_table(
            create.name.clone(),
            Arc::new(DeclaredTable::new(Arc::clone(&table))),
        )?;
        self.tables.insert(name, table);
        Ok(())
    }

    /// `CREATE JOB`.
    pub(crate) async fn create_job(
        &self,
        statement: &Statement,
        create: &CreateJob,
    ) -> Result<AppJob, NeptuneError> {
        let options = job_options(&create.options)?;
        let name = create.name.text.clone();
        match &create.body {
            JobBody::Insert(insert) => self.insert(statement, insert, name, &options).await,
            JobBody::Query(query) => self.query(statement, query, name, &options).await,
        }
    }

    /// `INSERT`, on its own.
    pub(crate) async fn plain_insert(
        &self,
        statement: &Statement,
        insert: &Insert,
    ) -> Result<AppJob, NeptuneError> {
        let name = self
            .session
            .options()
            .job_settings(&format!("insert_{}", insert.table))
            .name;
        self.insert(statement, insert, name, &JobOptions::default())
            .await
    }

    /// A query whose rows go to the caller.
    pub(crate) async fn plain_query(
        &self,
        statement: &Statement,
        query: &SqlStatement,
    ) -> Result<AppJob, NeptuneError> {
        let name = self.session.options().job_settings("query").name;
        self.query(statement, query, name, &JobOptions::default())
            .await
    }

    fn settings(&self, name: &str, options: &JobOptions) -> JobSettings {
        let session = self.session.options();
        JobSettings {
            name: name.to_owned(),
            class: options.class.unwrap_or(session.job_class),
            priority: options.priority.unwrap_or(session.job_priority),
            weight: options.weight.unwrap_or(session.job_weight),
            killable: true,
        }
    }

    fn state(&self, settings: &JobSettings) -> Result<SessionState, NeptuneError> {
        let mut state = self.session.context().state();
        state
            .config_mut()
            .options_mut()
            .set("neptune.job.class", settings.class.name())?;
        Ok(state)
    }

    async fn query(
        &self,
        statement: &Statement,
        query: &SqlStatement,
        name: String,
        options: &JobOptions,
    ) -> Result<AppJob, NeptuneError> {
        let settings = self.settings(&name, options);
        let state = self.state(&settings)?;
        let plan = plan(statement, &state, query).await?;
        let bound = bind(plan, settings.class).map_err(|e| statement.locate(&e))?;
        if !bound.sources.is_empty() {
            let what = "this query reads a stream, and a query that returns its rows has to end";
            let help = "write INSERT INTO a table with connector = 'console' or 'memory'";
            return Err(at(statement, statement.position, what)
                .with_help(help)
                .into());
        }
        let repeat = repeat(statement, options)?;
        let work = BatchJob {
            settings,
            state,
            plan: bound.plan,
            pinned: bound.pinned,
            target: Target::Caller,
            repeat,
        };
        Ok(AppJob::new(name, Work::Batch(Arc::new(work))))
    }

    async fn insert(
        &self,
        statement: &Statement,
        insert: &Insert,
        name: String,
        options: &JobOptions,
    ) -> Result<AppJob, NeptuneError> {
        let settings = self.settings(&name, options);
        let state = self.state(&settings)?;
        let Some(table) = self.tables.get(&insert.table.to_string()) else {
            // A table of DataFusion's own: it plans the whole statement, or says that there is none.
            let plan = plan(statement, &state, &insert.statement).await?;
            let bound = bind(plan, settings.class).map_err(|e| statement.locate(&e))?;
            if !bound.sources.is_empty() {
                let what = format!("'{}' cannot take the rows of a stream", insert.table);
                let help = "declare it with CREATE TABLE … WITH (connector = 'filesystem', …)";
                return Err(at(statement, insert.table_position, what)
                    .with_help(help)
                    .into());
            }
            let repeat = repeat(statement, options)?;
            let settings = JobSettings {
                killable: false,
                ..settings
            };
            let work = BatchJob {
                settings,
                state,
                plan: bound.plan,
                pinned: bound.pinned,
                target: Target::Engine,
                repeat,
            };
            return Ok(AppJob::new(name, Work::Batch(Arc::new(work))));
        };
        let plan = plan(statement, &state, &insert.query).await?;
        let plan = shaped(plan, table, insert, statement)?;
        let sink = table
            .open_sink(&self.console)
            .map_err(|error| at(statement, insert.table_position, error.to_string()))?;
        let bound = bind(plan, settings.class).map_err(|e| statement.locate(&e))?;
        let streams = reads_stream(&bound.plan, &is_stream)
            .map_err(|error| at(statement, statement.position, error.to_string()))?;
        if !streams {
            let mode = if insert.overwrite {
                WriteMode::Overwrite
            } else {
                WriteMode::Append
            };
            let work = BatchJob {
                settings,
                state,
                plan: bound.plan,
                pinned: bound.pinned,
                target: Target::Sink(sink, mode),
                repeat: repeat(statement, options)?,
            };
            return Ok(AppJob::new(name, Work::Batch(Arc::new(work))));
        }
        if insert.overwrite {
            let what = "a stream job adds rows, it cannot OVERWRITE its table";
            return Err(at(statement, insert.table_position, what).into());
        }
        if options.every.is_some() {
            let what =
                format!("job '{name}' reads a stream: it runs all the time, not every so often");
            return Err(at(statement, statement.position, what)
                .with_help("use trigger = '50 ms'")
                .into());
        }
        let trigger = match options.trigger {
            None => Trigger::AsFastAsPossible,
            Some(JobTrigger::MicroBatch(trigger)) => trigger,
            Some(JobTrigger::AtEnd) => {
                let what = format!(
                    "job '{name}' reads a stream and cannot wait for the end of the others"
                );
                return Err(at(statement, statement.position, what).into());
            }
        };
        let plan = state
            .optimize(&bound.plan)
            .map_err(|e| statement.locate(&e))?;
        let query = StreamQuery {
            name: name.clone(),
            state,
            plan,
            sources: bound.sources,
            pinned: bound.pinned,
            sink,
            trigger,
            limits: options.limits,
            run: self.run,
        };
        let settings = JobSettings {
            killable: false,
            ..settings
        };
        Ok(AppJob::new(name, Work::Stream(Arc::new(query), settings)))
    }

    /// The number that tells this run from others.
    pub(crate) fn run(&self) -> u64 {
        self.run
    }
}

async fn plan(
    statement: &Statement,
    state: &SessionState,
    sql: &SqlStatement,
) -> Result<LogicalPlan, NeptuneError> {
    state
        .statement_to_plan(sql.clone())
        .await
        .map_err(|error| statement.locate(&error).into())
}

fn at(statement: &Statement, position: Position, what: impl Into<String>) -> DialectError {
    statement.source().error(position, what)
}

/// Puts an error about a declaration at the option it is about.
fn table_error(statement: &Statement, create: &CreateTable, error: StreamError) -> DialectError {
    let value = |key: &str| create.options.get(key).map(|value| value.value_position);
    let position = match &error {
        StreamError::UnknownOption { key, .. } => create.options.get(key).map(|v| v.key_position),
        StreamError::Option { key, .. } => value(key),
        StreamError::UnknownFormat { .. } => value("format"),
        StreamError::UnknownConnector { .. } | StreamError::MissingOption { .. } => {
            Some(create.connector.position)
        }
        StreamError::NotYet { what, .. } if what.starts_with("format") => value("format"),
        StreamError::NotYet { .. } => Some(create.connector.position),
        StreamError::Io { .. } => value("path"),
        _ => None,
    };
    at(
        statement,
        position.unwrap_or(create.name_position),
        error.to_string(),
    )
}

/// The query's columns as the table has them: in its order, of its types, and NULL where none is given.
fn shaped(
    plan: LogicalPlan,
    table: &ConnectorTable,
    insert: &Insert,
    statement: &Statement,
) -> Result<LogicalPlan, NeptuneError> {
    let columns = plan.schema().columns();
    let Some(schema) = table.schema() else {
        let schema = Arc::new(plan.schema().as_arrow().clone());
        table
            .set_schema(schema)
            .map_err(|error| at(statement, insert.table_position, error.to_string()))?;
        return Ok(plan);
    };
    let names: Vec<&str> = if insert.columns.is_empty() {
        schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect()
    } else {
        insert
            .columns
            .iter()
            .map(|column| column.text.as_str())
            .collect()
    };
    for column in &insert.columns {
        if schema.field_with_name(&column.text).is_err() {
            let what = format!("table '{}' has no column '{}'", insert.table, column.text);
            return Err(at(statement, column.position, what).into());
        }
    }
    if names.len() != columns.len() {
        let what = format!(
            "the query has {} columns and table '{}' takes {}: {}",
            columns.len(),
            insert.table,
            names.len(),
            names.join(", ")
        );
        return Err(at(statement, insert.table_position, what).into());
    }
    let shape: Vec<Expr> = schema
        .fields()
        .iter()
        .map(|field| {
            let given = names.iter().position(|name| name == field.name());
            let value = given.map_or_else(|| lit(ScalarValue::Null), |at| col(columns[at].clone()));
            cast(value, field.data_type().clone()).alias(field.name())
        })
        .collect();
    let shaped = LogicalPlanBuilder::from(plan)
        .project(shape)
        .and_then(LogicalPlanBuilder::build);
    Ok(shaped.map_err(|error| statement.locate(&error))?)
}

fn repeat(statement: &Statement, options: &JobOptions) -> Result<Repeat, DialectError> {
    Ok(match (options.every, options.trigger) {
        (Some(every), None) => Repeat::Every(every),
        (None, Some(JobTrigger::AtEnd)) => Repeat::AtEnd,
        (None, None) => Repeat::Once,
        (Some(_), Some(_)) => {
            return Err(at(
                statement,
                statement.position,
                "give either `every` or `trigger`",
            ));
        }
        (None, Some(JobTrigger::MicroBatch(_))) => {
            let what = "this job reads no stream, so it has no micro-batches to trigger";
            let help = "use every = '30 s' to repeat it, or trigger = 'end' to run it when all others have ended";
            return Err(at(statement, statement.position, what).with_help(help));
        }
    })
}

fn job_options(given: &Options) -> Result<JobOptions, DialectError> {
    let mut given = given.clone();
    let mut options = JobOptions {
        class: given
            .one_of("class", &["stream", "batch"])?
            .map(|name| match name {
                "stream" => Class::Stream,
                _ => Class::Batch,
            }),
        every: given.duration("every")?,
        ..JobOptions::default()
    };
    if let Some(text) = given.str("priority") {
        let parsed = text
            .parse()
            .map_err(|_| given.bad_value("priority", "a whole number"))?;
        options.priority = Some(parsed);
    }
    if let Some(weight) = given.u64("weight")? {
        let fits = u32::try_from(weight).ok().filter(|weight| *weight > 0);
        options.weight =
            Some(fits.ok_or_else(|| given.bad_value("weight", "a number of at least 1"))?);
    }
    options.limits.max_rows = given.u64("max_rows_per_trigger")?;
    options.limits.max_files = given.u64("max_files_per_trigger")?;
    let trigger = given
        .get("trigger")
        .map(|value| value.text.to_ascii_lowercase());
    options.trigger = match trigger.as_deref() {
        None => None,
        Some("end") => Some(JobTrigger::AtEnd),
        Some("once") => Some(JobTrigger::MicroBatch(Trigger::Once)),
        Some("available_now") => Some(JobTrigger::MicroBatch(Trigger::AvailableNow)),
        Some("as_fast_as_possible") => Some(JobTrigger::MicroBatch(Trigger::AsFastAsPossible)),
        Some(text) => match crate::dialect::parse_duration(text) {
            Some(every) => Some(JobTrigger::MicroBatch(Trigger::Interval(every))),
            None => {
                let what =
                    "a time such as '50 ms', or as_fast_as_possible, once, available_now or end";
                return Err(given.bad_value("trigger", what));
            }
        },
    };
    given.str("trigger");
    if let Some(mode) = given.one_of("output_mode", &["append", "update", "complete"])?
        && mode != "append"
    {
        return Err(given.bad_value(
            "output_mode",
            "'append'; the others come with windows and state",
        ));
    }
    if given.str("checkpoint").is_some() {
        return Err(given.bad_value(
            "checkpoint",
            "left out: checkpoints come with windows and state",
        ));
    }
    given.finish()?;
    Ok(options)
}
