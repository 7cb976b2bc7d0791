//! Waiting with an end, and what must be left when all is over: nothing.

use std::time::{Duration, Instant};

use neptune::Session;
use neptune_exec::EventKind;

/// Awaits `future`, and fails when it takes longer than anything here should.
pub(crate) async fn within<T>(
    seconds: u64,
    session: &Session,
    what: &str,
    future: impl Future<Output = T>,
) -> T {
    match tokio::time::timeout(Duration::from_secs(seconds), future).await {
        Ok(result) => result,
        Err(_) => panic!("{what}: not over after {seconds} s; {}", left(session)),
    }
}

/// Fails unless no job, task, slot or byte is left, now or as soon as the last owner of a handle has let go of it.
pub(crate) async fn settled(session: &Session, what: &str) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !holds_nothing(session) || !session.executor().jobs().is_empty() {
        assert!(
            Instant::now() < deadline,
            "{what}: left behind: {}",
            left(session)
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Whether no task is left, and with it no slot and no byte.
pub(crate) fn holds_nothing(session: &Session) -> bool {
    let counts = session.executor().counts();
    counts.tasks + counts.stream + counts.batch + counts.waiting + counts.suspended + counts.held
        == 0
        && session.executor().memory_pool().reserved() == 0
}

/// What there is, to be shown.
pub(crate) fn left(session: &Session) -> String {
    let executor = session.executor();
    let jobs: Vec<String> = executor
        .jobs()
        .iter()
        .map(|job| {
            let (name, tasks, memory) = (job.name(), job.live_tasks(), job.memory());
            format!(
                "{name}: {tasks} tasks, {memory} bytes, held {}",
                job.is_held()
            )
        })
        .collect();
    let bytes = executor.memory_pool().reserved();
    format!("{:?}, {bytes} bytes, jobs {jobs:?}", executor.counts())
}

/// How often a task of a job was asked to let go and did, by cause.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Strikes {
    pub(crate) by_user: usize,
    pub(crate) by_stream: usize,
}

impl Strikes {
    /// Those among the executor's events that concern the jobs called `name`.
    pub(crate) fn of(session: &Session, name: &str) -> Self {
        let mut strikes = Self::default();
        for event in session.executor().events() {
            // Without a latency nobody had to let go: the task waited for something anyway.
            if event.event == EventKind::Suspended
                && event.latency_us.is_some()
                && *event.name == *name
            {
                match event.cause {
                    Some("user") => strikes.by_user += 1,
                    Some("stream") => strikes.by_stream += 1,
                    _ => {}
                }
            }
        }
        strikes
    }
}
