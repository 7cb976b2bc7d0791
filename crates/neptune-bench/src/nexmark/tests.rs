#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::{cast, concat_batches};
use datafusion::arrow::datatypes::{DataType, Int64Type, TimestampNanosecondType};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::arrow::util::pretty::pretty_format_batches;
use neptune::{Application, Console, RunOptions, Session, Summary};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::*;

const EVENTS: u64 = 20_000;

fn session() -> Session {
    let session = Session::builder().slots(2).build().unwrap();
    register(session.context());
    session
}

type Rows = Arc<Mutex<Vec<RecordBatch>>>;

/// Runs a script; gives the rows of its queries.
async fn run(session: &Session, sql: &str) -> (Summary, Vec<RecordBatch>) {
    let rows = Rows::default();
    let given = Arc::clone(&rows);
    let options = RunOptions {
        scale: 1.0,
        notify: Arc::new(|_, _| {}),
        on_rows: Arc::new(move |_, batches| given.lock().extend_from_slice(batches)),
        console: Console::new(std::io::sink()),
    };
    let loaded = Application::load(session, "nexmark.sql", sql, options).await;
    let application = loaded.unwrap_or_else(|error| panic!("{error}\n{sql}"));
    let (_stop, stopped) = watch::channel(false);
    let summary = application.run(stopped).await;
    let rows = rows.lock().clone();
    (summary, rows)
}

/// The rows of a query as a batch job finds them, as one batch; none where there are no rows.
async fn ask(query: &NexmarkQuery) -> Option<RecordBatch> {
    let sql = format!("{}{};", declare(query, EVENTS, false), query.sql);
    let (summary, rows) = run(&session(), &sql).await;
    assert_eq!(summary.status, "ok", "{}: {summary:?}", query.name);
    let schema = rows.first()?.schema();
    Some(concat_batches(&schema, &rows).unwrap()).filter(|rows| rows.num_rows() > 0)
}

async fn answer(name: &str) -> RecordBatch {
    let query = NexmarkQuery::named(name).unwrap();
    let rows = ask(query).await;
    rows.unwrap_or_else(|| panic!("{name} finds nothing"))
}

/// All rows of a table, as the oracle reads them.
async fn table(name: &'static str) -> RecordBatch {
    let sql = format!(
        "CREATE TABLE t WITH (connector = 'nexmark', table = '{name}', events = {EVENTS}); SELECT * FROM t;"
    );
    let (_, rows) = run(&session(), &sql).await;
    concat_batches(&rows[0].schema(), &rows).unwrap()
}

fn numbers(batch: &RecordBatch, name: &str) -> Vec<i64> {
    let column = cast(batch.column_by_name(name).unwrap(), &DataType::Int64).unwrap();
    column.as_primitive::<Int64Type>().values().to_vec()
}

fn times(batch: &RecordBatch, name: &str) -> Vec<i64> {
    let column = batch.column_by_name(name).unwrap();
    let column = column.as_primitive::<TimestampNanosecondType>();
    column.values().to_vec()
}

fn texts(batch: &RecordBatch, name: &str) -> Vec<String> {
    let column = batch.column_by_name(name).unwrap();
    let values = (0..batch.num_rows()).map(|row| array_value_to_string(column, row).unwrap());
    values.collect()
}

/// The rows of a batch as text, sorted.
fn sorted(batch: &RecordBatch) -> Vec<String> {
    let text = pretty_format_batches(std::slice::from_ref(batch))
        .unwrap()
        .to_string();
    let mut lines: Vec<_> = text.lines().skip(3).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Whether sessions have the functions of windows.
fn windows() -> bool {
    use datafusion::execution::FunctionRegistry;
    session().context().udf("tumble").is_ok()
}

#[tokio::test]
async fn every_query_finds_something_in_a_batch_job() {
    for query in QUERIES {
        if query.has_windows() && !windows() {
            continue;
        }
        let rows = ask(query).await;
        assert!(rows.is_some(), "{} finds nothing", query.name);
    }
}

#[tokio::test]
async fn stateless_queries_give_a_stream_what_they_give_a_batch_job() {
    for query in QUERIES.iter().filter(|query| query.is_stateless()) {
        let sql = format!(
            "{}CREATE TABLE found WITH (connector = 'memory');\n\
             CREATE JOB stream WITH (class = 'stream', trigger = 'available_now', max_rows_per_trigger = 3000) AS\n\
             INSERT INTO found {};\n\
             SELECT * FROM found;",
            declare(query, EVENTS, false),
            query.sql
        );
        let (summary, rows) = run(&session(), &sql).await;
        assert_eq!(summary.status, "ok", "{}: {summary:?}", query.name);
        let job = &summary.jobs[0];
        assert_eq!(
            job.rows_in, 18_400,
            "{}: 46 in 50 events are bids",
            query.name
        );
        assert!(
            job.micro_batches > 5,
            "{}: {}",
            query.name,
            job.micro_batches
        );
        let streamed = concat_batches(&rows[0].schema(), &rows).unwrap();
        let whole = ask(query).await.unwrap();
        assert_eq!(sorted(&streamed), sorted(&whole), "{}", query.name);
    }
}

#[tokio::test]
async fn selections_are_those_of_the_oracle() {
    let bids = table("bid").await;
    let (auctions, prices) = (numbers(&bids, "auction"), numbers(&bids, "price"));
    let channels = texts(&bids, "channel");
    let urls = texts(&bids, "url");

    let mut expected: Vec<_> = auctions
        .iter()
        .zip(&prices)
        .filter(|(auction, _)| *auction % 123 == 0)
        .collect();
    let q2 = answer("q2").await;
    let (found_auctions, found_prices) = (numbers(&q2, "auction"), numbers(&q2, "price"));
    let mut found: Vec<_> = found_auctions.iter().zip(&found_prices).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "q2");

    let in_range = |price: i64| (1_000_000.0..50_000_000.0).contains(&(0.908 * price as f64));
    let mut expected: Vec<_> = texts(&bids, "extra")
        .iter()
        .zip(&prices)
        .filter(|(_, price)| in_range(**price))
        .map(|(extra, _)| extra.matches('c').count() as i64)
        .collect();
    let mut found = numbers(&answer("q14").await, "c_counts");
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "q14");

    let known = ["Apple", "Google", "Facebook", "Baidu"];
    let mut expected: Vec<String> = channels
        .iter()
        .zip(&urls)
        .filter_map(|(channel, url)| {
            let place = known.iter().position(|known| known == channel);
            let named = || Some(url.split_once("channel_id=")?.1.to_owned());
            place.map(|place| place.to_string()).or_else(named)
        })
        .collect();
    let mut found = texts(&answer("q21").await, "channel_id");
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "q21");

    let mut expected: Vec<_> = urls
        .iter()
        .map(|url| url.split('/').nth(5).unwrap())
        .collect();
    let q22 = answer("q22").await;
    let mut found = texts(&q22, "dir3");
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "q22");
}

#[tokio::test]
async fn winning_bids_are_those_of_the_oracle() {
    let (bids, auctions) = (table("bid").await, table("auction").await);
    let opened = times(&auctions, "date_time");
    let closed = times(&auctions, "expires");
    let mut best: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    let ids = numbers(&auctions, "id");
    let bid_for = numbers(&bids, "auction");
    let rows = bid_for
        .iter()
        .zip(numbers(&bids, "price"))
        .zip(times(&bids, "date_time"));
    for ((auction, price), at) in rows {
        // Auctions are numbered without gaps.
        let place = usize::try_from(auction - ids[0]).unwrap();
        if place < ids.len() && (opened[place]..=closed[place]).contains(&at) {
            let bid = best.entry(*auction).or_insert((price, -at));
            *bid = (*bid).max((price, -at));
        }
    }
    assert!(best.len() > 100);
    let q9 = answer("q9").await;
    let found: BTreeMap<_, _> = numbers(&q9, "id")
        .into_iter()
        .zip(
            numbers(&q9, "price")
                .into_iter()
                .zip(times(&q9, "bid_time")),
        )
        .map(|(auction, (price, at))| (auction, (price, -at)))
        .collect();
    assert_eq!(found, best, "q9");

    let mut of_category: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    let categories = numbers(&auctions, "category");
    for (auction, (price, _)) in &best {
        let place = usize::try_from(auction - ids[0]).unwrap();
        of_category
            .entry(categories[place])
            .or_default()
            .push(*price);
    }
    let q4 = answer("q4").await;
    let averages = q4.column_by_name("average").unwrap();
    let averages = averages.as_primitive::<datafusion::arrow::datatypes::Float64Type>();
    assert_eq!(q4.num_rows(), of_category.len());
    for (category, average) in numbers(&q4, "category").iter().zip(averages.values()) {
        let prices = &of_category[category];
        let expected = prices.iter().sum::<i64>() as f64 / prices.len() as f64;
        assert!(
            (average - expected).abs() < 1e-6 * expected,
            "q4: {category}"
        );
    }
    // Every auction that was won counts once in the averages of its seller.
    assert_eq!(answer("q6").await.num_rows(), best.len(), "q6");
}

#[tokio::test]
async fn groups_add_up_to_all_bids() {
    let bids = table("bid").await.num_rows() as i64;
    for name in ["q15", "q16", "q17"] {
        let found = answer(name).await;
        let sum = |column: &str| numbers(&found, column).iter().sum::<i64>();
        assert_eq!(sum("bids"), bids, "{name}");
        let ranges = sum("low_bids") + sum("middle_bids") + sum("high_bids");
        assert_eq!(ranges, bids, "{name}");
    }
    let q19 = numbers(&answer("q19").await, "place");
    let top = q19.iter().filter(|place| **place == 1).count();
    let auctions = answer("q17").await.num_rows();
    assert_eq!((top, q19.iter().max()), (auctions, Some(&10)));
}

#[test]
fn queries_are_numbered_and_read_the_tables_that_they_say() {
    for (number, query) in QUERIES.iter().enumerate() {
        assert_eq!(query.name, format!("q{number}"));
        for table in ["person", "auction", "bid", "side_input"] {
            let words = query.sql.split(|c: char| !c.is_alphanumeric() && c != '_');
            let pairs: Vec<_> = words.filter(|word| !word.is_empty()).collect();
            let reads = pairs
                .windows(2)
                .any(|pair| matches!(pair[0], "FROM" | "JOIN") && pair[1] == table);
            let says = query.tables.contains(&table)
                || (table == "side_input" && query.needs.contains(&Need::SideInput));
            assert_eq!(reads, says, "{} {table}", query.name);
        }
    }
    assert_eq!(query_of_case("nexmark_q21").unwrap().name, "q21");
    assert!(query_of_case("nexmark_q23").is_err());
}
