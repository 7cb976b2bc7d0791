//! An executor that is dropped drops every future, whatever it was doing.

use std::sync::Arc;

use neptune_exec::TaskError;
use neptune_sched::{Class, PolicyName};

use crate::support::{Gauge, executor, job, soon, until};

#[tokio::test]
async fn dropping_the_executor_drops_running_waiting_blocked_suspended_and_held_futures() {
    let executor = executor(1, PolicyName::Neptune);
    let gauge = Arc::new(Gauge::default());
    let (held, batch, stream) = (
        job(&executor, Class::Batch),
        job(&executor, Class::Batch),
        job(&executor, Class::Stream),
    );
    let mut tasks = vec![executor.spawn(&held, gauge.busy())];
    gauge.works().await;
    soon("suspended", held.suspend()).await;
    let guard = gauge.guard();
    tasks.push(executor.spawn(&batch, async move {
        let _guard = guard;
        std::future::pending().await
    }));
    tasks.push(executor.spawn(&batch, gauge.busy()));
    gauge.works().await;
    let running = Arc::new(Gauge::default());
    let stream_task = executor.spawn(&stream, running.busy());
    running.works().await;
    tasks.push(executor.spawn(&batch, gauge.busy()));
    until("all are in their states", || {
        let counts = executor.counts();
        (counts.held, counts.suspended, counts.waiting, counts.stream) == (1, 1, 1, 1)
            && counts.tasks == 5
    })
    .await;
    drop(executor);
    for task in tasks {
        assert_eq!(soon("a task", task).await, Err(TaskError::Shutdown));
    }
    assert_eq!(
        soon("the running task", stream_task).await,
        Err(TaskError::Shutdown)
    );
    assert_eq!((gauge.dropped(), running.dropped()), (4, 1));
    for job in [held, batch, stream] {
        soon("the end", job.drained()).await;
    }
}

#[tokio::test]
async fn a_task_may_be_the_last_owner_of_its_executor() {
    let executor = executor(1, PolicyName::Neptune);
    let job = job(&executor, Class::Batch);
    let (go, wait) = tokio::sync::oneshot::channel::<()>();
    let mine = executor.clone();
    let task = executor.spawn(&job, async move {
        wait.await.ok();
        drop(mine);
    });
    drop(executor);
    go.send(()).unwrap();
    assert_eq!(soon("the task", task).await, Ok(()));
    soon("the end", job.drained()).await;
}
