//! A cancelled job ends soon, wherever it is, and leaves nothing behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use neptune::{Class, JobState, NeptuneError, TaskError};

use crate::cases::{builder, session};
use crate::settle::{holds_nothing, left, settled, within};

/// Far more than it takes, even unoptimised and beside other tests, and far less than the queries would.
const LONGEST: Duration = Duration::from_secs(2);

/// Each would run for minutes.
const QUERIES: [(&str, &str); 3] = [
    (
        "cross join",
        "SELECT count(*) FROM lineitem AS a CROSS JOIN lineitem AS b WHERE a.l_comment < b.l_comment",
    ),
    (
        "equal keys",
        "SELECT count(*) FROM lineitem AS a JOIN lineitem AS b
         ON a.l_linestatus = b.l_linestatus AND a.l_comment < b.l_comment",
    ),
    (
        "sort",
        "SELECT l_comment, l_orderkey, value FROM lineitem CROSS JOIN generate_series(1, 1000)
         ORDER BY l_comment, l_orderkey, value",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_job_ends_soon_and_holds_nothing() {
    let session = session(builder()).await;
    for (name, sql) in QUERIES {
        for after in [0, 100, 800].map(Duration::from_millis) {
            for suspended in [false, true] {
                let what = format!("{name} cancelled after {after:?}, suspended: {suspended}");
                let frame = session.context().sql(sql).await.unwrap();
                let settings = session.job_settings(name, Class::Batch);
                let mut handle = session.submit_as(frame, settings);
                let job = Arc::clone(handle.job());
                within(10, &session, &what, async {
                    while session.executor().counts().batch == 0 {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                })
                .await;
                tokio::time::sleep(after).await;
                if suspended {
                    within(10, &session, &what, handle.suspend()).await;
                    assert_eq!(handle.progress().state, JobState::Suspended, "{what}");
                } else {
                    assert_eq!(handle.progress().state, JobState::Running, "{what}");
                }
                let held = job.memory();

                let start = Instant::now();
                handle.cancel();
                within(20, &session, &what, job.drained()).await;
                let took = start.elapsed();
                assert!(holds_nothing(&session), "{what}: {}", left(&session));

                eprintln!("{what}: {took:?}, gave back {held} bytes");
                let result = within(10, &session, &what, &mut handle).await;
                assert!(
                    matches!(result, Err(NeptuneError::Task(TaskError::Cancelled))),
                    "{what}: {result:?}"
                );
                assert!(took < LONGEST, "{what}: {took:?}");
                drop((handle, job));
                settled(&session, &what).await;
            }
        }
    }
}
