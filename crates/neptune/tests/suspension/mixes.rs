//! Any mix of suspend, resume, cancel and drop leaves nothing behind, and does not change what is left to answer.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::Int64Type;
use neptune::{Class, NeptuneError, Session, TaskError};

use crate::cases::{builder, session};
use crate::disturb::{Random, seed};
use crate::settle::{settled, within};

const MIXES: usize = 1000;
const AT_A_TIME: usize = 8;

/// Short queries that answer one number.
const QUERIES: [(&str, i64); 6] = [
    ("SELECT count(*) FROM nation JOIN region ON n_regionkey = r_regionkey", 25),
    ("SELECT sum(value) FROM generate_series(1, 20000)", 200_010_000),
    ("SELECT count(*) FROM (SELECT DISTINCT value % 1000 FROM generate_series(1, 20000))", 1000),
    (
        "SELECT max(place) FROM
         (SELECT row_number() OVER (ORDER BY value % 100, value) AS place FROM generate_series(1, 5000))",
        5000,
    ),
    ("SELECT count(*) FROM supplier WHERE s_suppkey IN (SELECT ps_suppkey FROM partsupp)", 100),
    ("SELECT count(*) FROM (SELECT s_name FROM supplier UNION ALL SELECT c_name FROM customer)", 1600),
];

/// How mixes ended.
#[derive(Debug, Default)]
struct Ends {
    answered: usize,
    cancelled: usize,
    dropped: usize,
    suspensions: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_mixes_of_suspend_resume_cancel_and_drop_leave_nothing_behind() {
    let seed = seed();
    let session = session(builder()).await;
    let workers: Vec<_> = (0..AT_A_TIME)
        .map(|worker| {
            let session = session.clone();
            tokio::spawn(async move {
                let mut ends = Ends::default();
                for number in (worker..MIXES).step_by(AT_A_TIME) {
                    let what = format!("mix {number} of seed {seed}");
                    let mut random = Random::new(seed ^ ((number as u64) << 32));
                    within(
                        30,
                        &session,
                        &what,
                        mix(&session, &mut random, &what, &mut ends),
                    )
                    .await;
                }
                ends
            })
        })
        .collect();
    let mut all = Ends::default();
    for worker in workers {
        let ends = worker
            .await
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        all.answered += ends.answered;
        all.cancelled += ends.cancelled;
        all.dropped += ends.dropped;
        all.suspensions += ends.suspensions;
    }
    settled(&session, &format!("seed {seed}")).await;
    eprintln!("{all:?}");
    assert_eq!(all.answered + all.cancelled + all.dropped, MIXES);
    for (what, count) in [
        ("answered", all.answered),
        ("cancelled", all.cancelled),
        ("dropped", all.dropped),
        ("suspended", all.suspensions as usize),
    ] {
        assert!(count > 100, "only {count} were {what} under seed {seed}");
    }
}

async fn mix(session: &Session, random: &mut Random, what: &str, ends: &mut Ends) {
    let (sql, expected) = QUERIES[random.below(QUERIES.len() as u64) as usize];
    let class = if random.below(4) == 0 {
        Class::Stream
    } else {
        Class::Batch
    };
    let frame = session.context().sql(sql).await.unwrap();
    let handle = session.submit_as(frame, session.job_settings("mix", class));
    let job = Arc::clone(handle.job());
    for _ in 0..random.below(8) {
        match random.below(20) {
            0..6 => handle.suspend().await,
            6..10 => handle.resume(),
            10 => handle.cancel(),
            _ => random.pause(Duration::from_millis(10)).await,
        }
    }
    match random.below(4) {
        0 => {
            drop(handle);
            ends.dropped += 1;
        }
        1 => {
            handle.cancel();
            // It may have been over before.
            match handle.await {
                Err(NeptuneError::Task(TaskError::Cancelled)) => ends.cancelled += 1,
                Ok(_) => ends.answered += 1,
                Err(error) => panic!("{what}: {sql}: {error}"),
            }
        }
        _ => {
            handle.resume();
            let cancelled = job.is_cancelled();
            match handle.await {
                Ok(batches) => {
                    let found = batches[0].column(0);
                    let found = datafusion::arrow::compute::cast(
                        found,
                        &datafusion::arrow::datatypes::DataType::Int64,
                    );
                    assert_eq!(
                        found.unwrap().as_primitive::<Int64Type>().value(0),
                        expected,
                        "{what}: {sql}"
                    );
                    ends.answered += 1;
                }
                Err(NeptuneError::Task(TaskError::Cancelled)) if cancelled => ends.cancelled += 1,
                Err(error) => panic!("{what}: {sql}: {error}"),
            }
        }
    }
    job.drained().await;
    ends.suspensions += job.suspensions().count;
}
