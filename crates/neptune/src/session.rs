//! A session: DataFusion's `SessionContext` on an executor that knows classes.

use std::sync::Arc;

use datafusion::common::DataFusionError;
use datafusion::common::config::ExtensionOptions;
use datafusion::common::tree_node::TreeNode;
use datafusion::dataframe::DataFrame;
use datafusion::datasource::MemTable;
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryPool, TrackConsumersPool, UnboundedMemoryPool,
};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{LogicalPlan, SetVariable, Statement as PlanStatement};
use datafusion::physical_plan::collect;
use datafusion::prelude::{SessionConfig, SessionContext};
use neptune_exec::operators::ShortPolls;
use neptune_exec::{
    Executor, ExecutorConfig, JobRule, JobSettings, NeptuneOptions, YieldRule, cpu_quota,
};
use neptune_sched::{Class, PolicyName};
use neptune_stream::connector::ConnectorTable;
use neptune_stream::sink::{BatchFunction, ForeachSink};
use neptune_stream::{Listeners, with_stream_planning};

use crate::error::NeptuneError;
use crate::handle::JobHandle;
use crate::table::DeclaredTable;

/// Sets a session up. Made by [`Session::builder`].
#[derive(Debug, Clone)]
pub struct SessionBuilder {
    config: SessionConfig,
    options: NeptuneOptions,
    /// The number of partitions was set by itself.
    partitions: bool,
}

impl SessionBuilder {
    /// Any `neptune.*` or `datafusion.*` setting, as `SET key = 'value'` would.
    ///
    /// # Errors
    /// If there is no such setting or the value does not fit; the message names both.
    pub fn set(mut self, key: &str, value: &str) -> Result<Self, NeptuneError> {
        let set = match key.strip_prefix("neptune.") {
            Some(own) => self.options.set(own, value),
            None => self.config.options_mut().set(key, value),
        };
        set.map_err(|error| NeptuneError::Setting {
            key: key.to_owned(),
            value: value.to_owned(),
            reason: error.message().into_owned(),
        })?;
        self.partitions |= key == "datafusion.execution.target_partitions";
        Ok(self)
    }

    /// Tasks that run at a time; also the number of partitions, unless that is [set](Self::set) by itself or the given
    /// [configuration](Self::config) has another than DataFusion's default.
    #[must_use]
    pub fn slots(mut self, slots: usize) -> Self {
        // Cannot fail: the value is a number of at least one.
        let _ = self.options.set("slots", &slots.max(1).to_string());
        self
    }

    /// The scheduling policy to begin with.
    #[must_use]
    pub fn policy(mut self, policy: PolicyName) -> Self {
        self.options.policy = policy;
        self
    }

    /// DataFusion's configuration to start from; it replaces what [`set`](Self::set) has set of it.
    #[must_use]
    pub fn config(mut self, config: SessionConfig) -> Self {
        self.config = config;
        self
    }

    /// Starts the executor and makes the session.
    ///
    /// # Errors
    /// If threads cannot be started or the runtime environment cannot be made.
    pub fn build(self) -> Result<Session, NeptuneError> {
        let Self {
            mut config,
            mut options,
            partitions,
        } = self;
        let memory: Arc<dyn MemoryPool> = match options.memory_limit {
            0 => Arc::new(UnboundedMemoryPool::default()),
            limit => Arc::new(TrackConsumersPool::new(
                FairSpillPool::new(limit),
                std::num::NonZeroUsize::MIN.saturating_add(4),
            )),
        };
        let executor = Executor::start(ExecutorConfig {
            sched: options.sched.clone(),
            policy: options.policy,
            realtime: options.os_realtime,
            demote: options.os_demote,
            memory,
            cpu_quota: cpu_quota(),
        })?;
        options.executor = Some(executor.clone());
        let default_partitions = SessionConfig::new().target_partitions();
        if !partitions && config.target_partitions() == default_partitions {
            config = config.with_target_partitions(options.slots);
        }
        config = config
            .with_information_schema(true)
            .with_option_extension(options);
        config.options_mut().sql_parser.collect_spans = true;
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(executor.memory_pool())
            .build_arc()?;
        Ok(Session {
            context: context(config, runtime),
            executor,
            listeners: Listeners::default(),
        })
    }
}

fn context(config: SessionConfig, runtime: Arc<RuntimeEnv>) -> SessionContext {
    let builder = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features();
    let state = with_stream_planning(builder)
        .with_physical_optimizer_rule(Arc::new(ShortPolls::default()))
        .with_physical_optimizer_rule(Arc::new(YieldRule))
        .with_physical_optimizer_rule(Arc::new(JobRule))
        .build();
    SessionContext::new_with_state(state)
}

/// DataFusion with job classes: every query of [`context`](Self::context) runs as a job of the class that
/// `SET neptune.job.class` last said. Clones share everything.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let session = neptune::Session::new()?;
/// let context = session.context();
/// context.sql("SET neptune.job.class = 'stream'").await?;
/// let rows = context.sql("SELECT 1 + 1 AS two").await?.collect().await?;
/// assert_eq!(rows[0].num_rows(), 1);
/// # Ok::<(), neptune::NeptuneError>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Session {
    context: SessionContext,
    executor: Executor,
    listeners: Listeners,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("executor", &self.executor)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// A session with the default settings: as many slots as the process may use cores, the `neptune` policy.
    ///
    /// # Errors
    /// As [`SessionBuilder::build`].
    pub fn new() -> Result<Self, NeptuneError> {
        Self::builder().build()
    }

    /// Begins a session with settings.
    #[must_use]
    pub fn builder() -> SessionBuilder {
        SessionBuilder {
            config: SessionConfig::new(),
            options: NeptuneOptions::default(),
            partitions: false,
        }
    }

    /// DataFusion's context, for everything that it offers.
    #[must_use]
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// The executor that runs this session's jobs.
    #[must_use]
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// Those who are told of each micro-batch of this session's stream jobs.
    #[must_use]
    pub fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// Makes a table of which the rows go to a function: it is called once per micro-batch, with the micro-batch's number
    /// and its rows, and `INSERT INTO name …` feeds it. A job that goes on from a checkpoint calls it again, with the same number and
    /// rows, for the micro-batch in which it was cut off.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let session = neptune::Session::new()?;
    /// session.foreach_batch("seen", |number, rows| async move {
    ///     println!("micro-batch {number}: {} rows", rows.count().await?);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), neptune::NeptuneError>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// If there is a table of this name.
    pub fn foreach_batch<F, R>(&self, name: &str, call: F) -> Result<(), NeptuneError>
    where
        F: Fn(u64, DataFrame) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), DataFusionError>> + Send + 'static,
    {
        let context = self.context.clone();
        let call: BatchFunction = Arc::new(move |number, schema, batches| {
            let rows = MemTable::try_new(schema, vec![batches]);
            match rows.and_then(|rows| context.read_table(Arc::new(rows))) {
                Ok(rows) => Box::pin(call(number, rows)),
                Err(error) => Box::pin(std::future::ready(Err(error))),
            }
        });
        if self.context.table_exist(name)? {
            return Err(DataFusionError::Plan(format!("table '{name}' exists already")).into());
        }
        let sink = Arc::new(ForeachSink::new(name, call));
        let table = DeclaredTable::of_program(ConnectorTable::from_sink(sink));
        self.context.register_table(name, Arc::new(table))?;
        Ok(())
    }

    /// The `neptune.*` settings as they are now.
    #[must_use]
    pub fn options(&self) -> NeptuneOptions {
        let state = self.context.state_ref();
        let state = state.read();
        state
            .config_options()
            .extensions
            .get::<NeptuneOptions>()
            .cloned()
            .unwrap_or_default()
    }

    /// The settings of a query of `class` that starts now: one that the `kill` policy may run again.
    #[must_use]
    pub fn job_settings(&self, name: &str, class: Class) -> JobSettings {
        JobSettings {
            class,
            killable: true,
            ..self.options().job_settings(name)
        }
    }

    /// Changes a setting, as `SET key = 'value'` does; not those of `datafusion.runtime`.
    ///
    /// # Errors
    /// If there is no such setting, or the value does not fit it.
    pub fn set(&self, key: &str, value: &str) -> Result<(), NeptuneError> {
        let state = self.context.state_ref();
        state.write().config_mut().options_mut().set(key, value)?;
        Ok(())
    }

    /// The names of all settings.
    pub(crate) fn setting_names(&self) -> Vec<String> {
        let state = self.context.state_ref();
        let state = state.read();
        let entries = state.config_options().entries();
        entries.into_iter().map(|entry| entry.key).collect()
    }

    /// Changes a setting as the statement `SET` does, `datafusion.runtime.*` too.
    pub(crate) async fn assign(&self, key: &str, value: &str) -> Result<(), DataFusionError> {
        let set = SetVariable {
            variable: key.to_owned(),
            value: value.to_owned(),
        };
        self.run_plan(LogicalPlan::Statement(PlanStatement::SetVariable(set)))
            .await
    }

    /// Runs the plan of a statement that returns no rows.
    pub(crate) async fn run_plan(&self, plan: LogicalPlan) -> Result<(), DataFusionError> {
        let ran = self.context.execute_logical_plan(plan).await?;
        ran.collect().await.map(drop)
    }

    /// Runs a query as a job of the session's present class and collects its rows. It is planned as a task of the job too.
    ///
    /// Under the `kill` policy the job may be cancelled and run again before it has ended; as its rows are handed
    /// out only then, the answer is that of one complete run. A query that writes is never run again.
    pub fn submit(&self, query: DataFrame) -> JobHandle {
        let class = self.options().job_class;
        self.submit_as(query, self.job_settings("query", class))
    }

    /// As [`submit`](Self::submit), with settings of the job's own.
    pub fn submit_as(&self, query: DataFrame, settings: JobSettings) -> JobHandle {
        let settings = JobSettings {
            killable: settings.killable && only_reads(query.logical_plan()),
            ..settings
        };
        let query = with_class(query, settings.class).map(Arc::new);
        JobHandle::start(&self.executor, &settings, move || {
            let query = query.as_ref().map(Arc::clone).map_err(ToString::to_string);
            async move {
                let query = query.map_err(DataFusionError::Configuration)?;
                let plan = query.0.create_physical_plan(&query.1).await?;
                collect(plan, query.0.task_ctx()).await
            }
        })
    }
}

/// Whether a plan changes nothing, so that it can be run again.
fn only_reads(plan: &LogicalPlan) -> bool {
    let writes = plan.exists(|node| {
        Ok(matches!(
            node,
            LogicalPlan::Dml(_)
                | LogicalPlan::Copy(_)
                | LogicalPlan::Ddl(_)
                | LogicalPlan::Statement(_)
        ))
    });
    writes.is_ok_and(|writes| !writes)
}

/// The parts of `query`, to be planned under the settings of `class`: it decides, for instance, whether batches are cut.
fn with_class(
    query: DataFrame,
    class: Class,
) -> Result<(SessionState, LogicalPlan), DataFusionError> {
    let (mut state, plan) = query.into_parts();
    let extensions = &state.config_options().extensions;
    if extensions
        .get::<NeptuneOptions>()
        .is_none_or(|options| options.job_class != class)
    {
        state
            .config_mut()
            .options_mut()
            .set("neptune.job.class", class.name())?;
    }
    Ok((state, plan))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_queries_that_write_nothing_may_be_run_again() {
        let context = SessionContext::new();
        let table = "CREATE TABLE t AS SELECT 1 AS v";
        context.sql(table).await.unwrap().collect().await.unwrap();
        for (query, reads) in [
            ("SELECT * FROM t", true),
            ("EXPLAIN ANALYZE SELECT * FROM t", true),
            ("INSERT INTO t SELECT 2", false),
            ("EXPLAIN ANALYZE INSERT INTO t SELECT 2", false),
            ("COPY t TO 'never.csv'", false),
        ] {
            let plan = context.state().create_logical_plan(query).await.unwrap();
            assert_eq!(only_reads(&plan), reads, "{query}");
        }
    }
}
