//! Streams: each trigger into each sink, joins with tables, unions, and several jobs side by side.

use neptune::{AppJobState, PolicyName};

use super::support::{Output, ask, load, named, quoted, report, run, run_until, session};

#[tokio::test]
async fn every_sink_takes_each_row_once_under_every_trigger() {
    for trigger in ["20 ms", "as_fast_as_possible"] {
        let dir = tempfile::tempdir().unwrap();
        let session = session(PolicyName::Neptune, 2);
        let output = Output::default();
        let sinks = [
            ("mem", "connector = 'memory'".to_owned()),
            ("versions", "connector = 'shared'".to_owned()),
            (
                "json",
                format!(
                    "connector = 'filesystem', format = 'json', path = {}",
                    quoted(dir.path(), "json")
                ),
            ),
            (
                "parquet",
                format!(
                    "connector = 'filesystem', format = 'parquet', path = {}",
                    quoted(dir.path(), "pq")
                ),
            ),
            (
                "csv",
                format!(
                    "connector = 'single_file', path = {}",
                    quoted(dir.path(), "all.csv")
                ),
            ),
            ("screen", "connector = 'console', rows = 1000".to_owned()),
            ("nothing", "connector = 'noop'".to_owned()),
        ];
        let mut sql =
            "CREATE TABLE ticks WITH (connector = 'rate', rows_per_second = 1000, rows = 250);\n"
                .to_owned();
        for (name, options) in &sinks {
            sql += &format!("CREATE TABLE {name} (value BIGINT) WITH ({options});\n");
            sql += &format!(
                "CREATE JOB to_{name} WITH (class = 'stream', trigger = '{trigger}') AS \
                 INSERT INTO {name} SELECT value FROM ticks;\n"
            );
        }
        for (name, _) in &sinks[..5] {
            sql += &format!(
                "CREATE JOB of_{name} WITH (trigger = 'end') AS SELECT count(*), count(DISTINCT value), sum(value) FROM {name};\n"
            );
        }
        let summary = run(&session, &sql, &output).await;
        for (name, _) in &sinks {
            let job = report(&summary, &format!("to_{name}"));
            assert_eq!((job.rows_in, job.rows_out), (250, 250), "{trigger} {name}");
            assert_eq!(job.state, AppJobState::Finished);
            assert!(job.micro_batches > 1, "{trigger} {name}: {job:?}");
            assert!(job.latency_ms.p99 > 0.0, "{trigger} {name}");
        }
        for (name, _) in &sinks[..5] {
            assert_eq!(
                output.rows_of(&format!("of_{name}")),
                ["250 250 31125"],
                "{trigger} {name}"
            );
        }
        let printed = output.printed();
        let mut values: Vec<u64> = printed
            .lines()
            .filter_map(|line| {
                line.strip_prefix('|')?
                    .trim_end_matches('|')
                    .trim()
                    .parse()
                    .ok()
            })
            .collect();
        values.sort_unstable();
        assert_eq!(values, (0..250).collect::<Vec<_>>(), "{trigger}: {printed}");
    }
}

#[tokio::test]
async fn streams_are_united_seen_through_views_and_joined_with_tables() {
    let dir = tempfile::tempdir().unwrap();
    let names = dir.path().join("names.csv");
    std::fs::write(&names, "id,name\n0,zero\n1,one\n2,two\n").unwrap();
    let session = session(PolicyName::Neptune, 2);
    let output = Output::default();
    let sql = format!(
        "\
CREATE TABLE a WITH (connector = 'rate', rows_per_second = 10000, rows = 30);
CREATE TABLE b WITH (connector = 'rate', rows_per_second = 10000, rows = 60);
CREATE TABLE names WITH (connector = 'single_file', path = '{}');
CREATE TABLE known (id BIGINT, name TEXT) WITH (connector = 'memory');
CREATE TABLE both (side TEXT, value BIGINT) WITH (connector = 'memory');
CREATE TABLE named (value BIGINT, name TEXT) WITH (connector = 'memory');
CREATE VIEW even AS SELECT value FROM a WHERE value % 2 = 0;
INSERT INTO known SELECT * FROM names;
SET neptune.job.class = 'stream';
INSERT INTO both SELECT 'even', value FROM even UNION ALL SELECT 'b', value FROM b;
INSERT INTO named SELECT e.value, n.name FROM even AS e JOIN names AS n ON n.id * 2 = e.value;
CREATE JOB without AS INSERT INTO named
  SELECT value + 100, NULL FROM b WHERE NOT EXISTS (SELECT 1 FROM names WHERE names.id = b.value);
SELECT side, count(*), sum(value) FROM both GROUP BY side ORDER BY side;
SELECT value, name FROM named WHERE value < 100 ORDER BY value;
SELECT count(*), min(value) FROM named WHERE value >= 100;
SELECT name FROM known ORDER BY id;
",
        names.display()
    );
    let summary = run(&session, &sql, &output).await;
    assert_eq!(report(&summary, "insert_both").rows_in, 90);
    assert_eq!(output.rows_of("query"), ["b 60 1770", "even 15 210"]);
    assert_eq!(output.rows_of("query_2"), ["0 zero", "2 one", "4 two"]);
    assert_eq!(output.rows_of("query_3"), ["57 103"]);
    assert_eq!(output.rows_of("query_4"), ["zero", "one", "two"]);
}

#[tokio::test]
async fn a_micro_batch_reads_one_version_of_a_shared_table_and_later_ones_newer_ones() {
    let session = session(PolicyName::Neptune, 2);
    let sql = "\
CREATE TABLE ticks WITH (connector = 'rate', rows_per_second = 5000);
CREATE TABLE model (k BIGINT, stamp BIGINT) WITH (connector = 'shared');
CREATE TABLE seen (value BIGINT, stamp BIGINT, version BIGINT, other BIGINT) WITH (connector = 'memory');
CREATE TABLE passes (n BIGINT) WITH (connector = 'memory');
CREATE JOB train WITH (every = '30 ms') AS
  INSERT OVERWRITE model SELECT k, (SELECT coalesce(max(_version), 0) + 1 FROM model) FROM generate_series(0, 9) AS t(k);
CREATE JOB look WITH (class = 'stream', trigger = '10 ms') AS
  INSERT INTO seen SELECT value, m.stamp, m._version, o._version
  FROM ticks JOIN model AS m ON m.k = value % 10 JOIN model AS o ON o.k = (value + 1) % 10;
";
    let application = load(&session, sql, Output::default().options(1.0)).await;
    let enough = |jobs: &[neptune::JobReport]| {
        named(jobs, "train").micro_batches >= 6 && named(jobs, "look").rows_out > 1000
    };
    let summary = run_until(&application, enough).await;
    assert_eq!(report(&summary, "look").state, AppJobState::Stopped);
    // Both scans of the table saw one version, whose rows say which it is.
    assert_eq!(
        ask(
            &session,
            "SELECT count(*) FROM seen WHERE version <> other OR version <> stamp"
        )
        .await,
        ["0"]
    );
    // Rows come in order, so versions must.
    let order = "SELECT count(*) FROM (SELECT version, lag(version) OVER (ORDER BY value) AS before FROM seen) AS s
        WHERE version < before";
    assert_eq!(ask(&session, order).await, ["0"]);
    let versions = ask(&session, "SELECT count(DISTINCT version) FROM seen").await;
    assert!(versions[0].parse::<u64>().unwrap() > 1, "{versions:?}");
    // No row is missing after the first version was there.
    let gaps = "SELECT max(value) - min(value) + 1 - count(*) FROM seen";
    assert_eq!(ask(&session, gaps).await, ["0"]);
}

#[tokio::test]
async fn applications_of_one_session_share_its_tables() {
    let session = session(PolicyName::Neptune, 2);
    let output = Output::default();
    let first = "\
CREATE TABLE t (a BIGINT) WITH (connector = 'memory');
CREATE TABLE own (a BIGINT);
INSERT INTO t VALUES (1);
INSERT INTO own VALUES (10);
";
    run(&session, first, &output).await;
    let second = "\
INSERT INTO datafusion.public.t SELECT a FROM own;
SELECT sum(a) FROM t;
INSERT INTO own SELECT a FROM (VALUES (20), (30)) AS v(a);
SELECT sum(a) FROM own;
DROP TABLE own;
";
    // What the file defines takes effect before its jobs run, but they have been planned by then.
    let summary = run(&session, second, &output).await;
    assert_eq!(report(&summary, "insert_own").rows_out, 2);
    assert_eq!(output.rows_of("query"), ["11"]);
    assert_eq!(output.rows_of("query_2"), ["60"]);
    let gone = neptune::Application::load(
        &session,
        "app.sql",
        "INSERT INTO own VALUES (1)",
        output.options(1.0),
    )
    .await;
    assert!(gone.unwrap_err().to_string().starts_with("app.sql:1:"));
}

#[tokio::test]
async fn lines_from_a_socket_go_through_packed_files_into_windows() {
    use std::io::Write;

    let dir = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        for n in 0..100 {
            let at = format!("2024-01-01T00:00:{:02}", n / 2);
            let line = format!("{{\"at\": \"{at}\", \"n\": {n}}}\n");
            connection.write_all(line.as_bytes()).unwrap();
        }
        connection.write_all(b"nonsense\n").unwrap();
    });
    let (packed, counts) = (quoted(dir.path(), "packed"), quoted(dir.path(), "counts"));
    let output = Output::default();
    let sql = format!(
        "\
CREATE TABLE lines (at TIMESTAMP, n BIGINT, WATERMARK FOR at) WITH (
    connector = 'socket', host = '127.0.0.1', port = {port}, format = 'json', on_error = 'skip', bounded = true);
CREATE TABLE packed (at TIMESTAMP, n BIGINT) WITH (
    connector = 'filesystem', path = {packed}, format = 'csv', compression = 'gzip');
CREATE JOB keep WITH (class = 'stream', trigger = '5 ms') AS INSERT INTO packed SELECT at, n FROM lines;
CREATE JOB read WITH (trigger = 'end') AS SELECT count(*), sum(n) FROM packed;
"
    );
    let summary = run(&session(PolicyName::Neptune, 2), &sql, &output).await;
    server.join().unwrap();
    let job = report(&summary, "keep");
    assert_eq!(job.state, AppJobState::Finished);
    assert_eq!((job.rows_in, job.rows_out), (101, 100));
    assert_eq!(output.rows_of("read"), ["100 4950"]);

    let output = Output::default();
    let sql = format!(
        "\
CREATE TABLE packed (at TIMESTAMP, n BIGINT, WATERMARK FOR at) WITH (
    connector = 'filesystem', path = {packed}, format = 'csv', bounded = true);
CREATE TABLE counts (start TIMESTAMP, n BIGINT) WITH (
    connector = 'filesystem', path = {counts}, format = 'avro', compression = 'deflate');
CREATE JOB windows WITH (class = 'stream') AS INSERT INTO counts
    SELECT w['start'], n FROM (SELECT tumble(interval '10 seconds') AS w, count(*) AS n FROM packed GROUP BY 1);
CREATE JOB all WITH (trigger = 'end') AS SELECT start, n FROM counts ORDER BY start;
"
    );
    run(&session(PolicyName::Neptune, 2), &sql, &output).await;
    let found = output.rows_of("all");
    assert_eq!(found.len(), 5);
    assert!(found.iter().all(|row| row.ends_with(" 20")), "{found:?}");
}
