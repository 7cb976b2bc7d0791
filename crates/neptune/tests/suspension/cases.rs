//! The queries, their data, and what plain DataFusion answers.

use std::path::Path;

use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};
use neptune::{Session, SessionBuilder};
use neptune_gen::tpch::{TpchPaths, ensure_tpch, operators, queries_at, sleep_row_udf};

use crate::answer::Answer;

const SCALE: f64 = 0.01;

/// Slots and partitions, whatever the machine has.
pub(crate) const SLOTS: usize = 2;

/// A query with settings of its own.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) sql: String,
    pub(crate) settings: Vec<(String, String)>,
}

impl Case {
    /// The query in `context`, under its settings, which other queries do not see.
    pub(crate) async fn frame(&self, context: &SessionContext) -> DataFrame {
        let mut state = context.state();
        for (key, value) in &self.settings {
            state.config_mut().options_mut().set(key, value).unwrap();
        }
        let context = SessionContext::new_with_state(state);
        context
            .sql(&self.sql)
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// What DataFusion without Neptune answers.
    pub(crate) async fn expected(&self, plain: &SessionContext) -> Answer {
        let frame = self.frame(plain).await;
        let plan = frame.logical_plan().clone();
        Answer::new(&plan, &frame.collect().await.unwrap())
    }
}

/// The 22 queries of TPC-H.
pub(crate) fn tpch_queries() -> Vec<Case> {
    let case = |(name, sql): (&'static str, _)| Case {
        name,
        sql: String::from(sql),
        settings: Vec::new(),
    };
    queries_at(SCALE).into_iter().map(case).collect()
}

/// A query for each kind of operator.
pub(crate) fn operator_queries() -> Vec<Case> {
    operators()
        .into_iter()
        .map(|case| Case {
            name: case.name,
            sql: case.sql,
            settings: case.settings,
        })
        .collect()
}

/// The queries of these names.
pub(crate) fn chosen(names: &[&str]) -> Vec<Case> {
    let mut all = tpch_queries();
    all.append(&mut operator_queries());
    names
        .iter()
        .map(|name| all.iter().find(|case| case.name == *name).unwrap().clone())
        .collect()
}

/// DataFusion without Neptune, with the tables.
pub(crate) async fn plain() -> SessionContext {
    let context =
        SessionContext::new_with_config(SessionConfig::new().with_target_partitions(SLOTS));
    add_tables(&context).await;
    context
}

/// A session without real-time threads, so that a test cannot take the machine from its neighbours.
pub(crate) fn builder() -> SessionBuilder {
    Session::builder()
        .slots(SLOTS)
        .set("neptune.os.realtime", "off")
        .unwrap()
}

/// A session with the tables.
pub(crate) async fn session(builder: SessionBuilder) -> Session {
    let session = builder.build().unwrap();
    add_tables(session.context()).await;
    session
}

async fn add_tables(context: &SessionContext) {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tpch-{SCALE}"));
    // Waits while another process makes them.
    let paths: TpchPaths = tokio::task::spawn_blocking(move || ensure_tpch(&dir, SCALE))
        .await
        .unwrap()
        .unwrap();
    paths.register(context).await.unwrap();
    context.register_udf(sleep_row_udf());
}
