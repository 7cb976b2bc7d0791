//! The benchmarks' tables as an application declares them.

use neptune::{Application, PolicyName};
use neptune_gen::ysb::{BATCH_QUERY, DEFAULT_START_NANOS, Ysb};

use super::support::{Output, ask, report, run, session};

const TABLES: &str = "\
CREATE TABLE events WITH (connector = 'ysb', part = 'events', rows = 60000, rows_per_second = 2000, \
                          start = '2026-01-01 00:00:00', paced = 'false');
CREATE TABLE campaigns WITH (connector = 'ysb', part = 'campaigns');
";

fn expected() -> Vec<String> {
    let ysb = Ysb {
        start_nanos: DEFAULT_START_NANOS,
        events_per_second: 2_000,
    };
    let counts = ysb.expected(0..60_000).unwrap().into_iter();
    let mut rows: Vec<_> = counts
        .map(|row| {
            let second = (row.window_start_nanos - DEFAULT_START_NANOS) / 1_000_000_000;
            format!(
                "2026-01-01T00:00:{second:02} {} {}",
                row.campaign_id, row.views
            )
        })
        .collect();
    rows.sort();
    rows
}

#[tokio::test]
async fn views_counted_by_window_and_campaign_are_those_of_the_generator() {
    let session = session(PolicyName::Neptune, 2);
    let output = Output::default();
    let counted =
        format!("SELECT window_start, campaign_id, views FROM ({BATCH_QUERY}) ORDER BY 1, 2");
    let summary = run(&session, &format!("{TABLES}{counted};"), &output).await;
    assert_eq!(summary.status, "ok", "{summary:?}");
    assert_eq!(output.rows_of("query"), expected());
}

#[tokio::test]
async fn views_joined_by_a_stream_are_counted_alike_afterwards() {
    let session = session(PolicyName::Neptune, 2);
    let sql = format!(
        "{TABLES}CREATE TABLE views WITH (connector = 'memory');
         CREATE JOB join_campaigns WITH (class = 'stream', trigger = 'available_now', max_rows_per_trigger = 7000) AS
         INSERT INTO views
         SELECT e.event_time, c.campaign_id FROM events AS e JOIN campaigns AS c ON e.ad_id = c.ad_id
         WHERE e.event_type = 'view';"
    );
    let summary = run(&session, &sql, &Output::default()).await;
    let job = report(&summary, "join_campaigns");
    assert_eq!(
        (job.rows_in, job.rows_out, job.micro_batches),
        (60_000, 20_000, 9)
    );
    let counted = "SELECT date_bin(INTERVAL '10 seconds', event_time), campaign_id, count(*) FROM views \
                   GROUP BY 1, 2 ORDER BY 1, 2";
    assert_eq!(ask(&session, counted).await, expected());
}

#[tokio::test]
async fn events_of_now_happen_when_they_are_due() {
    let session = session(PolicyName::Neptune, 2);
    let output = Output::default();
    let sql = "
        CREATE TABLE bid WITH (connector = 'nexmark', table = 'bid', events = 500, events_per_second = 10000, start = 'now');
        CREATE TABLE events WITH (connector = 'ysb', part = 'events', rows = 500, rows_per_second = 10000);
        CREATE TABLE bids WITH (connector = 'memory');
        CREATE TABLE clicks WITH (connector = 'memory');
        CREATE JOB take_bids WITH (class = 'stream', trigger = '10 ms') AS INSERT INTO bids SELECT date_time FROM bid;
        CREATE JOB take_clicks WITH (class = 'stream', trigger = '10 ms') AS INSERT INTO clicks SELECT event_time FROM events;
        SELECT count(*), max(date_time) < now() AND min(date_time) > now() - INTERVAL '10 minutes' FROM bids;
        SELECT count(*), max(event_time) < now() AND min(event_time) > now() - INTERVAL '10 minutes' FROM clicks;";
    let summary = run(&session, sql, &output).await;
    assert_eq!(summary.status, "ok", "{summary:?}");
    assert_eq!(output.rows_of("query"), ["460 true"]);
    assert_eq!(output.rows_of("query_2"), ["500 true"]);
}

#[tokio::test]
async fn wrong_options_are_refused_where_they_stand() {
    for (options, said) in [
        (
            "part = 'ads'",
            "1:48: option `part` of table `t` is 'ads': it must be one of 'events', 'campaigns'",
        ),
        ("rows = 5", "has no option `part`"),
        (
            "part = 'events', start = 'later'",
            "it must be 'now' or a time such as",
        ),
        ("part = 'events', paced = 'false'", "needs option 'rows'"),
        ("part = 'campaigns', rows = 5", "option `rows`"),
    ] {
        let session = session(PolicyName::Neptune, 1);
        let sql = format!("CREATE TABLE t WITH (connector = 'ysb', {options});");
        let loaded =
            Application::load(&session, "a.sql", &sql, Output::default().options(1.0)).await;
        let error = loaded.map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(said), "{options}: {error}");
    }
}
