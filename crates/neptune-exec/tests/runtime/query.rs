//! Whole plans as jobs.

use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::Int64Type;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;
use neptune_exec::{Executor, JobRule, NeptuneOptions, YieldRule};
use neptune_sched::{Class, PolicyName};

use crate::support::{executor, is_empty, soon, until};

fn session(executor: &Executor, class: Class) -> SessionContext {
    let options = NeptuneOptions {
        job_class: class,
        executor: Some(executor.clone()),
        ..NeptuneOptions::default()
    };
    let mut config = SessionConfig::new().with_target_partitions(4);
    config.options_mut().extensions.insert(options);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(executor.memory_pool())
        .build_arc()
        .unwrap();
    let state: SessionState = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .with_physical_optimizer_rule(Arc::new(YieldRule))
        .with_physical_optimizer_rule(Arc::new(JobRule))
        .build();
    SessionContext::new_with_state(state)
}

const QUERY: &str = "SELECT a.value % 7 AS k, count(*) AS n, sum(a.value) AS s \
    FROM generate_series(1, 60000) a JOIN generate_series(1, 60000, 3) b ON a.value = b.value \
    GROUP BY 1 ORDER BY 1";

fn sum(batches: &[datafusion::arrow::record_batch::RecordBatch]) -> (i64, i64) {
    let column = |i: usize| {
        batches
            .iter()
            .map(move |b| b.column(i).as_primitive::<Int64Type>().iter())
    };
    (
        column(1).flatten().flatten().sum(),
        column(2).flatten().flatten().sum(),
    )
}

#[tokio::test]
async fn a_query_suspended_again_and_again_gives_the_same_answer() {
    let executor = executor(2, PolicyName::Neptune);
    let context = session(&executor, Class::Batch);
    let expected = (20_000, (0..20_000_i64).map(|i| 1 + 3 * i).sum::<i64>());
    for _ in 0..3 {
        let frame = context.sql(QUERY).await.unwrap();
        let run = tokio::spawn(frame.collect());
        let mut suspended = 0;
        while !run.is_finished() {
            for job in executor.jobs() {
                soon("suspended", job.suspend()).await;
                suspended += 1;
                job.resume_and_wait().await;
            }
            tokio::task::yield_now().await;
        }
        assert!(suspended > 0);
        assert_eq!(sum(&run.await.unwrap().unwrap()), expected);
    }
    is_empty(&executor).await;
}

#[tokio::test]
async fn a_query_whose_reader_goes_away_ends() {
    let executor = executor(2, PolicyName::Neptune);
    let context = session(&executor, Class::Batch);
    // A cross join of 10^12 rows: only cancelling ends it.
    let query = "SELECT * FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b";
    for read in [0, 1, 3] {
        let mut stream = context
            .sql(query)
            .await
            .unwrap()
            .execute_stream()
            .await
            .unwrap();
        for _ in 0..read {
            assert!(
                soon("a batch", stream.next())
                    .await
                    .unwrap()
                    .unwrap()
                    .num_rows()
                    > 0
            );
        }
        until("the job is there", || !executor.jobs().is_empty()).await;
        drop(stream);
        is_empty(&executor).await;
        until("the job is gone", || executor.jobs().is_empty()).await;
    }
}

#[tokio::test]
async fn a_cancelled_query_says_so() {
    let executor = executor(2, PolicyName::Neptune);
    let context = session(&executor, Class::Stream);
    let query = "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b \
        WHERE a.value <> b.value";
    let run = tokio::spawn(context.sql(query).await.unwrap().collect());
    until("the job is there", || executor.counts().stream > 0).await;
    executor.jobs().iter().for_each(|job| job.cancel());
    let error = soon("the query", run).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("cancelled"), "{error}");
    is_empty(&executor).await;
}
