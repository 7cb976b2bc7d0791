//! The same answers under every policy, and however finely batches are cut.

use std::sync::Arc;
use std::time::{Duration, Instant};

use neptune::{Class, PolicyName};

use crate::answer::Answer;
use crate::cases::{builder, chosen, plain, session};
use crate::disturb::{Random, Streams, seed, suspending};
use crate::settle::{Strikes, settled, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_the_same_under_every_policy_beside_streams() {
    const NAMES: [&str; 7] = [
        "q03",
        "q18",
        "full_join",
        "sort",
        "window_whole_partition",
        "high_cardinality_aggregation",
        "recursive_cte",
    ];
    let seed = seed();
    let plain = plain().await;
    let mut expected = Vec::new();
    for case in chosen(&NAMES) {
        let answer = case.expected(&plain).await;
        expected.push((case, answer));
    }
    for policy in PolicyName::ALL {
        let session = session(builder().policy(policy)).await;
        let streams = Streams::start(&session, seed, Duration::from_millis(10));
        let (mut kills, mut preempted) = (0, 0);
        for (case, expected) in &expected {
            let what = format!("{} under {policy}, seed {seed}", case.name);
            let frame = case.frame(session.context()).await;
            let plan = frame.logical_plan().clone();
            let mut handle =
                session.submit_as(frame, session.job_settings(case.name, Class::Batch));
            let start = Instant::now();
            let result = within(300, &session, &what, &mut handle).await;
            eprintln!("{what}: {:?}", start.elapsed());
            let batches = result.unwrap_or_else(|error| panic!("{what}: {error}"));
            if let Some(difference) = expected.difference(&Answer::new(&plan, &batches)) {
                panic!("{what}: {difference}");
            }
            kills += handle.progress().kills;
            preempted += Strikes::of(&session, case.name).by_stream;
        }
        let probes = streams.stop().await;
        settled(&session, policy.name()).await;
        eprintln!("{policy}: {probes} stream queries, {kills} kills, {preempted} suspensions");
        assert!(probes > 20, "{policy}: only {probes} stream queries");
        assert_eq!(
            kills > 0,
            policy == PolicyName::Kill,
            "{policy}: {kills} kills"
        );
        if policy != PolicyName::Kill {
            assert_eq!(
                preempted > 0,
                policy == PolicyName::Neptune,
                "{policy}: {preempted}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_the_same_however_finely_batches_are_cut() {
    const NAMES: [&str; 6] = [
        "q03",
        "q13",
        "left_anti_join",
        "window_running_sum",
        "high_cardinality_aggregation",
        "union_distinct",
    ];
    let seed = seed();
    let mut random = Random::new(seed);
    let plain = plain().await;
    let session = session(builder()).await;
    for mut case in chosen(&NAMES) {
        let expected = case.expected(&plain).await;
        let own = case.settings.clone();
        for (short_polls, target) in [
            ("true", "1 us"),
            ("false", "1 us"),
            ("false", "500 us"),
            ("true", "0 us"),
        ] {
            let what = format!(
                "{} with short_polls {short_polls}, target {target}, seed {seed}",
                case.name
            );
            case.settings = own.clone();
            for (key, value) in [("short_polls", short_polls), ("target", target)] {
                case.settings
                    .push((format!("neptune.yield.{key}"), value.to_owned()));
            }
            let start = Instant::now();
            let frame = case.frame(session.context()).await;
            let plan = frame.logical_plan().clone();
            let handle = session.submit_as(frame, session.job_settings(case.name, Class::Batch));
            let job = Arc::clone(handle.job());
            let work = suspending(&session, &mut random, || Some(Arc::clone(&job)), handle);
            let result = within(300, &session, &what, work).await;
            let batches = result.unwrap_or_else(|error| panic!("{what}: {error}"));
            if let Some(difference) = expected.difference(&Answer::new(&plan, &batches)) {
                panic!("{what}: {difference}");
            }
            eprintln!(
                "{what}: {:?}, {} suspensions",
                start.elapsed(),
                job.suspensions().count
            );
        }
    }
    settled(&session, "all queries").await;
}
