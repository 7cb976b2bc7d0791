//! Batch work progresses whatever streams do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use neptune_exec::yielding::poll_yield;
use neptune_sched::{Class, PolicyName};

use crate::support::{Gauge, executor, is_empty, job, soon, spin};

/// Streams that work for `busy` of every ten milliseconds on each slot; batch must get on in each window.
async fn progresses(busy: Duration) {
    let slots = 2;
    let executor = executor(slots, PolicyName::Neptune);
    let (batch, stream) = (job(&executor, Class::Batch), job(&executor, Class::Stream));
    let streams: Vec<_> = (0..slots)
        .map(|_| {
            executor.spawn(&stream, async move {
                let period = Duration::from_millis(10);
                loop {
                    let start = Instant::now();
                    while start.elapsed() < busy {
                        spin(Duration::from_micros(50));
                        std::future::poll_fn(poll_yield).await;
                    }
                    match period.checked_sub(start.elapsed()) {
                        Some(rest) if !rest.is_zero() => tokio::time::sleep(rest).await,
                        _ => tokio::task::yield_now().await,
                    }
                }
            })
        })
        .collect();
    let gauges: [Arc<Gauge>; 2] = Default::default();
    let tasks = gauges
        .each_ref()
        .map(|gauge| executor.spawn(&batch, gauge.busy()));
    let rounds = || gauges.iter().map(|gauge| gauge.rounds()).sum::<usize>();
    for window in 0..4 {
        let before = rounds();
        // The window is the measure here, not a wait for something.
        tokio::time::sleep(Duration::from_millis(250)).await;
        // 5 % of two cores are 1,250 rounds; machines with other things to do give less.
        let done = rounds() - before;
        assert!(
            done >= 50,
            "window {window}: {done} rounds of 20 us beside streams busy for {busy:?} of 10 ms"
        );
    }
    drop(streams);
    gauges.iter().for_each(|gauge| gauge.stop());
    for task in tasks {
        soon("a batch task", task).await.unwrap();
    }
    is_empty(&executor).await;
}

#[tokio::test]
async fn batch_progresses_beside_streams_that_use_nine_tenths_of_the_slots() {
    progresses(Duration::from_millis(9)).await;
}

#[tokio::test]
async fn batch_progresses_beside_streams_that_never_pause() {
    progresses(Duration::from_millis(10)).await;
}
