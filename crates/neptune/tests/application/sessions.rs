//! A session gives DataFusion's context classes, and jobs handles.

use std::sync::{Arc, mpsc};

use neptune::datafusion::arrow::array::AsArray;
use neptune::datafusion::arrow::datatypes::DataType;
use neptune::datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use neptune::{Class, JobState, NeptuneError, PolicyName, Session, TaskError};
use neptune_exec::EventKind;
use parking_lot::Mutex;

use super::support::{ask, lines, session, until};

/// Never ends in the time of a test.
const ENDLESS: &str = "SELECT count(*) FROM generate_series(1, 3000000) AS a(v)
    CROSS JOIN generate_series(1, 3000000) AS b(v)";
/// Takes a while, and exchanges rows between its partitions.
const GROUPS: &str = "SELECT v % 7 AS k, count(*) AS n, sum(v) AS s
    FROM generate_series(1, 300000) AS t(v) GROUP BY v % 7 ORDER BY k";

fn groups() -> Vec<String> {
    let row = |k: u64| {
        let members = (1..=300_000_u64).filter(|v| v % 7 == k);
        let (n, s) = members.fold((0, 0), |(n, s), v| (n + 1, s + v));
        format!("{k} {n} {s}")
    };
    (0..7).map(row).collect()
}

#[tokio::test]
async fn the_class_set_through_the_plain_context_is_inherited_by_every_task() {
    let session = Session::builder()
        .slots(2)
        .set("datafusion.execution.target_partitions", "4")
        .unwrap()
        .build()
        .unwrap();
    for class in [Class::Stream, Class::Batch] {
        ask(&session, &format!("SET neptune.job.class = '{class}'")).await;
        ask(&session, &format!("SET neptune.job.name = 'as_{class}'")).await;
        assert_eq!(ask(&session, GROUPS).await, groups());
        let events = session.executor().events();
        let name = format!("as_{class}");
        let mine: Vec<_> = events.iter().filter(|event| *event.name == *name).collect();
        let mut tasks: Vec<_> = mine.iter().map(|event| event.task).collect();
        tasks.sort_unstable();
        tasks.dedup();
        // The root of each partition, and what the exchange spawns.
        assert!(tasks.len() > 4, "{class}: {tasks:?}");
        assert!(mine.iter().all(|event| event.class == class), "{class}");
    }
    let error = session
        .context()
        .sql("SET neptune.job.class = 'quick'")
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("unknown job class 'quick'"),
        "{error}"
    );
}

#[tokio::test]
async fn a_suspended_job_does_nothing_and_then_gives_the_same_answer() {
    let session = session(PolicyName::Neptune, 2);
    let query = session.context().sql(GROUPS).await.unwrap();
    let settings = session.job_settings("mine", Class::Batch);
    let mut handle = session.submit_as(query, settings);
    until("a task", || handle.progress().tasks > 0).await;
    handle.suspend().await;
    let progress = handle.progress();
    assert_eq!(
        (progress.name.as_str(), progress.class),
        ("mine", Class::Batch)
    );
    assert_eq!(progress.state, JobState::Suspended);
    assert!(progress.tasks > 0);
    // Nobody is polled: what the log still gets is that tasks which were about to be are suspended, too.
    let polls = || {
        let events = session.executor().events();
        let other = events.iter().filter(|e| e.event != EventKind::Suspended);
        other.count()
    };
    let before = polls();
    assert!(futures::poll!(&mut handle).is_pending());
    assert_eq!(session.executor().counts().batch, 0);
    assert_eq!(polls(), before);
    handle.resume();
    assert_eq!(handle.progress().state, JobState::Running);
    assert_eq!(lines(&(&mut handle).await.unwrap()), groups());
    let progress = handle.progress();
    assert_eq!(progress.state, JobState::Ended);
    assert_eq!(
        (progress.tasks, progress.memory_bytes, progress.kills),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn a_cancelled_or_dropped_job_gives_everything_back() {
    let session = session(PolicyName::Neptune, 2);
    for suspended in [false, true] {
        for dropped in [false, true] {
            let query = session.context().sql(ENDLESS).await.unwrap();
            let handle = session.submit(query);
            if suspended {
                handle.suspend().await;
            }
            let job = Arc::clone(handle.job());
            if dropped {
                drop(handle);
            } else {
                handle.cancel();
                let error = handle.await.unwrap_err();
                assert!(
                    matches!(error, NeptuneError::Task(TaskError::Cancelled)),
                    "{error}"
                );
            }
            job.drained().await;
            assert_eq!(
                (job.live_tasks(), job.memory()),
                (0, 0),
                "{suspended} {dropped}"
            );
            let counts = session.executor().counts();
            assert_eq!((counts.batch, counts.waiting, counts.suspended), (0, 0, 0));
        }
    }
}

#[tokio::test]
async fn an_error_of_a_query_is_the_error_of_its_job() {
    let session = session(PolicyName::Neptune, 2);
    let query = session
        .context()
        .sql("SELECT 1 / v FROM (VALUES (1), (0)) AS t(v)")
        .await
        .unwrap();
    let error = session.submit(query).await.unwrap_err();
    assert!(matches!(error, NeptuneError::Engine(_)), "{error:?}");
    assert!(error.to_string().contains("Divide by zero"), "{error}");
}

/// A function `gate(v)` that gives `v`, but the first time says that it was reached and waits for leave.
fn gate() -> (ScalarUDF, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (say, reached) = mpsc::channel();
    let (leave, wait) = mpsc::channel();
    let closed = Mutex::new(Some((say, wait)));
    let pass = move |args: &[ColumnarValue]| {
        if let Some((say, wait)) = closed.lock().take() {
            say.send(()).unwrap();
            wait.recv().unwrap();
        }
        Ok(args[0].clone())
    };
    let (int, volatile) = (DataType::Int64, Volatility::Volatile);
    let function = create_udf("gate", vec![int.clone()], int, volatile, Arc::new(pass));
    (function, reached, leave)
}

#[tokio::test]
async fn explain_analyze_shows_yields_and_the_longest_poll() {
    let session = session(PolicyName::Neptune, 2);
    // Operators of our own yield by themselves too, which the nodes do not see.
    session.set("neptune.yield.short_polls", "false").unwrap();
    let (function, reached, leave) = gate();
    session.context().register_udf(function);
    let explain = "EXPLAIN ANALYZE SELECT k % 7, count(*) FROM
        (SELECT gate(v) AS k FROM generate_series(1, 30000) AS t(v)) AS g GROUP BY k % 7";
    let query = session.context().sql(explain).await.unwrap();
    let settings = session.job_settings("explained", Class::Batch);
    let handle = session.submit_as(query, settings);
    tokio::task::spawn_blocking(move || reached.recv().unwrap())
        .await
        .unwrap();
    // Asked to yield while it is in the function, it does so at the next yield point.
    tokio::join!(handle.suspend(), async { leave.send(()).unwrap() });
    assert_eq!(handle.progress().state, JobState::Suspended);
    handle.resume();
    let batches = handle.await.unwrap();
    let plan: String = batches
        .iter()
        .flat_map(|batch| {
            let text = batch.column(1).as_string::<i32>();
            text.iter().flatten().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let nodes: Vec<&str> = plan
        .lines()
        .filter(|line| line.contains("YieldExec: of="))
        .collect();
    assert!(nodes.len() >= 2, "{plan}");
    let figures = |name: &str| -> Vec<u64> {
        let figure = |node: &&str| {
            let (_, rest) = node.split_once(&format!("{name}="))?;
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok()
        };
        nodes.iter().filter_map(figure).collect()
    };
    assert_eq!(figures("yields").len(), nodes.len(), "{plan}");
    assert_eq!(figures("longest_poll_us").len(), nodes.len(), "{plan}");
    // Where it yielded may have been a yield point inside an operator, which no node counts.
    assert!(figures("longest_poll_us").iter().sum::<u64>() > 0, "{plan}");
}

#[tokio::test]
async fn settings_of_the_builder_hold_and_wrong_ones_are_named() {
    let session = Session::builder()
        .slots(3)
        .policy(PolicyName::Fair)
        .set("neptune.suspend.max_count", "7")
        .unwrap()
        .build()
        .unwrap();
    assert_eq!(session.executor().policy(), PolicyName::Fair);
    assert_eq!(
        ask(&session, "SHOW neptune.suspend.max_count").await,
        ["neptune.suspend.max_count 7"]
    );
    let partitions = "datafusion.execution.target_partitions";
    assert_eq!(
        ask(&session, &format!("SHOW {partitions}")).await,
        [format!("{partitions} 3")]
    );
    session.set("neptune.scheduler.policy", "kill").unwrap();
    assert_eq!(session.executor().policy(), PolicyName::Kill);

    for (key, value) in [
        ("neptune.nothing", "1"),
        ("nothing", "1"),
        ("neptune.job.class", "quick"),
        ("datafusion.execution.batch_size", "many"),
    ] {
        let error = Session::builder().set(key, value).unwrap_err().to_string();
        assert!(error.contains(key) && error.contains(value), "{error}");
    }
}
