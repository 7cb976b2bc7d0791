//! Code that panics is reported, and leaves nothing behind.

use std::sync::Arc;

use datafusion::common::runtime::SpawnedTask;
use neptune_exec::TaskError;
use neptune_sched::{Class, PolicyName};

use crate::support::{Gauge, executor, is_empty, job, soon};

#[tokio::test]
async fn a_panic_in_a_root_is_the_tasks_error() {
    let executor = executor(1, PolicyName::Neptune);
    for class in Class::ALL {
        let job = job(&executor, class);
        let task = executor.spawn(&job, async {
            tokio::task::yield_now().await;
            panic!("spilled the {}", "beans")
        });
        let result: Result<(), TaskError> = soon("the task", task).await;
        assert_eq!(
            result,
            Err(TaskError::Panicked("spilled the beans".to_owned()))
        );
        soon("the end", job.drained()).await;
        // The slot is free, and the job can go on.
        let task = executor.spawn(&job, async { 7 });
        assert_eq!(soon("the next task", task).await, Ok(7));
    }
    is_empty(&executor).await;
}

#[tokio::test]
async fn a_panic_in_a_child_reaches_its_parent() {
    let executor = executor(1, PolicyName::Neptune);
    let job = job(&executor, Class::Batch);
    let root = executor.spawn(&job, async {
        let child = SpawnedTask::spawn(async { panic!("child") });
        let error: Result<(), _> = child.await;
        error.unwrap_err().is_panic()
    });
    assert_eq!(soon("a parent that looks", root).await, Ok(true));
    let root = executor.spawn(&job, async {
        SpawnedTask::spawn(async { panic!("passed on") })
            .join_unwind()
            .await
    });
    let result: Result<Result<(), _>, TaskError> = soon("a parent that passes it on", root).await;
    assert_eq!(
        result.unwrap_err(),
        TaskError::Panicked("passed on".to_owned())
    );
    soon("the end", job.drained()).await;
    is_empty(&executor).await;
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

#[tokio::test]
async fn a_future_that_panics_while_it_is_dropped_gives_its_slot_back() {
    let executor = executor(1, PolicyName::Neptune);
    for cancel in [true, false] {
        let job = job(&executor, Class::Batch);
        let gauge = Arc::new(Gauge::default());
        let (busy, bomb) = (gauge.busy(), PanicsWhenDropped);
        let task = executor.spawn(&job, async move {
            let _bomb = bomb;
            busy.await
        });
        gauge.works().await;
        if cancel {
            job.cancel();
            soon("the task", task).await.unwrap_err();
        } else {
            drop(task);
            gauge.stop();
        }
        soon("the end", job.drained()).await;
    }
    is_empty(&executor).await;
}

#[tokio::test]
async fn a_cancelled_child_does_not_look_like_a_panic_of_its_root() {
    let executor = executor(2, PolicyName::Neptune);
    let job = job(&executor, Class::Batch);
    let gauge = Arc::new(Gauge::default());
    let busy = gauge.busy();
    let root = executor.spawn(&job, async move {
        SpawnedTask::spawn(busy).join_unwind().await.ok()
    });
    gauge.works().await;
    job.cancel();
    assert_eq!(soon("the root", root).await, Err(TaskError::Cancelled));
    soon("the end", job.drained()).await;
    is_empty(&executor).await;
}
