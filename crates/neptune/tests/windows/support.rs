//! Sessions with a table of rides, and the rows that queries give.

use std::sync::Arc;

use neptune::datafusion::arrow::array::{
    Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use neptune::datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use neptune::datafusion::arrow::util::pretty::pretty_format_batches;
use neptune::datafusion::common::DataFusionError;
use neptune::datafusion::datasource::MemTable;
use neptune::{Application, Console, RunOptions, Session};
use neptune_stream::event_time::mark;
use parking_lot::Mutex;
use tokio::sync::watch;

/// Seconds since the epoch, the key and the value of each ride. The last has no time.
const RIDES: [(Option<i64>, &str, i64); 12] = [
    (Some(-61), "a", 1),
    (Some(0), "a", 2),
    (Some(9), "b", 3),
    (Some(10), "a", 4),
    (Some(19), "b", 5),
    (Some(20), "b", 6),
    (Some(25), "a", 7),
    (Some(59), "b", 8),
    (Some(60), "a", 9),
    (Some(65), "b", 10),
    (Some(3_600), "a", 11),
    (None, "a", 100),
];

pub(crate) fn session() -> Session {
    Session::builder().slots(2).build().unwrap()
}

/// The columns of the table of rides; `ts` is marked as the event time.
pub(crate) fn schema() -> Arc<Schema> {
    let ts = Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, None), true);
    Arc::new(Schema::new(vec![
        mark(&ts),
        Field::new("k", DataType::Utf8, false),
        Field::new("v", DataType::Int64, false),
    ]))
}

/// A session with the table `rides`, its rows in several partitions.
pub(crate) fn with_rides() -> Session {
    let session = session();
    let parts = RIDES.chunks(3).map(|rides| {
        let ts: TimestampMillisecondArray = (rides.iter())
            .map(|ride| ride.0.map(|s| s * 1_000))
            .collect();
        let k: StringArray = rides.iter().map(|ride| Some(ride.1)).collect();
        let v: Int64Array = rides.iter().map(|ride| Some(ride.2)).collect();
        vec![RecordBatch::try_new(schema(), vec![Arc::new(ts), Arc::new(k), Arc::new(v)]).unwrap()]
    });
    let table = MemTable::try_new(schema(), parts.collect()).unwrap();
    session
        .context()
        .register_table("rides", Arc::new(table))
        .unwrap();
    session
}

/// The rows of a query, their values separated by blanks; in order if it has one, else sorted.
pub(crate) async fn ask(session: &Session, sql: &str) -> Vec<String> {
    match try_ask(session, sql).await {
        Ok(rows) => rows,
        Err(error) => panic!("{sql}\n{error}"),
    }
}

/// As [`ask`], for queries that may be refused.
pub(crate) async fn try_ask(session: &Session, sql: &str) -> Result<Vec<String>, DataFusionError> {
    let batches = session.context().sql(sql).await?.collect().await?;
    let mut rows = lines(&batches);
    if !sql.contains("ORDER BY") {
        rows.sort();
    }
    Ok(rows)
}

fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let table = pretty_format_batches(batches).unwrap().to_string();
    let rows = table.lines().filter(|line| line.starts_with('|')).skip(1);
    rows.map(|row| {
        let values: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        values.join(" ")
    })
    .collect()
}

/// The optimized plan of a query, intervals as `10 s`.
pub(crate) async fn plan(session: &Session, sql: &str) -> String {
    let query = session.context().sql(sql).await.unwrap();
    let plan = query.into_optimized_plan().unwrap();
    let plan = plan.display_indent().to_string();
    let begin = "IntervalMonthDayNano(\"IntervalMonthDayNano { months: 0, days: 0, nanoseconds: ";
    plan.replace(begin, "").replace("000000000 }\")", " s")
}

/// Runs a script in `session`; gives the rows of its queries, each as [`ask`] does, or what is wrong with it.
pub(crate) async fn script(session: &Session, sql: &str) -> Result<Vec<Vec<String>>, String> {
    let rows = Arc::new(Mutex::new(Vec::new()));
    let given = Arc::clone(&rows);
    let options = RunOptions {
        scale: 1.0,
        notify: Arc::new(|_, _| {}),
        on_rows: Arc::new(move |_, batches| {
            let mut rows = lines(batches);
            rows.sort();
            given.lock().push(rows);
        }),
        console: Console::new(std::io::sink()),
    };
    let application = Application::load(session, "app.sql", sql, options).await;
    let application = application.map_err(|error| error.to_string())?;
    let (_stop, stopped) = watch::channel(false);
    let summary = application.run(stopped).await;
    match summary.status {
        "ok" => Ok(std::mem::take(&mut rows.lock())),
        _ => Err(format!("{summary:?}")),
    }
}
