//! Turns the statements of an application into planned jobs. Nothing runs yet but what a statement does at once:
//! settings, tables, views.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::{DdlStatement, LogicalPlan};
use datafusion::sql::parser::Statement as SqlStatement;
use neptune_exec::JobSettings;
use neptune_sched::Class;
use neptune_stream::sink::WriteMode;
use neptune_stream::window::resolve_windows;
use neptune_stream::{OutputMode, StreamError, StreamQuery, StreamSpec};

use super::RunOptions;
use super::binding::{Bound, bind, is_stream};
use super::job::{AppJob, BatchJob, Target, Work};
use super::job_options::JobOptions;
use super::shape::shaped;
use crate::dialect::{
    CreateJob, DialectError, Insert, JobBody, Position, Set, Statement, StatementKind, nearest,
};
use crate::error::NeptuneError;
use crate::session::Session;
use crate::table::DeclaredTable;

/// Plans the statements of one file.
pub(crate) struct Planner<'a> {
    session: &'a Session,
    options: &'a RunOptions,
    /// Names of jobs, those of `CREATE JOB` from the beginning.
    names: BTreeSet<String>,
    /// Names of the `CREATE JOB`s planned so far.
    created: BTreeSet<String>,
    /// Tables that jobs write to, so far.
    filled: BTreeSet<String>,
    /// Tables that batch jobs read.
    read: Vec<DeclaredTable>,
    /// Tells this run of the application from earlier ones.
    run: u64,
}

impl<'a> Planner<'a> {
    pub(crate) fn new(
        session: &'a Session,
        options: &'a RunOptions,
        statements: &[Statement],
    ) -> Self {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let named = statements
            .iter()
            .filter_map(|statement| match &statement.kind {
                StatementKind::CreateJob(create) => Some(create.name.text.clone()),
                _ => None,
            });
        Self {
            session,
            options,
            names: named.collect(),
            created: BTreeSet::new(),
            filled: BTreeSet::new(),
            read: Vec::new(),
            run: since_epoch.map_or(0, |since| since.as_nanos() as u64),
        }
    }

    /// `SET key = value`.
    pub(crate) async fn set(&self, statement: &Statement, set: &Set) -> Result<(), DialectError> {
        let key = match set.key.text.as_str() {
            "timezone" | "time.zone" => "datafusion.execution.time_zone",
            other => other,
        };
        let known = self.session.setting_names();
        if !known.iter().any(|name| name == key) && !key.starts_with("datafusion.runtime.") {
            let error = at(
                statement,
                set.key.position,
                format!("unknown setting '{key}'"),
            );
            return Err(match nearest(key, known.iter().map(String::as_str)) {
                Some(near) => error.with_help(format!("did you mean `{near}`?")),
                None => error.with_help("SHOW ALL lists the settings"),
            });
        }
        let done = self.session.assign(key, &set.value.text).await;
        done.map_err(|error| at(statement, set.value.position, statement.locate(&error).what))
    }

    /// `CREATE JOB`.
    pub(crate) async fn create_job(
        &mut self,
        statement: &Statement,
        create: &CreateJob,
    ) -> Result<AppJob, NeptuneError> {
        let options = JobOptions::read(&create.options)?;
        let name = create.name.text.clone();
        if !self.created.insert(name.clone()) {
            let what = format!("there is a job '{name}' already");
            return Err(at(statement, create.name.position, what).into());
        }
        match &create.body {
            JobBody::Insert(insert) => self.insert(statement, insert, name, &options).await,
            JobBody::Query(query) => self.query(statement, query, name, &options).await,
        }
    }

    /// `INSERT`, on its own.
    pub(crate) async fn plain_insert(
        &mut self,
        statement: &Statement,
        insert: &Insert,
    ) -> Result<AppJob, NeptuneError> {
        let name = self.unused_name(&format!("insert_{}", insert.table));
        self.insert(statement, insert, name, &JobOptions::default())
            .await
    }

    /// A query whose rows go to the caller.
    pub(crate) async fn plain_query(
        &mut self,
        statement: &Statement,
        query: &SqlStatement,
    ) -> Result<AppJob, NeptuneError> {
        let name = self.unused_name("query");
        self.query(statement, query, name, &JobOptions::default())
            .await
    }

    /// `COPY … TO …`, which DataFusion runs.
    pub(crate) async fn copy(
        &mut self,
        statement: &Statement,
        copy: &SqlStatement,
    ) -> Result<AppJob, NeptuneError> {
        let name = self.unused_name("copy");
        let what = "a file made by COPY cannot take the rows of a stream";
        let options = JobOptions::default();
        self.by_engine(
            statement,
            copy,
            name,
            &options,
            at(statement, statement.position, what),
        )
        .await
    }

    /// A statement that takes effect at once, such as `CREATE VIEW`.
    pub(crate) async fn define(
        &self,
        statement: &Statement,
        sql: &SqlStatement,
    ) -> Result<(), NeptuneError> {
        let located = |error| statement.locate(&error);
        let state = self.session.context().state();
        let plan = state
            .statement_to_plan(sql.clone())
            .await
            .and_then(resolve_windows)
            .map_err(located)?;
        if let LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(_) | DdlStatement::CreateView(_)) =
            &plan
        {
            self.check_columns_known(statement, &state, sql).await?;
        }
        if let LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)) = &plan
            && let Some(table) = self.first_filled(&create.input).map_err(located)?
        {
            let what = format!(
                "table '{table}' is filled by a job, which runs after this statement has taken effect"
            );
            let help = "create the table WITH (connector = 'memory') and fill it with INSERT INTO";
            return Err(at(statement, statement.position, what)
                .with_help(help)
                .into());
        }
        Ok(self.session.run_plan(plan).await.map_err(located)?)
    }

    /// Checks what can only be said when the whole file is known; gives the number that tells this run from others.
    ///
    /// # Errors
    /// For data files that are not there and that no job writes.
    pub(crate) fn finish(self) -> Result<u64, DialectError> {
        for table in self.read.iter().filter(|table| !table.is_filled()) {
            table
                .connector()
                .batch_table()
                .map_err(|error| table.fault(error))?;
        }
        Ok(self.run)
    }

    /// A name for a job that the file gives none. It names the job's writes, too: jobs of one name would replace
    /// each other's rows.
    fn unused_name(&mut self, otherwise: &str) -> String {
        let base = self.session.options().job_settings(otherwise).name;
        let numbered = (2_u64..).map(|number| format!("{base}_{number}"));
        let mut candidates = std::iter::once(base.clone()).chain(numbered);
        let unused = candidates
            .find(|name| !self.names.contains(name))
            .unwrap_or(base);
        self.names.insert(unused.clone());
        unused
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

    fn state(&self, class: Class) -> Result<SessionState, NeptuneError> {
        let mut state = self.session.context().state();
        state
            .config_mut()
            .options_mut()
            .set("neptune.job.class", class.name())?;
        Ok(state)
    }

    async fn query(
        &mut self,
        statement: &Statement,
        query: &SqlStatement,
        name: String,
        options: &JobOptions,
    ) -> Result<AppJob, NeptuneError> {
        let settings = self.settings(&name, options);
        let state = self.state(settings.class)?;
        let plan = self.plan(statement, &state, query).await?;
        let bound = bind(statement, &state, plan, settings.class)?;
        if !bound.sources.is_empty() {
            let what = "this query reads a stream, and a query that returns its rows has to end";
            let help = "write INSERT INTO a table with connector = 'console' or 'memory'";
            return Err(at(statement, statement.position, what)
                .with_help(help)
                .into());
        }
        self.batch(statement, options, settings, state, bound, Target::Caller)
    }

    async fn insert(
        &mut self,
        statement: &Statement,
        insert: &Insert,
        name: String,
        options: &JobOptions,
    ) -> Result<AppJob, NeptuneError> {
        let Some(target) = self.declared(&insert.table).await else {
            // A table of DataFusion's own: it plans the whole statement, or says that there is none.
            let what = format!("'{}' cannot take the rows of a stream", insert.table);
            let help = "declare it with CREATE TABLE … WITH (connector = 'filesystem', …)";
            let refused = at(statement, insert.table_position, what).with_help(help);
            let job = self
                .by_engine(statement, &insert.statement, name, options, refused)
                .await?;
            self.filled.insert(self.full_name(&insert.table));
            return Ok(job);
        };
        let settings = self.settings(&name, options);
        let state = self.state(settings.class)?;
        let table = target.connector();
        let sink = table
            .open_sink(&self.options.console)
            .map_err(|error| at(statement, insert.table_position, error.to_string()))?;
        let plan = self.plan(statement, &state, &insert.query).await?;
        // Only now are the types those that the rows will have: the table may take its columns from them.
        let analyzer = state.analyzer();
        let plan = analyzer.execute_and_check(plan, state.config_options(), |_, _| {});
        let plan = plan.map_err(|error| statement.locate(&error))?;
        let plan = shaped(plan, table, insert, statement)?;
        let bound = bind(statement, &state, plan, settings.class)?;
        let streams = !bound.sources.is_empty();
        target.fill();
        self.filled.insert(self.full_name(&insert.table));
        if !streams {
            let mode = match insert.overwrite {
                true => WriteMode::Overwrite,
                false => WriteMode::Append,
            };
            let target = Target::Sink(sink, mode);
            return self.batch(statement, options, settings, state, bound, target);
        }
        if insert.overwrite {
            let what = "a stream job adds rows, it cannot OVERWRITE its table";
            return Err(at(statement, insert.table_position, what).into());
        }
        let trigger = options.micro_batches(statement)?;
        let query = StreamSpec {
            name: name.clone(),
            state,
            plan: bound.plan,
            sources: bound.sources,
            pinned: bound.pinned,
            reads_tables: bound.reads_tables,
            sink,
            // A changelog tells of changes unless it is told otherwise.
            mode: options.mode.unwrap_or(match table.is_changelog() {
                true => OutputMode::Update,
                false => OutputMode::Append,
            }),
            changelog: table.is_changelog(),
            trigger,
            limits: options.limits,
            idle_after: options.idle_after,
            checkpoint: options.checkpoint.clone(),
            run: self.run,
        };
        let query = StreamQuery::new(query, &is_stream).map_err(|error| match error {
            StreamError::DataFusion(error) => statement.locate(&error),
            error => at(statement, statement.position, error.to_string()),
        })?;
        let settings = JobSettings {
            killable: false,
            ..settings
        };
        Ok(AppJob::new(name, Work::Stream(Arc::new(query), settings)))
    }

    /// A batch job whose rows DataFusion's own plan writes; `streams` is the error if it reads a stream.
    async fn by_engine(
        &mut self,
        statement: &Statement,
        sql: &SqlStatement,
        name: String,
        options: &JobOptions,
        streams: DialectError,
    ) -> Result<AppJob, NeptuneError> {
        let settings = JobSettings {
            killable: false,
            ..self.settings(&name, options)
        };
        let state = self.state(settings.class)?;
        let plan = self.plan(statement, &state, sql).await?;
        let bound = bind(statement, &state, plan, settings.class)?;
        if !bound.sources.is_empty() {
            return Err(streams.into());
        }
        self.batch(statement, options, settings, state, bound, Target::Engine)
    }

    fn batch(
        &mut self,
        statement: &Statement,
        options: &JobOptions,
        settings: JobSettings,
        state: SessionState,
        bound: Bound,
        target: Target,
    ) -> Result<AppJob, NeptuneError> {
        self.read.extend(bound.tables.iter().cloned());
        let name = settings.name.clone();
        let work = BatchJob {
            settings,
            state,
            plan: bound.plan,
            pinned: bound.pinned,
            tables: bound.tables,
            target,
            repeat: options.repeat(statement)?,
        };
        Ok(AppJob::new(name, Work::Batch(Arc::new(work))))
    }

    async fn plan(
        &self,
        statement: &Statement,
        state: &SessionState,
        sql: &SqlStatement,
    ) -> Result<LogicalPlan, NeptuneError> {
        self.check_columns_known(statement, state, sql).await?;
        let plan = state.statement_to_plan(sql.clone()).await;
        // Here, since what is made of the plan next depends on the types of its columns.
        let plan = plan.and_then(resolve_windows);
        Ok(plan.map_err(|error| statement.locate(&error))?)
    }

    /// Refuses to read a declared table that cannot be read or whose columns nobody knows yet, which DataFusion would
    /// take for a table without columns.
    async fn check_columns_known(
        &self,
        statement: &Statement,
        state: &SessionState,
        sql: &SqlStatement,
    ) -> Result<(), DialectError> {
        let read = state.resolve_table_references(sql);
        for name in read.map_err(|error| statement.locate(&error))? {
            let Some(table) = self.declared(&name).await else {
                continue;
            };
            let connector = table.connector();
            let can = connector.capabilities();
            if can.source && !can.table {
                continue;
            }
            // Also looks once more for files to read the columns off.
            let readable = connector.batch_table();
            if !can.table || connector.schema().is_none() {
                readable.map_err(|error| table.fault(error))?;
            }
            if connector.schema().is_none() {
                let what = format!("table '{name}' is read before its columns are known");
                let help = "give CREATE TABLE a column list, or put the INSERT that fills it first";
                return Err(at(statement, statement.position, what).with_help(help));
            }
        }
        Ok(())
    }

    /// The declared table of that name, if it is one.
    async fn declared(&self, name: &TableReference) -> Option<DeclaredTable> {
        let provider: Arc<dyn TableProvider> = self
            .session
            .context()
            .table_provider(name.clone())
            .await
            .ok()?;
        provider.downcast_ref::<DeclaredTable>().cloned()
    }

    /// The first table that `plan` reads and a job is going to fill.
    fn first_filled(
        &self,
        plan: &LogicalPlan,
    ) -> Result<Option<String>, datafusion::common::DataFusionError> {
        let mut found = None;
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node
                && self.filled.contains(&self.full_name(&scan.table_name))
            {
                found = Some(scan.table_name.to_string());
                return Ok(TreeNodeRecursion::Stop);
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(found)
    }

    fn full_name(&self, table: &TableReference) -> String {
        let state = self.session.context().state_ref();
        let state = state.read();
        let catalog = &state.config_options().catalog;
        let full = table
            .clone()
            .resolve(&catalog.default_catalog, &catalog.default_schema);
        full.to_string()
    }
}

fn at(statement: &Statement, position: Position, what: impl Into<String>) -> DialectError {
    statement.source().error(position, what)
}
