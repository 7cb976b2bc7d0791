//! The event log tells a possible story of every task.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::runtime::SpawnedTask;
use neptune_exec::{Event, EventKind, Executor};
use neptune_sched::{Class, PolicyName, TaskId};

use crate::support::{Gauge, executor, is_empty, job, soon, until};

/// What is known of a task from its history so far.
#[derive(Debug, Default)]
struct Story {
    submitted: bool,
    started: bool,
    asked: bool,
    suspended: bool,
    finished: bool,
}

impl Story {
    fn goes_on_with(&mut self, event: &Event) -> bool {
        let user = event.cause == Some("user");
        let possible = self.submitted && !self.finished;
        match event.event {
            EventKind::Submitted => !std::mem::replace(&mut self.submitted, true),
            EventKind::Started => possible && !std::mem::replace(&mut self.started, true),
            EventKind::SuspendRequested | EventKind::Killed => {
                possible
                    && self.started
                    && !self.suspended
                    && !std::mem::replace(&mut self.asked, true)
            }
            // Its user can suspend a task that is not being polled without asking it.
            EventKind::Suspended => {
                let asked = std::mem::replace(&mut self.asked, false);
                possible && (asked || user) && !std::mem::replace(&mut self.suspended, true)
            }
            EventKind::Resumed => {
                possible && self.started && std::mem::replace(&mut self.suspended, false)
            }
            EventKind::Finished => possible && !std::mem::replace(&mut self.finished, true),
        }
    }
}

/// Panics where the order of a task's events is impossible, or time runs backwards.
pub(crate) fn check(events: &[Event]) {
    let mut stories: HashMap<TaskId, Story> = HashMap::new();
    let mut last = 0.0;
    for event in events {
        assert!(event.t_us >= last, "time ran backwards to {event:?}");
        last = event.t_us;
        let story = stories.entry(event.task).or_default();
        if !story.goes_on_with(event) {
            let all: Vec<_> = events
                .iter()
                .filter(|e| e.task == event.task)
                .map(|e| (e.t_us, e.event, e.cause))
                .collect();
            panic!(
                "{:?} at {} us does not fit: {all:?}",
                event.event, event.t_us
            );
        }
    }
}

async fn bustle(executor: &Executor) {
    let batch = job(executor, Class::Batch);
    let gauges: [Arc<Gauge>; 3] = Default::default();
    let tasks = gauges.each_ref().map(|gauge| {
        let busy = gauge.busy();
        executor.spawn(&batch, async move { SpawnedTask::spawn(busy).await.ok() })
    });
    until("work", || gauges.iter().any(|gauge| gauge.rounds() > 0)).await;
    for round in 0..30 {
        let stream = job(executor, Class::Stream);
        let children = executor.spawn(&stream, async {
            for _ in 0..5 {
                SpawnedTask::spawn(tokio::task::yield_now()).await.ok();
            }
        });
        if round % 3 == 0 || !executor.policy().policy().stream_starts_at_once() {
            batch.suspend().await;
        }
        soon("the stream task", children).await.unwrap();
        batch.resume();
    }
    gauges.iter().for_each(|gauge| gauge.stop());
    for task in tasks {
        soon("a batch task", task).await.unwrap();
    }
    is_empty(executor).await;
}

#[tokio::test]
async fn every_tasks_history_is_possible_and_ends() {
    for policy in PolicyName::ALL {
        let executor = executor(2, policy);
        bustle(&executor).await;
        let events = executor.events();
        check(&events);
        let count = |kind| events.iter().filter(|e| e.event == kind).count();
        assert_eq!(
            count(EventKind::Submitted),
            count(EventKind::Finished),
            "{policy}"
        );
        assert!(
            count(EventKind::Suspended) > 0 && count(EventKind::Resumed) > 0,
            "{policy}"
        );
        let latencies = events.iter().filter(|e| e.event == EventKind::Resumed);
        assert!(latencies.clone().all(|e| e.latency_us.is_some()));
    }
}

#[tokio::test]
async fn causes_are_said() {
    let executor = executor(1, PolicyName::Neptune);
    let batch = job(&executor, Class::Batch);
    let gauge = Arc::new(Gauge::default());
    let task = executor.spawn(&batch, gauge.busy());
    gauge.works().await;
    soon("suspended", batch.suspend()).await;
    batch.resume();
    gauge.works().await;
    let stream = job(&executor, Class::Stream);
    let probe = Arc::new(Gauge::default());
    let stream_task = executor.spawn(&stream, probe.busy());
    until("suspended", || executor.counts().suspended == 1).await;
    probe.stop();
    soon("the stream task", stream_task).await.unwrap();
    gauge.works().await;
    batch.cancel();
    soon("the batch task", task).await.unwrap_err();
    is_empty(&executor).await;
    let events = executor.events();
    let story: Vec<_> = events
        .iter()
        .filter(|e| e.class == Class::Batch)
        .map(|e| (e.event, e.cause, e.latency_us.is_some()))
        .collect();
    use EventKind::{Finished, Resumed, Started, Submitted, SuspendRequested, Suspended};
    assert_eq!(
        story,
        [
            (Submitted, None, false),
            (Started, None, false),
            (SuspendRequested, Some("user"), false),
            (Suspended, Some("user"), true),
            (Resumed, None, true),
            (SuspendRequested, Some("stream"), false),
            (Suspended, Some("stream"), true),
            (Resumed, None, true),
            (Finished, Some("cancelled"), false),
        ]
    );
}

#[tokio::test]
async fn the_file_has_what_memory_has() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.jsonl");
    let executor = executor(2, PolicyName::Neptune);
    executor.write_events_to(&path).unwrap();
    bustle(&executor).await;
    executor.flush_events().unwrap();
    let lines: Vec<String> = std::fs::read_to_string(&path)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    let events: Vec<String> = executor
        .events()
        .iter()
        .map(|e| serde_json::to_string(e).unwrap())
        .collect();
    assert_eq!(lines, events);
    assert!(
        executor
            .write_events_to(&dir.path().join("no/such/dir"))
            .is_err()
    );
}
