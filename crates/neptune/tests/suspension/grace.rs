//! A task suspended often enough is left alone for a while.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use neptune::Class;
use neptune_exec::{Event, EventKind};
use neptune_sched::TaskId;

use crate::cases::{builder, session};
use crate::disturb::{Streams, seed};
use crate::settle::{settled, within};

const MAX_COUNT: usize = 5;
const GRACE: Duration = Duration::from_millis(150);

/// The clock is read before the scheduler's lock is taken: times are this exact, unless the machine is overloaded.
const SLACK: Duration = Duration::from_millis(5);

/// Runs for minutes, on one task.
const QUERY: &str =
    "SELECT count(*) FROM lineitem AS a CROSS JOIN lineitem AS b WHERE a.l_comment < b.l_comment";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_past_its_count_of_suspensions_is_left_alone_for_the_grace() {
    let seed = seed();
    let builder = builder()
        .slots(1)
        .set("neptune.suspend.max_count", &MAX_COUNT.to_string())
        .and_then(|b| {
            b.set(
                "neptune.suspend.grace",
                &format!("{} ms", GRACE.as_millis()),
            )
        })
        .unwrap();
    let session = session(builder).await;
    let frame = session.context().sql(QUERY).await.unwrap();
    let handle = session.submit_as(frame, session.job_settings("batch", Class::Batch));
    let streams = Streams::start(&session, seed, Duration::from_millis(10));

    let start = Instant::now();
    let mut graces = Vec::new();
    while graces.len() < 3 && start.elapsed() < Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        graces = graces_of(&session.executor().events());
    }
    drop(handle);
    within(10, &session, "the streams", streams.stop()).await;
    settled(&session, "grace").await;

    eprintln!("{graces:?}");
    assert!(graces.len() >= 3, "{graces:?} under seed {seed}");
    for grace in &graces {
        assert_eq!(grace.suspensions, MAX_COUNT + 1, "{graces:?}");
        assert!(grace.undisturbed + SLACK >= GRACE, "{graces:?}");
    }
    let tempted = graces.iter().filter(|grace| grace.streams > 0).count();
    assert!(
        tempted > 0,
        "no stream query came during a grace: {graces:?}"
    );
}

/// A time for which a task was left alone.
#[derive(Debug)]
struct Grace {
    /// How often streams suspended it before.
    suspensions: usize,
    /// From its slot to the next request to let go.
    undisturbed: Duration,
    /// Stream tasks that started meanwhile.
    streams: usize,
}

/// The graces in the log that are over.
fn graces_of(events: &[Event]) -> Vec<Grace> {
    let micros = |micros: f64| Duration::from_secs_f64(micros.max(0.0) / 1e6);
    let mut graces = Vec::new();
    let mut suspensions: BTreeMap<TaskId, usize> = BTreeMap::new();
    let mut open: BTreeMap<TaskId, (f64, Grace)> = BTreeMap::new();
    for event in events {
        match (event.class, event.event) {
            (Class::Stream, EventKind::Started) => {
                for (_, grace) in open.values_mut() {
                    grace.streams += 1;
                }
            }
            (Class::Batch, EventKind::Suspended) if event.cause == Some("stream") => {
                *suspensions.entry(event.task).or_default() += 1;
            }
            (Class::Batch, EventKind::Resumed) => {
                let count = suspensions.get(&event.task).copied().unwrap_or(0);
                if count > MAX_COUNT {
                    suspensions.remove(&event.task);
                    let from = event.t_us - event.latency_us.unwrap_or(0.0);
                    let grace = Grace {
                        suspensions: count,
                        undisturbed: Duration::ZERO,
                        streams: 0,
                    };
                    open.insert(event.task, (from, grace));
                }
            }
            (Class::Batch, EventKind::SuspendRequested) if event.cause == Some("stream") => {
                if let Some((from, grace)) = open.remove(&event.task) {
                    let undisturbed = micros(event.t_us - from);
                    graces.push(Grace {
                        undisturbed,
                        ..grace
                    });
                }
            }
            _ => {}
        }
    }
    graces
}
