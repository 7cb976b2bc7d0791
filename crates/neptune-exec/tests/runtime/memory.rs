//! What tasks hold in the memory pool is visible, suspended or not.

use std::sync::Arc;

use datafusion::common::runtime::SpawnedTask;
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryReservation};
use neptune_exec::{Demote, Executor, ExecutorConfig, Realtime, current_task};
use neptune_sched::{Class, PolicyName, SchedSettings};

use crate::support::{Gauge, executor, is_empty, job, soon, until};

const MIB: usize = 1 << 20;

fn reserve(executor: &Executor, bytes: usize) -> MemoryReservation {
    let reservation = MemoryConsumer::new("test").register(&executor.memory_pool());
    reservation.try_grow(bytes).unwrap();
    reservation
}

#[tokio::test]
async fn a_suspended_tasks_memory_stays_visible() {
    let executor = executor(1, PolicyName::Neptune);
    let (batch, stream) = (job(&executor, Class::Batch), job(&executor, Class::Stream));
    let gauge = Arc::new(Gauge::default());
    let (mine, busy) = (executor.clone(), gauge.busy());
    let task = executor.spawn(&batch, async move {
        let root = reserve(&mine, 2 * MIB);
        let child = SpawnedTask::spawn(async move {
            let held = reserve(&mine, 3 * MIB);
            held.shrink(MIB);
            busy.await;
            drop(held);
            drop(mine);
        });
        child.await.unwrap();
        root.size()
    });
    gauge.works().await;
    let visible = || (batch.memory(), executor.memory_pool().reserved());
    assert_eq!(visible(), (4 * MIB, 4 * MIB));
    let other = Arc::new(Gauge::default());
    let in_the_way = executor.spawn(&stream, other.busy());
    until("suspended", || executor.counts().suspended == 1).await;
    assert_eq!(visible(), (4 * MIB, 4 * MIB));
    other.stop();
    soon("the stream task", in_the_way).await.unwrap();
    gauge.works().await;
    soon("suspended", batch.suspend()).await;
    assert_eq!(visible(), (4 * MIB, 4 * MIB));
    batch.resume();
    gauge.stop();
    assert_eq!(soon("the task", task).await, Ok(2 * MIB));
    assert_eq!((batch.memory(), batch.memory_peak()), (0, 5 * MIB));
    assert_eq!(stream.memory_peak(), 0);
    is_empty(&executor).await;
}

#[tokio::test]
async fn memory_is_booked_on_the_task_that_registered_it() {
    let executor = executor(2, PolicyName::Neptune);
    let job = job(&executor, Class::Batch);
    let mine = executor.clone();
    let task = executor.spawn(&job, async move {
        let root = current_task().unwrap();
        let reservation = reserve(&mine, MIB);
        // Handed to a child, which grows it.
        let child = SpawnedTask::spawn(async move {
            reservation.try_grow(MIB).unwrap();
            (current_task().unwrap().memory(), reservation)
        });
        let (childs, reservation) = child.await.unwrap();
        let before = root.memory();
        drop(reservation);
        let closure = SpawnedTask::spawn_blocking(move || drop(reserve(&mine, 5 * MIB)));
        closure.await.unwrap();
        (childs, before, root.memory())
    });
    assert_eq!(soon("the task", task).await, Ok((0, 2 * MIB, 0)));
    assert_eq!(
        job.memory_peak(),
        5 * MIB,
        "a closure's memory is the job's"
    );
    is_empty(&executor).await;
}

#[tokio::test]
async fn the_limit_is_that_of_the_pool_below() {
    let executor = Executor::start(ExecutorConfig {
        sched: SchedSettings::new(1),
        realtime: Realtime::Off,
        demote: Demote::Off,
        memory: Arc::new(GreedyMemoryPool::new(MIB)),
        ..ExecutorConfig::default()
    })
    .unwrap();
    let job = job(&executor, Class::Batch);
    let mine = executor.clone();
    let task = executor.spawn(&job, async move {
        let reservation = reserve(&mine, MIB);
        (
            reservation.try_grow(1).is_err(),
            current_task().unwrap().memory(),
        )
    });
    assert_eq!(soon("the task", task).await, Ok((true, MIB)));
    assert_eq!((job.memory(), job.memory_peak()), (0, MIB));
    is_empty(&executor).await;
}
