//! Batch work leaves room inside a CPU quota.

use std::sync::Arc;

use neptune_exec::{Demote, Executor, ExecutorConfig, Job, Realtime};
use neptune_sched::{Class, PolicyName, SchedSettings};

use crate::support::{Gauge, is_empty, job, soon, until};

/// How often tasks of `job` were suspended for the sake of the quota.
fn paced(executor: &Executor, job: &Job) -> usize {
    let events = executor.events();
    let own = events.iter().filter(|event| event.job == job.id());
    own.filter(|event| event.cause == Some("quota")).count()
}

#[tokio::test]
async fn batch_work_pauses_for_the_quota_and_again_after_a_rest() {
    let executor = Executor::start(ExecutorConfig {
        sched: SchedSettings::new(1),
        policy: PolicyName::Neptune,
        realtime: Realtime::Off,
        demote: Demote::Off,
        cpu_quota: Some(0.2),
        ..ExecutorConfig::default()
    })
    .unwrap();
    for _ in 0..2 {
        let job = job(&executor, Class::Batch);
        let gauge = Arc::new(Gauge::default());
        let task = executor.spawn(&job, gauge.busy());
        until("paced", || paced(&executor, &job) >= 2).await;
        // It goes on, too.
        gauge.works().await;
        gauge.stop();
        soon("the end", task).await.unwrap();
        is_empty(&executor).await;
    }
}
