//! The same answers with and without suspension, wherever it strikes.

use std::sync::Arc;
use std::time::Duration;

use neptune::{Class, Session};

use crate::answer::Answer;
use crate::cases::{Case, builder, operator_queries, plain, session, tpch_queries};
use crate::disturb::{Random, Streams, seed, suspending};
use crate::settle::{Strikes, settled, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tpch_queries_answer_the_same_wherever_suspension_strikes() {
    same_answers(tpch_queries(), 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operator_answers_the_same_wherever_suspension_strikes() {
    same_answers(operator_queries(), 2).await;
}

async fn same_answers(cases: Vec<Case>, rounds: usize) {
    let seed = seed();
    let plain = plain().await;
    let session = session(builder()).await;
    let streams = Streams::start(&session, seed, Duration::from_millis(6));
    let mut random = Random::new(seed);
    let (mut by_user, mut by_stream) = (0, 0);
    for case in &cases {
        let expected = case.expected(&plain).await;
        let what = format!("{} under seed {seed}", case.name);
        for _ in 0..rounds {
            disturbed(&session, case, &expected, &mut random, &what).await;
        }
        let strikes = Strikes::of(&session, case.name);
        by_user += strikes.by_user;
        by_stream += strikes.by_stream;
    }
    let probes = streams.stop().await;
    settled(&session, "all queries").await;
    eprintln!("{by_user} suspensions by the user, {by_stream} by {probes} stream queries");
    assert!(
        by_user > 100 && by_stream > 100,
        "{by_user} and {by_stream} under seed {seed}"
    );
}

/// Runs the query as a batch job that is suspended at random, and compares.
async fn disturbed(
    session: &Session,
    case: &Case,
    expected: &Answer,
    random: &mut Random,
    what: &str,
) {
    let frame = case.frame(session.context()).await;
    let plan = frame.logical_plan().clone();
    let handle = session.submit_as(frame, session.job_settings(case.name, Class::Batch));
    let job = Arc::clone(handle.job());
    let work = suspending(session, random, || Some(Arc::clone(&job)), handle);
    let result = within(300, session, what, work).await;
    let batches = result.unwrap_or_else(|error| panic!("{what}: {error}"));
    if let Some(difference) = expected.difference(&Answer::new(&plan, &batches)) {
        panic!("{what}: {difference}");
    }
}
