//! Which columns of a plan are windows.

use neptune::datafusion::arrow::datatypes::TimeUnit;
use neptune_stream::window::{WindowPart, WindowShape, resolve_windows, window_column};

use super::support::{script, with_rides};

#[tokio::test]
async fn windows_and_their_bounds_are_known_wherever_they_go() {
    let session = with_rides();
    script(
        &session,
        "CREATE VIEW tumbled AS SELECT *, tumble('10 s') AS w FROM rides;
         CREATE VIEW sessions AS SELECT *, session_window(ts, '10 s', k) AS w FROM rides",
    )
    .await
    .unwrap();
    let tumble = WindowShape::Tumble { width: 10_000 };
    let hop = WindowShape::Hop {
        slide: 4_000,
        width: 10_000,
    };
    let gap = WindowShape::Session { gap: 10_000 };
    for (query, expected) in [
        (
            "SELECT tumble('10 s') AS c FROM rides",
            Some((tumble, WindowPart::Whole)),
        ),
        (
            "SELECT tumble('10 s') AS c, k, count(*) FROM rides GROUP BY c, k",
            Some((tumble, WindowPart::Whole)),
        ),
        (
            "SELECT tumble('10 s')['start'] AS c, count(*) FROM rides GROUP BY tumble('10 s')",
            Some((tumble, WindowPart::Start)),
        ),
        (
            "SELECT tumble('10 s')['end'] AS c, count(*) FROM rides GROUP BY c",
            Some((tumble, WindowPart::End)),
        ),
        (
            "SELECT window_time(w) AS c, v FROM tumbled WHERE v > 1 ORDER BY v LIMIT 3",
            Some((tumble, WindowPart::Time)),
        ),
        (
            "SELECT x.w['end'] AS c FROM tumbled AS x JOIN rides ON x.v = rides.v",
            Some((tumble, WindowPart::End)),
        ),
        (
            "SELECT y.w AS c FROM rides LEFT JOIN tumbled AS y ON y.v = rides.v",
            Some((tumble, WindowPart::Whole)),
        ),
        (
            "SELECT w AS c FROM tumbled UNION ALL SELECT tumble(ts, '10 s') FROM rides",
            Some((tumble, WindowPart::Whole)),
        ),
        (
            "SELECT w AS c FROM tumbled UNION ALL SELECT tumble(ts, '11 s') FROM rides",
            None,
        ),
        (
            "SELECT DISTINCT w AS c FROM tumbled",
            Some((tumble, WindowPart::Whole)),
        ),
        (
            "SELECT w AS c, row_number() OVER (PARTITION BY w ORDER BY v) AS n FROM tumbled",
            Some((tumble, WindowPart::Whole)),
        ),
        (
            "SELECT row_number() OVER (PARTITION BY w ORDER BY v) AS c FROM tumbled",
            None,
        ),
        (
            "SELECT hop('4 s', '10 s') AS c, count(*) FROM rides GROUP BY c",
            Some((hop, WindowPart::Whole)),
        ),
        (
            "SELECT hop('4 s', '10 s')['end'] AS c FROM rides",
            Some((hop, WindowPart::End)),
        ),
        (
            "SELECT session('10 s') AS c, k, count(*) FROM rides GROUP BY c, k",
            Some((gap, WindowPart::Whole)),
        ),
        (
            "SELECT w['start'] AS c, count(*) FROM sessions GROUP BY c",
            Some((gap, WindowPart::Start)),
        ),
        ("SELECT ts AS c FROM sessions", None),
        ("SELECT w['end'] + INTERVAL '1 s' AS c FROM tumbled", None),
        ("SELECT max(w['end']) AS c FROM tumbled", None),
    ] {
        let (state, plan) = session.context().sql(query).await.unwrap().into_parts();
        let plan = resolve_windows(plan).unwrap();
        for plan in [state.optimize(&plan).unwrap(), plan] {
            let column = plan
                .schema()
                .columns()
                .into_iter()
                .find(|column| column.name == "c")
                .unwrap();
            let found = window_column(&plan, &column);
            assert_eq!(
                found.map(|found| (found.shape, found.part)),
                expected,
                "{query}\n{}",
                plan.display_indent()
            );
            assert!(found.is_none_or(|found| found.unit == TimeUnit::Millisecond));
        }
    }
}
