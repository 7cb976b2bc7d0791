//! The same answers when memory is short: what spills to disk is suspended in the middle of it like anything else.

use std::sync::Arc;
use std::time::Duration;

use datafusion::physical_plan::{ExecutionPlan, collect, displayable};
use neptune::{Class, Session};
use neptune_exec::Job;

use crate::answer::Answer;
use crate::cases::{builder, chosen, plain, session};
use crate::disturb::{Random, Streams, seed, suspending};
use crate::settle::{settled, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_the_same_when_sorts_and_aggregations_spill() {
    let seed = seed();
    let mut random = Random::new(seed);
    let plain = plain().await;
    for (short_polls, name, limit) in [
        ("true", "sort", 3 << 20),
        ("false", "sort", 3 << 20),
        ("true", "high_cardinality_aggregation", 2 << 20),
        ("false", "high_cardinality_aggregation", 2 << 20),
    ] {
        let builder = builder()
            .set("neptune.memory.limit", &limit.to_string())
            .and_then(|b| b.set("neptune.yield.short_polls", short_polls))
            .and_then(|b| b.set("datafusion.execution.sort_spill_reservation_bytes", "65536"))
            // A merge holds some batches of each file.
            .and_then(|b| b.set("datafusion.execution.batch_size", "1024"))
            .unwrap();
        let session = session(builder).await;
        let streams = Streams::start(&session, seed, Duration::from_millis(20));
        for case in chosen(&[name]) {
            let what = format!("{name} with short_polls {short_polls}, seed {seed}");
            let expected = case.expected(&plain).await;
            // Not by `submit`: the plan is wanted for its metrics, and a plan is a job of its own, too.
            let frame = case.frame(session.context()).await;
            let logical = frame.logical_plan().clone();
            let plan = frame.create_physical_plan().await.unwrap();
            let work = collect(Arc::clone(&plan), session.context().task_ctx());
            let work = suspending(&session, &mut random, || batch_job(&session), work);
            let batches = within(300, &session, &what, work).await;
            let batches = batches.unwrap_or_else(|error| panic!("{what}: {error}"));
            let spills = spills(&plan);
            let shown = displayable(plan.as_ref()).indent(false).to_string();
            assert!(spills > 0, "{what}: nothing spilled\n{shown}");
            eprintln!("{what}: {spills} spills");
            if let Some(difference) = expected.difference(&Answer::new(&logical, &batches)) {
                panic!("{what}: {difference}\n{shown}");
            }
        }
        streams.stop().await;
        settled(&session, name).await;
    }
}

/// The batch job that runs, if one does.
fn batch_job(session: &Session) -> Option<Arc<Job>> {
    session
        .executor()
        .jobs()
        .into_iter()
        .find(|job| job.class() == Class::Batch)
}

fn spills(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let own = plan
        .metrics()
        .and_then(|metrics| metrics.spill_count())
        .unwrap_or(0);
    own + plan.children().into_iter().map(spills).sum::<usize>()
}
