//! Under the `kill` policy jobs are cancelled and run again: their answers stay right, and no row is written twice.

use neptune::{Class, PolicyName};

use super::support::{Output, lines, named, quoted, report, run, session};

#[tokio::test]
async fn killed_jobs_write_each_row_once_to_every_sink() {
    let dir = tempfile::tempdir().unwrap();
    let session = session(PolicyName::Kill, 1);
    let output = Output::default();
    let sinks = [
        ("memory", "connector = 'memory'".to_owned()),
        ("shared", "connector = 'shared'".to_owned()),
        (
            "files",
            format!(
                "connector = 'filesystem', format = 'parquet', path = {}",
                quoted(dir.path(), "files")
            ),
        ),
        (
            "file",
            format!(
                "connector = 'single_file', path = {}",
                quoted(dir.path(), "file.json")
            ),
        ),
    ];
    let mut sql = "\
CREATE TABLE ticks WITH (connector = 'rate', rows_per_second = 1000, rows = 600);
CREATE TABLE sink WITH (connector = 'noop');
CREATE JOB ticking WITH (class = 'stream', trigger = '5 ms') AS INSERT INTO sink SELECT value FROM ticks;
"
    .to_owned();
    let groups = "SELECT v % 500 AS k, count(*) AS n FROM generate_series(1, 30000) AS t(v) GROUP BY v % 500";
    for (name, options) in &sinks {
        sql += &format!("CREATE TABLE {name} (k BIGINT, n BIGINT) WITH ({options});\n");
        // One row is there before, and stays.
        sql += &format!("INSERT INTO {name} VALUES (-1, 0);\n");
        sql += &format!("CREATE JOB into_{name} AS INSERT INTO {name} {groups};\n");
    }
    sql += &format!("SELECT count(*) AS groups, sum(n) AS rows FROM ({groups}) AS g;\n");
    for (name, _) in &sinks {
        sql += &format!(
            "CREATE JOB of_{name} WITH (trigger = 'end') AS SELECT count(*), count(DISTINCT k), sum(n), min(k), max(k) FROM {name};\n"
        );
    }
    let summary = run(&session, &sql, &output).await;

    assert_eq!(report(&summary, "ticking").rows_out, 600);
    for (name, _) in &sinks {
        assert_eq!(
            named(&summary.jobs, &format!("into_{name}")).rows_out,
            500,
            "{name}"
        );
        assert_eq!(
            output.rows_of(&format!("of_{name}")),
            ["501 501 30000 -1 499"],
            "{name}"
        );
    }
    assert_eq!(output.rows_of("query"), ["500 30000"]);
    let kills: u64 = summary.jobs.iter().map(|job| job.kills).sum();
    assert!(kills > 0, "nothing was killed: {summary:?}");
}

#[tokio::test]
async fn a_killed_query_gives_the_answer_of_one_run() {
    let session = session(PolicyName::Kill, 1);
    let query = "SELECT v % 3 AS k, count(*) AS n FROM generate_series(1, 90000) AS t(v) GROUP BY v % 3 ORDER BY k";
    let query = session.context().sql(query).await.unwrap();
    let mut handle = session.submit(query);
    // Streams that take its slot until one of them has met it running.
    while handle.progress().kills == 0 {
        let stream = session.context().sql("SELECT 1").await.unwrap();
        session
            .submit_as(stream, session.job_settings("stream", Class::Stream))
            .await
            .unwrap();
        assert!(
            futures::poll!(&mut handle).is_pending(),
            "it ended before it could be killed"
        );
    }
    assert_eq!(
        lines(&handle.await.unwrap()),
        ["0 30000", "1 30000", "2 30000"]
    );
}
