//! What a task spawns belongs to its job.

use std::sync::Arc;

use datafusion::common::runtime::{JoinSet, SpawnedTask};
use neptune_exec::current_task;
use neptune_sched::{Class, JobId, PolicyName};

use crate::support::{Gauge, executor, is_empty, job, soon};

fn here() -> Option<(JobId, Class)> {
    current_task().map(|task| (task.job().id(), task.job().class()))
}

#[tokio::test]
async fn children_grandchildren_and_closures_inherit_job_and_class() {
    let executor = executor(2, PolicyName::Neptune);
    assert_eq!(here(), None, "no task outside");
    for class in Class::ALL {
        let job = job(&executor, class);
        let seen = executor.spawn(&job, async {
            let mut seen = vec![here()];
            seen.push(SpawnedTask::spawn(async { here() }).await.unwrap());
            seen.push(SpawnedTask::spawn_blocking(here).await.unwrap());
            let grandchild =
                SpawnedTask::spawn(async { SpawnedTask::spawn(async { here() }).await.unwrap() });
            seen.push(grandchild.await.unwrap());
            let closures_child =
                SpawnedTask::spawn_blocking(|| SpawnedTask::spawn(async { here() }));
            seen.push(closures_child.await.unwrap().await.unwrap());
            let mut set = JoinSet::new();
            set.spawn(async { here() });
            seen.push(set.join_next().await.unwrap().unwrap());
            seen.push(here());
            seen
        });
        let seen = soon("the root", seen).await.unwrap();
        assert_eq!(seen, vec![Some((job.id(), class)); 7]);
        soon("the end of all tasks", job.drained()).await;
    }
    is_empty(&executor).await;
    assert_eq!(here(), None);
}

#[tokio::test]
async fn work_spawned_outside_tasks_is_left_alone() {
    let executor = executor(1, PolicyName::Neptune);
    assert_eq!(SpawnedTask::spawn(async { here() }).await.unwrap(), None);
    assert_eq!(SpawnedTask::spawn_blocking(here).await.unwrap(), None);
    is_empty(&executor).await;
}

#[tokio::test]
async fn detached_work_does_not_outlive_its_cancelled_job() {
    let executor = executor(2, PolicyName::Neptune);
    let job = job(&executor, Class::Batch);
    let gauge = Arc::new(Gauge::default());
    let (busy, blocked) = (gauge.busy(), gauge.guard());
    let root = executor.spawn(&job, async move {
        let mut set = JoinSet::new();
        set.spawn(async move {
            busy.await;
        });
        set.spawn(async move {
            let _blocked = blocked;
            std::future::pending::<()>().await;
        });
        set.detach_all();
    });
    soon("the root", root).await.unwrap();
    gauge.works().await;
    assert_eq!(job.live_tasks(), 2);
    job.cancel();
    soon("the end of all tasks", job.drained()).await;
    assert_eq!(gauge.dropped(), 2);
    is_empty(&executor).await;
}

#[tokio::test]
async fn a_job_is_not_over_before_its_blocking_closures_are() {
    let executor = executor(1, PolicyName::Neptune);
    let job = job(&executor, Class::Batch);
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let (entered, is_in) = tokio::sync::oneshot::channel();
    let root = executor.spawn(&job, async move {
        SpawnedTask::spawn_blocking(move || {
            entered.send(()).unwrap();
            wait.recv().ok();
        })
        .await
        .ok();
    });
    soon("the closure", is_in).await.unwrap();
    job.cancel();
    assert!(soon("the root", root).await.is_err());
    assert_eq!(job.live_tasks(), 1, "the closure is still at it");
    drop(release);
    soon("the end of the closure", job.drained()).await;
    is_empty(&executor).await;
}
