//! What becomes of windows in a plan: stateful operators are planned from these shapes.

use neptune::datafusion::physical_plan::displayable;

use super::support::{plan, with_rides};

#[tokio::test]
async fn a_tumbling_window_is_a_column_of_a_projection_below_the_aggregate() {
    let sql = "SELECT tumble(ts, '10 s') AS w, k, count(*) AS n FROM rides GROUP BY w, k";
    let expected = "\
Projection: tumble(rides.ts,Utf8(\"10 s\")) AS w, rides.k, count(Int64(1)) AS count(*) AS n
  Aggregate: groupBy=[[tumble(rides.ts,Utf8(\"10 s\")), rides.k]], aggr=[[count(Int64(1))]]
    Projection: rides.k, tumble(rides.ts, 10 s) AS tumble(rides.ts,Utf8(\"10 s\"))
      Filter: rides.ts IS NOT NULL
        TableScan: rides projection=[ts, k]";
    assert_eq!(plan(&with_rides(), sql).await, expected);
}

#[tokio::test]
async fn hopping_windows_are_unnested_below_the_aggregate() {
    let sql = "SELECT hop('5 s', '10 s') AS w, k, count(*) AS n FROM rides GROUP BY w, k";
    let expected = "\
Projection: hop(Utf8(\"5 s\"),Utf8(\"10 s\")) AS w, rides.k, count(Int64(1)) AS count(*) AS n
  Aggregate: groupBy=[[hop(Utf8(\"5 s\"),Utf8(\"10 s\")), rides.k]], aggr=[[count(Int64(1))]]
    Unnest: lists[hop(Utf8(\"5 s\"),Utf8(\"10 s\"))|depth=1] structs[]
      Projection: rides.k, hop_windows(rides.ts, 5 s, 10 s) AS hop(Utf8(\"5 s\"),Utf8(\"10 s\"))
        Filter: rides.ts IS NOT NULL
          TableScan: rides projection=[ts, k]";
    assert_eq!(plan(&with_rides(), sql).await, expected);
}

#[tokio::test]
async fn a_session_window_is_an_operator_below_the_aggregate() {
    let sql =
        "SELECT session('10 s') AS w, k, upper(k) AS u, count(*) AS n FROM rides GROUP BY w, k, u";
    let expected = "\
Projection: session(Utf8(\"10 s\")) AS w, rides.k, upper(rides.k) AS u, count(Int64(1)) AS count(*) AS n
  Aggregate: groupBy=[[session(Utf8(\"10 s\")), rides.k, upper(rides.k)]], aggr=[[count(Int64(1))]]
    Projection: rides.k, upper(rides.k), session(Utf8(\"10 s\"))
      SessionWindow: keys=[rides.k, upper(rides.k)], time=rides.ts, gap=10000 ms
        Projection: rides.ts, rides.k, upper(rides.k) AS upper(rides.k)
          Filter: rides.ts IS NOT NULL
            TableScan: rides projection=[ts, k]";
    assert_eq!(plan(&with_rides(), sql).await, expected);
}

#[tokio::test]
async fn filters_on_keys_go_below_the_sessions_and_others_stay_above() {
    let sql = "SELECT v FROM (SELECT *, session_window(ts, '10 s', k) AS w FROM rides) WHERE k = 'a' AND v > 3";
    let expected = "\
Filter: rides.v > Int64(3)
  Projection: rides.v
    SessionWindow: keys=[rides.k], time=rides.ts, gap=10000 ms
      Filter: rides.k = Utf8(\"a\")
        Filter: rides.ts IS NOT NULL
          TableScan: rides projection=[ts, k, v]";
    assert_eq!(plan(&with_rides(), sql).await, expected);
}

#[tokio::test]
async fn sessions_get_their_rows_divided_and_sorted() {
    let session = with_rides();
    let sql = "SELECT session('10 s') AS w, k, count(*) AS n FROM rides GROUP BY w, k";
    let query = session.context().sql(sql).await.unwrap();
    let plan = query.create_physical_plan().await.unwrap();
    let plan = displayable(plan.as_ref()).indent(false).to_string();
    let mut lines = plan
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("YieldExec"));
    lines
        .find(|line| line.starts_with("SessionWindowExec: keys=[k@1], time=ts@0, gap=10000 ms"))
        .unwrap();
    assert!(
        lines
            .next()
            .unwrap()
            .contains("expr=[k@1 ASC NULLS LAST, ts@0 ASC], preserve_partitioning=[true]"),
        "{plan}"
    );
    assert!(
        lines
            .next()
            .unwrap()
            .starts_with("RepartitionExec: partitioning=Hash([k@1], 2)"),
        "{plan}"
    );
}
