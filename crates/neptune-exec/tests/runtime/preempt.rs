//! Streams start at once, and exactly the victims needed make room.

use std::sync::Arc;

use neptune_exec::EventKind;
use neptune_sched::{Class, PolicyName};

use crate::support::{Gauge, executor, is_empty, job, soon, until};

#[tokio::test]
async fn a_stream_starts_while_batch_holds_every_slot_and_its_victim_goes_on_after() {
    let executor = executor(2, PolicyName::Neptune);
    let batch = job(&executor, Class::Batch);
    let gauges: [Arc<Gauge>; 2] = Default::default();
    let tasks = gauges
        .each_ref()
        .map(|gauge| executor.spawn(&batch, gauge.busy()));
    for gauge in &gauges {
        gauge.works().await;
    }
    for number in 1..=20 {
        let stream = job(&executor, Class::Stream);
        let gauge = Arc::new(Gauge::default());
        let task = executor.spawn(&stream, gauge.busy());
        gauge.works().await;
        until("one victim", || executor.counts().suspended == 1).await;
        assert_eq!(
            executor.counts().batch,
            1,
            "the other batch task keeps its slot"
        );
        gauge.stop();
        soon("the stream task", task).await.unwrap();
        for gauge in &gauges {
            gauge.works().await;
        }
        assert_eq!(batch.suspensions().count, number);
    }
    gauges.iter().for_each(|gauge| gauge.stop());
    for task in tasks {
        soon("a batch task", task).await.unwrap();
    }
    let stats = batch.suspensions();
    assert_eq!(
        (stats.count, stats.suspend.count(), stats.resume.count()),
        (20, 20, 20)
    );
    let victims: Vec<_> = executor
        .events()
        .into_iter()
        .filter(|e| e.event == EventKind::Suspended)
        .collect();
    assert!(
        victims
            .iter()
            .all(|e| e.class == Class::Batch && e.cause == Some("stream"))
    );
    // Those suspended least come first: the twenty suspensions are shared evenly.
    let first = victims.iter().filter(|e| e.task == victims[0].task).count();
    assert_eq!((victims.len(), first), (20, 10));
    is_empty(&executor).await;
}

#[tokio::test]
async fn no_victim_where_a_slot_is_free() {
    let executor = executor(2, PolicyName::Neptune);
    let (batch, stream) = (job(&executor, Class::Batch), job(&executor, Class::Stream));
    let (busy, probe) = (Arc::new(Gauge::default()), Arc::new(Gauge::default()));
    let task = executor.spawn(&batch, busy.busy());
    busy.works().await;
    let stream_task = executor.spawn(&stream, probe.busy());
    probe.works().await;
    busy.works().await;
    probe.stop();
    busy.stop();
    soon("the stream task", stream_task).await.unwrap();
    soon("the batch task", task).await.unwrap();
    assert_eq!(batch.suspensions().count, 0);
    is_empty(&executor).await;
}

#[tokio::test]
async fn only_preempting_policies_interrupt() {
    for policy in [PolicyName::Fifo, PolicyName::Fair, PolicyName::Priority] {
        let executor = executor(1, policy);
        // The minimum share is not what is tested here.
        executor.configure(|_, sched| sched.batch_min_share = 0.0);
        let (batch, stream) = (job(&executor, Class::Batch), job(&executor, Class::Stream));
        let (busy, probe) = (Arc::new(Gauge::default()), Arc::new(Gauge::default()));
        let task = executor.spawn(&batch, busy.busy());
        busy.works().await;
        probe.stop();
        let stream_task = executor.spawn(&stream, probe.busy());
        until("the stream waits", || executor.counts().waiting == 1).await;
        busy.works().await;
        assert_eq!(probe.polls(), 0, "{policy}");
        // A change of policy judges it anew.
        executor.configure(|policy, _| *policy = PolicyName::Neptune);
        soon("the stream task", stream_task).await.unwrap();
        busy.stop();
        soon("the batch task", task).await.unwrap();
        is_empty(&executor).await;
    }
}

#[tokio::test]
async fn a_higher_priority_takes_the_slot_of_a_lower_one() {
    let executor = executor(1, PolicyName::Neptune);
    let low = job(&executor, Class::Batch);
    let high = executor.job(&neptune_exec::JobSettings {
        priority: 1,
        ..neptune_exec::JobSettings::new("high", Class::Batch)
    });
    let (busy, urgent) = (Arc::new(Gauge::default()), Arc::new(Gauge::default()));
    let task = executor.spawn(&low, busy.busy());
    busy.works().await;
    let urgent_task = executor.spawn(&high, urgent.busy());
    urgent.works().await;
    assert_eq!(
        (executor.counts().batch, executor.counts().suspended),
        (1, 1)
    );
    urgent.stop();
    soon("the urgent task", urgent_task).await.unwrap();
    busy.works().await;
    busy.stop();
    soon("the other task", task).await.unwrap();
    is_empty(&executor).await;
}
