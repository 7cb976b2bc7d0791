//! A cancelled or dropped task gives everything back, whatever it was doing.

use std::sync::Arc;

use datafusion::common::runtime::SpawnedTask;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool};
use neptune_exec::{Executor, Job, TaskError, TaskHandle};
use neptune_sched::{Class, PolicyName};

use crate::support::{Gauge, executor, is_empty, job, soon, until};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Doing {
    Running,
    Blocked,
    Waiting,
    Suspended,
    Held,
}

struct Scene {
    executor: Executor,
    job: Arc<Job>,
    task: TaskHandle<()>,
    gauge: Arc<Gauge>,
    /// Ends the stream that is in the way, if there is one.
    other: Arc<Gauge>,
}

/// A batch task with a child and some memory that is just doing that.
async fn scene(doing: Doing) -> Scene {
    let executor = executor(1, PolicyName::Neptune);
    let job = job(&executor, Class::Batch);
    let gauge = Arc::new(Gauge::default());
    let other = Arc::new(Gauge::default());
    let pool: Arc<dyn MemoryPool> = executor.memory_pool();
    let (busy, guard) = (gauge.busy(), gauge.guard());
    let work = async move {
        let _guard = guard;
        let reservation = MemoryConsumer::new("work").register(&pool);
        reservation.try_grow(1 << 20).unwrap();
        let child = SpawnedTask::spawn(std::future::pending::<()>());
        match doing {
            Doing::Blocked => child.await.unwrap(),
            // Children end with their root, even in the middle of a long poll.
            Doing::Running => drop(SpawnedTask::spawn(busy).await),
            _ => drop(busy.await),
        }
    };
    let stream = self::job(&executor, Class::Stream);
    let occupy = |class| {
        let other = Arc::clone(&other);
        let job = if class == Class::Stream {
            Arc::clone(&stream)
        } else {
            self::job(&executor, class)
        };
        let task = executor.spawn(&job, other.busy());
        tokio::spawn(task);
    };
    if doing == Doing::Waiting {
        occupy(Class::Batch);
        other.works().await;
    }
    let task = executor.spawn(&job, work);
    match doing {
        Doing::Waiting => until("waiting", || executor.counts().waiting == 1).await,
        Doing::Blocked => {
            until("blocked", || {
                job.live_tasks() == 2 && executor.counts().batch == 0
            })
            .await
        }
        Doing::Running => gauge.works().await,
        Doing::Suspended => {
            gauge.works().await;
            occupy(Class::Stream);
            other.works().await;
            until("suspended", || executor.counts().suspended == 1).await;
        }
        Doing::Held => {
            gauge.works().await;
            soon("suspended", job.suspend()).await;
            until("held", || executor.counts().held >= 1).await;
        }
    }
    Scene {
        executor,
        job,
        task,
        gauge,
        other,
    }
}

const EVERYTHING: [Doing; 5] = [
    Doing::Running,
    Doing::Blocked,
    Doing::Waiting,
    Doing::Suspended,
    Doing::Held,
];

#[tokio::test]
async fn a_cancelled_job_gives_back_slot_memory_and_tasks() {
    for doing in EVERYTHING {
        let Scene {
            executor,
            job,
            task,
            gauge,
            other,
        } = scene(doing).await;
        assert_eq!(
            job.memory(),
            if doing == Doing::Waiting { 0 } else { 1 << 20 },
            "{doing:?}"
        );
        job.cancel();
        assert_eq!(
            soon("the task", task).await,
            Err(TaskError::Cancelled),
            "{doing:?}"
        );
        soon("the end", job.drained()).await;
        assert_eq!((job.memory(), gauge.dropped()), (0, 2), "{doing:?}");
        // A task added to a cancelled job is never polled.
        let late = Arc::new(Gauge::default());
        let task = executor.spawn(&job, late.busy());
        assert_eq!(soon("a late task", task).await, Err(TaskError::Cancelled));
        assert_eq!((late.polls(), late.dropped()), (0, 1));
        other.stop();
        is_empty(&executor).await;
        drop(job);
        until("the job is gone", || executor.jobs().is_empty()).await;
    }
}

#[tokio::test]
async fn dropping_its_handle_cancels_a_task_and_its_children() {
    for doing in EVERYTHING {
        let Scene {
            executor,
            job,
            task,
            gauge,
            other,
        } = scene(doing).await;
        drop(task);
        soon(&format!("the end of a task {doing:?}"), job.drained()).await;
        assert_eq!((job.memory(), gauge.dropped()), (0, 2), "{doing:?}");
        assert!(!job.is_cancelled(), "only the task was given up");
        other.stop();
        is_empty(&executor).await;
    }
}

#[tokio::test]
async fn others_get_the_slot_of_a_cancelled_task() {
    for doing in [Doing::Running, Doing::Held] {
        let scene = scene(doing).await;
        let next = job(&scene.executor, Class::Batch);
        let gauge = Arc::new(Gauge::default());
        let task = scene.executor.spawn(&next, gauge.busy());
        scene.job.cancel();
        gauge.works().await;
        gauge.stop();
        soon("the next job's task", task).await.unwrap();
        is_empty(&scene.executor).await;
    }
}
