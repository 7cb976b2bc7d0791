//! Memory goes back to the pool when a plan is dropped half-way, wherever that is.

use futures::StreamExt;
use futures::future::poll_immediate;

use crate::support::{Random, Setting, block_on, pool, table};

const QUERIES: [&str; 5] = [
    "SELECT * FROM t ORDER BY s, i",
    "SELECT i, count(*), min(v) FROM t GROUP BY i",
    "SELECT l.n, r.n FROM t l JOIN t r ON l.s = r.s",
    "SELECT n, sum(n) OVER (PARTITION BY v) FROM t",
    "SELECT v, sum(n) FROM (SELECT l.v, r.n FROM t l LEFT JOIN t r ON l.s = r.s) GROUP BY v ORDER BY v",
];

#[test]
fn a_dropped_plan_holds_nothing() {
    for (number, sql) in QUERIES.into_iter().enumerate() {
        for seed in 0..12 {
            let mut setting = Setting::new(seed);
            setting.memory = Some(64 << 20);
            let mut random = Random::new(seed);
            let data = table(&mut random, 3000, 2, 200, 1000, false);
            let polls = random.below(60) as usize;
            block_on(async {
                let session = setting.session(vec![("t", data)]);
                let plan = setting.rewritten(&session, setting.stock(&session, sql).await);
                let mut stream = plan.execute(0, session.task_ctx()).unwrap();
                let mut ended = false;
                for _ in 0..polls {
                    match poll_immediate(stream.next()).await {
                        Some(Some(batch)) => drop(batch.unwrap()),
                        Some(None) => ended = true,
                        None => tokio::task::yield_now().await,
                    }
                    if ended {
                        break;
                    }
                }
                drop(stream);
                drop(plan);
                // Tasks of exchanges are aborted, and let go of their memory when they are next looked at.
                while pool(&session).reserved() > 0 {
                    tokio::task::yield_now().await;
                }
            });
            eprintln!("query {number}, seed {seed}: {polls} polls");
        }
    }
}
