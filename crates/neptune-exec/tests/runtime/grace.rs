//! A task suspended too often is left alone for a while.

use std::sync::Arc;

use neptune_sched::{Class, Nanos, PolicyName};

use crate::support::{Gauge, executor, is_empty, job, soon, until};

#[tokio::test]
async fn a_task_past_its_maximum_is_left_alone_for_its_grace() {
    let executor = executor(1, PolicyName::Neptune);
    executor.configure(|_, sched| {
        sched.max_suspensions = 2;
        sched.grace = Nanos::from_millis(600_000);
    });
    let (batch, stream) = (job(&executor, Class::Batch), job(&executor, Class::Stream));
    let gauge = Arc::new(Gauge::default());
    let task = executor.spawn(&batch, gauge.busy());
    gauge.works().await;
    let probe = async || {
        let probe = Arc::new(Gauge::default());
        let task = executor.spawn(&stream, probe.busy());
        probe.works().await;
        (probe, task)
    };
    for number in 1..=3 {
        let (probe, stream_task) = probe().await;
        until("suspended", || executor.counts().suspended == 1).await;
        probe.stop();
        soon("the stream task", stream_task).await.unwrap();
        gauge.works().await;
        assert_eq!(batch.suspensions().count, number);
    }
    // The third was one too many: streams still start at once, but beside it.
    for _ in 0..5 {
        let (probe, stream_task) = probe().await;
        gauge.works().await;
        assert_eq!((executor.counts().stream, executor.counts().batch), (1, 1));
        probe.stop();
        soon("the stream task", stream_task).await.unwrap();
    }
    assert_eq!(batch.suspensions().count, 3);
    // Its user may still suspend it.
    soon("suspended", batch.suspend()).await;
    assert_eq!(batch.suspensions().count, 4);
    batch.resume();
    gauge.works().await;
    gauge.stop();
    soon("the batch task", task).await.unwrap();
    is_empty(&executor).await;
}
