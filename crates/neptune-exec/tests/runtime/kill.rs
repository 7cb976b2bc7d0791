//! The `kill` policy ends an attempt of a job, and only that.

use std::sync::Arc;

use datafusion::common::runtime::SpawnedTask;
use neptune_exec::{EventKind, Executor, Job, JobSettings, TaskError};
use neptune_sched::{Class, PolicyName};

use crate::support::{Gauge, executor, is_empty, job, soon, until};

fn killable(executor: &Executor) -> Arc<Job> {
    executor.job(&JobSettings {
        killable: true,
        ..JobSettings::new("killable", Class::Batch)
    })
}

#[tokio::test]
async fn a_killed_job_can_run_again() {
    let executor = executor(1, PolicyName::Kill);
    let (batch, stream) = (killable(&executor), job(&executor, Class::Stream));
    for attempt in 0..5 {
        assert_eq!(batch.attempt(), attempt);
        let gauge = Arc::new(Gauge::default());
        let busy = gauge.busy();
        let task = executor.spawn(&batch, async move { SpawnedTask::spawn(busy).await.ok() });
        gauge.works().await;
        let probe = executor.spawn(&stream, async { 1 });
        assert_eq!(soon("the stream task", probe).await, Ok(1));
        assert_eq!(soon("the killed task", task).await, Err(TaskError::Killed));
        soon("the end of the attempt", batch.drained()).await;
        assert_eq!(gauge.dropped(), 1);
    }
    let task = executor.spawn(&batch, async { 2 });
    assert_eq!(soon("the last attempt", task).await, Ok(2));
    assert!(!batch.is_cancelled());
    is_empty(&executor).await;
    let kills = executor
        .events()
        .iter()
        .filter(|e| e.event == EventKind::Killed)
        .count();
    assert_eq!(kills, 5);
    crate::history::check(&executor.events());
}

#[tokio::test]
async fn a_job_that_may_not_be_killed_runs_beside_the_stream() {
    let executor = executor(1, PolicyName::Kill);
    let (batch, stream) = (killable(&executor), job(&executor, Class::Stream));
    batch.set_killable(false);
    let gauge = Arc::new(Gauge::default());
    let task = executor.spawn(&batch, gauge.busy());
    gauge.works().await;
    let probe = executor.spawn(&stream, async { 1 });
    assert_eq!(soon("the stream task", probe).await, Ok(1));
    gauge.works().await;
    gauge.stop();
    assert!(soon("the batch task", task).await.is_ok());
    assert_eq!(batch.attempt(), 0);
    is_empty(&executor).await;
}

#[tokio::test]
async fn one_kill_ends_one_attempt_however_many_slots_it_brings() {
    for _ in 0..20 {
        let executor = executor(2, PolicyName::Kill);
        let (batch, stream) = (killable(&executor), job(&executor, Class::Stream));
        let gauges: [Arc<Gauge>; 2] = Default::default();
        let tasks = gauges
            .each_ref()
            .map(|gauge| executor.spawn(&batch, gauge.busy()));
        for gauge in &gauges {
            gauge.works().await;
        }
        let probes: [Arc<Gauge>; 2] = Default::default();
        let streams = probes
            .each_ref()
            .map(|gauge| executor.spawn(&stream, gauge.busy()));
        for probe in &probes {
            probe.works().await;
        }
        for task in tasks {
            assert_eq!(soon("a killed task", task).await, Err(TaskError::Killed));
        }
        assert_eq!(batch.attempt(), 1);
        probes.iter().for_each(|probe| probe.stop());
        for task in streams {
            soon("a stream task", task).await.unwrap();
        }
        is_empty(&executor).await;
    }
}

/// A child spawned between the kill and its parent's end belongs to the killed attempt, not to the next.
#[tokio::test]
async fn children_of_a_killed_attempt_die_with_it() {
    let executor = executor(1, PolicyName::Kill);
    let (batch, stream) = (killable(&executor), job(&executor, Class::Stream));
    let gauge = Arc::new(Gauge::default());
    let started = Arc::new(Gauge::default());
    let (mine, child, ready) = (Arc::clone(&batch), gauge.busy(), Arc::clone(&started));
    let task = executor.spawn(&batch, async move {
        ready.stop();
        ready.busy().await;
        // One long poll, in which the job is killed.
        while mine.attempt() == 0 {
            std::hint::spin_loop();
        }
        let mut set = datafusion::common::runtime::JoinSet::new();
        set.spawn(child);
        set.detach_all();
    });
    until("the task is in its poll", || started.polls() == 1).await;
    let probe = executor.spawn(&stream, async { 1 });
    assert_eq!(soon("the stream task", probe).await, Ok(1));
    // The root came to its end before it could notice; that is its owner's luck, and no second run is due.
    soon("the root", task).await.ok();
    soon("the end of the attempt", batch.drained()).await;
    assert_eq!((gauge.polls(), gauge.dropped()), (0, 1));
    is_empty(&executor).await;
}

/// A root that turns its child's interruption into an error of its own is still known to have been killed.
#[tokio::test]
async fn an_error_that_comes_from_the_kill_is_told_from_others() {
    let executor = executor(2, PolicyName::Kill);
    let (batch, stream) = (killable(&executor), job(&executor, Class::Stream));
    let (gauge, idle) = (Arc::new(Gauge::default()), Arc::new(Gauge::default()));
    let busy = gauge.busy();
    let mut task = executor.spawn(&batch, async move {
        SpawnedTask::spawn(busy).await.map_err(|e| e.is_panic())
    });
    gauge.works().await;
    assert_eq!(task.interrupted(), None);
    let other = executor.spawn(&stream, idle.busy());
    idle.works().await;
    let probe = executor.spawn(&stream, async { 1 });
    assert_eq!(soon("the stream task", probe).await, Ok(1));
    let result = soon("the root", &mut task).await;
    assert!(
        matches!(result, Err(TaskError::Killed) | Ok(Err(true))),
        "{result:?}"
    );
    assert_eq!(task.interrupted(), Some(TaskError::Killed));
    idle.stop();
    soon("the other stream task", other).await.unwrap();
    is_empty(&executor).await;
}
