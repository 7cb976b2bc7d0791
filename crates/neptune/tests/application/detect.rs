//! The detect example: model versions are monotone and never torn, every alert can be computed again from the
//! version it names, and alerts do not depend on the policy.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use neptune::datafusion::arrow::array::RecordBatch;
use neptune::datafusion::catalog::TableProvider;
use neptune::datafusion::datasource::MemTable;
use neptune::dialect::{JobBody, StatementKind, parse};
use neptune::{AppJobState, DeclaredTable, PolicyName, Session};
use neptune_gen::shop::ShopConfig;
use neptune_stream::shared::{SharedTable, Snapshot};
use serde_json::Value;

use super::support::{Output, ask, load, named, quoted, report, run_until, session};

const EXAMPLE: &str = include_str!("../../../../examples/detect/app.sql");
/// Of the example's 20 million events.
const SCALE: f64 = 0.001;
/// Where the live events begin.
const FIRST: u64 = 20_000;
const SEED: u64 = 7;

/// One alert; the score by its bits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Alert {
    event: u64,
    reason: String,
    score: u64,
    version: u64,
}

/// The example with its files in `dir`, and these changes.
fn example(dir: &Path, changes: &[(&str, &str)]) -> String {
    let mut sql = EXAMPLE.to_owned();
    let data = quoted(dir, "data");
    let alerts = quoted(dir, "alerts");
    let files = [
        ("'data/shop'", data.as_str()),
        ("'out/alerts'", alerts.as_str()),
    ];
    for (from, to) in files.iter().chain(changes) {
        assert_eq!(sql.matches(from).count(), 1, "{from} in the example");
        sql = sql.replace(from, to);
    }
    sql
}

/// Those statements of a file whose jobs are listed, and all that are no jobs.
fn only(sql: &str, jobs: &[&str]) -> String {
    let statements = parse("app.sql", sql).unwrap();
    let kept = statements.iter().filter(|statement| match &statement.kind {
        StatementKind::CreateJob(create) => jobs.contains(&create.name.text.as_str()),
        _ => true,
    });
    kept.map(|statement| format!("{};\n", statement.text))
        .collect()
}

/// The query of a job of the example.
fn query_of(job: &str) -> String {
    let statements = parse("app.sql", EXAMPLE).unwrap();
    let query = statements
        .iter()
        .find_map(|statement| match &statement.kind {
            StatementKind::CreateJob(create) if create.name.text == job => match &create.body {
                JobBody::Insert(insert) => Some(insert.query.to_string()),
                _ => None,
            },
            _ => None,
        });
    query.unwrap()
}

/// The lines of the data files of a job, by the number of their micro-batch.
fn by_micro_batch(directory: &Path) -> BTreeMap<u64, Vec<String>> {
    let mut rows: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        // part-JOB-RUN-MICROBATCH-NUMBER
        let number = stem.rsplit('-').nth(1).unwrap().parse().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        rows.entry(number)
            .or_default()
            .extend(text.lines().map(str::to_owned));
    }
    rows
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

fn alert(line: &str) -> Alert {
    let row = json(line);
    // The parser of JSON rounds the last digit; that of the language does not.
    let (_, score) = line.split_once("\"score\":").unwrap();
    let score: f64 = score.split([',', '}']).next().unwrap().parse().unwrap();
    Alert {
        event: row["event_id"].as_u64().unwrap(),
        reason: row["reason"].as_str().unwrap().to_owned(),
        score: score.to_bits(),
        version: row["model_version"].as_u64().unwrap(),
    }
}

async fn model(session: &Session) -> Arc<SharedTable> {
    let table = session.context().table_provider("model").await.unwrap();
    let table = table.downcast_ref::<DeclaredTable>().unwrap();
    Arc::clone(table.connector().shared().unwrap())
}

fn in_memory(batches: Vec<RecordBatch>) -> Arc<dyn TableProvider> {
    let schema = batches[0].schema();
    Arc::new(MemTable::try_new(schema, vec![batches]).unwrap())
}

/// What detection finds among the events `from..=to` by a version of the model, computed as one batch query.
async fn offline(model: &Snapshot, from: u64, to: u64) -> BTreeSet<Alert> {
    let session = session(PolicyName::Fifo, 2);
    let events = ShopConfig::for_history(SEED, FIRST)
        .batch(from..to + 1)
        .unwrap();
    let context = session.context();
    context
        .register_table("events", in_memory(vec![events]))
        .unwrap();
    context
        .register_table("model", in_memory(model.batches().cloned().collect()))
        .unwrap();
    // The score goes through its text, exactly: the shortest that gives the same number.
    let sql = format!(
        "SELECT event_id, reason, CAST(score AS TEXT), model_version FROM ({}) AS q",
        query_of("detect")
    );
    let rows = ask(&session, &sql).await;
    rows.iter()
        .map(|row| {
            let parts: Vec<&str> = row.split(' ').collect();
            Alert {
                event: parts[0].parse().unwrap(),
                reason: parts[1].to_owned(),
                score: parts[2].parse::<f64>().unwrap().to_bits(),
                version: parts[3].parse().unwrap(),
            }
        })
        .collect()
}

#[tokio::test]
async fn versions_are_monotone_and_whole_and_every_alert_can_be_computed_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut sql = example(
        dir.path(),
        &[
            ("every = '10 s'", "every = '100 ms'"),
            (
                "connector = 'shared'",
                "connector = 'shared', keep_versions = 100000",
            ),
        ],
    );
    // Which versions the two halves of the model had, for every event.
    let seen = quoted(dir.path(), "seen");
    sql += &format!(
        "
CREATE TABLE seen (event_id BIGINT, of_user BIGINT, of_address BIGINT)
  WITH (connector = 'filesystem', path = {seen}, format = 'json');
CREATE JOB watch WITH (class = 'stream', trigger = '50 ms') AS
INSERT INTO seen SELECT e.event_id, u._version, a._version FROM events AS e
LEFT JOIN (SELECT * FROM model WHERE kind = 'user') AS u ON u.user_id = e.user_id
LEFT JOIN (SELECT * FROM model WHERE kind = 'address') AS a ON a.ip = e.ip;
"
    );
    let session = session(PolicyName::Neptune, 2);
    let application = load(&session, &sql, Output::default().options(SCALE)).await;
    let summary = run_until(&application, |jobs| {
        let detect = named(jobs, "detect");
        named(jobs, "train").micro_batches >= 5
            && detect.micro_batches >= 20
            && detect.rows_out >= 60
    })
    .await;
    assert_eq!(report(&summary, "detect").state, AppJobState::Stopped);

    let model = model(&session).await;
    let expected = "SELECT (SELECT count(*) FROM (SELECT DISTINCT user_id FROM history) AS u)
        + (SELECT count(*) FROM (SELECT DISTINCT ip FROM history) AS a)";
    let rows: usize = ask(&session, expected).await[0].parse().unwrap();
    let newest = report(&summary, "train").micro_batches;
    for version in 1..=newest {
        assert_eq!(
            model.version(version).unwrap().rows(),
            rows,
            "version {version} is torn"
        );
    }

    let one = |versions: BTreeSet<u64>, what: &str| {
        assert!(versions.len() <= 1, "{what} saw versions {versions:?}");
        versions.first().copied().unwrap_or(0)
    };
    let mut last = 0;
    for (number, rows) in by_micro_batch(&dir.path().join("seen")) {
        let versions = rows
            .iter()
            .map(|row| json(row))
            .flat_map(|row| [row["of_user"].as_u64(), row["of_address"].as_u64()]);
        let version = one(
            versions.flatten().collect(),
            &format!("micro-batch {number} of watch"),
        );
        assert!(version >= last, "version {version} after {last}");
        last = version;
    }
    assert!(last > 1, "only version {last} was seen");

    let (mut last, mut found) = (0, BTreeMap::<u64, BTreeSet<Alert>>::new());
    for (number, rows) in by_micro_batch(&dir.path().join("alerts")) {
        let alerts: Vec<Alert> = rows.iter().map(|row| alert(row)).collect();
        let versions = alerts.iter().map(|alert| alert.version).collect();
        let version = one(versions, &format!("micro-batch {number} of detect"));
        assert!(version >= last, "version {version} after {last}");
        last = version;
        for alert in alerts {
            let event = alert.event;
            assert!(
                found.entry(version).or_default().insert(alert),
                "two alerts for event {event}"
            );
        }
    }
    assert!(found.len() > 1, "alerts of one version only");
    let alerts: usize = found.values().map(BTreeSet::len).sum();
    assert_eq!(alerts as u64, report(&summary, "detect").rows_out);
    for (version, alerts) in &found {
        // Micro-batches take the events in order, so all between two alerts of a version were judged by it.
        let (from, to) = (alerts.first().unwrap().event, alerts.last().unwrap().event);
        let snapshot = model.version(*version).unwrap();
        assert_eq!(
            &offline(&snapshot, from, to).await,
            alerts,
            "version {version}"
        );
    }
    let quality = |name: &str| summary.app[name].as_f64().unwrap();
    assert!(
        quality("recall") > 0.5 && quality("precision") > 0.5,
        "{:?}",
        summary.app
    );
}

#[tokio::test]
async fn alerts_are_the_same_under_every_policy() {
    const EVENTS: u64 = 3000;
    let history = tempfile::tempdir().unwrap();
    let mut expected: Option<BTreeSet<Alert>> = None;
    for policy in PolicyName::ALL {
        let dir = tempfile::tempdir().unwrap();
        let data = quoted(history.path(), "data");
        let alerts = quoted(dir.path(), "alerts");
        let events = format!("rows_per_second = 1000000000, events = {EVENTS}");
        let mut sql = EXAMPLE.to_owned();
        for (from, to) in [
            ("'data/shop'", data.as_str()),
            ("'out/alerts'", alerts.as_str()),
            (", every = '10 s'", ""),
            ("rows_per_second = 20000", events.as_str()),
            (
                "CREATE JOB detect WITH (class = 'stream', trigger = '50 ms')",
                "CREATE JOB detect WITH (class = 'stream', trigger = '20 ms', max_rows_per_trigger = 200)",
            ),
        ] {
            assert_eq!(sql.matches(from).count(), 1, "{from} in the example");
            sql = sql.replace(from, to);
        }
        // One slot, and a batch job that is always in the way: a pass of it outlasts several triggers.
        let session = session(policy, 1);
        let options = || Output::default().options(SCALE);
        let trained = load(&session, &only(&sql, &["train"]), options()).await;
        assert_eq!(run_until(&trained, |_| false).await.status, "ok");
        let detect = parse("app.sql", &sql).unwrap();
        let detect = detect
            .iter()
            .find(|s| s.text.starts_with("CREATE JOB detect"))
            .unwrap();
        let beside = format!(
            "{};
CREATE TABLE sink WITH (connector = 'noop');
CREATE JOB load WITH (every = '1 ms') AS
  INSERT INTO sink SELECT v % 100, count(*) FROM generate_series(1, 500000) AS t(v) GROUP BY v % 100;
",
            detect.text
        );
        let application = load(&session, &beside, options()).await;
        let summary = run_until(&application, |_| false).await;
        let job = report(&summary, "detect");
        assert_eq!(
            (job.rows_in, job.micro_batches),
            (EVENTS, EVENTS / 200),
            "{policy}"
        );
        let load = report(&summary, "load");
        match policy {
            PolicyName::Neptune => assert!(load.suspensions > 0, "{load:?}"),
            PolicyName::Kill => assert!(load.kills > 0, "{load:?}"),
            _ => assert_eq!(load.kills, 0, "{policy}"),
        }

        let rows = by_micro_batch(&dir.path().join("alerts"));
        let found: Vec<Alert> = rows.values().flatten().map(|row| alert(row)).collect();
        assert_eq!(found.len() as u64, job.rows_out, "{policy}");
        let found: BTreeSet<Alert> = found.into_iter().collect();
        let expected = match &expected {
            Some(expected) => expected,
            None => {
                let snapshot = model(&session).await.version(1).unwrap();
                expected.insert(offline(&snapshot, FIRST, FIRST + EVENTS - 1).await)
            }
        };
        assert!(!found.is_empty());
        assert_eq!(&found, expected, "{policy}");
    }
}
