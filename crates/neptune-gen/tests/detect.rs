//! The SQL of the detect example on plain DataFusion: does it find the attackers?
//!
//! # Design
//! The queries are taken out of `app.sql` itself. A small history is made, `train` runs over it,
//! `detect` over later events joined with that model, `audit` over the same events, and `quality`
//! over what the two gave. Tables have the columns that `app.sql` declares, so that a query that no
//! longer fits its table fails here. What the connectors would do is stood in for by memory tables;
//! that of the model has the column `_version` that a shared table adds.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail the test"
)]

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, Int64Array, RecordBatch};
use datafusion::arrow::compute::{cast, concat_batches};
use datafusion::arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, SchemaRef};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::physical_plan::displayable;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use neptune_gen::shop::{Attack, ShopConfig, ensure_history};

const APP: &str = include_str!("../../../examples/detect/app.sql");

const HISTORY_ROWS: u64 = 400_000;
const LIVE_ROWS: u64 = 400_000;
const MODEL_VERSION: i64 = 3;

/// The statements of `app.sql` without comments.
fn statements() -> Vec<String> {
    let lines = APP
        .lines()
        .map(|line| line.split("--").next().unwrap_or_default());
    let text = lines.collect::<Vec<_>>().join("\n");
    text.split(';')
        .map(|s| s.trim().to_owned())
        .filter(|s| !s.is_empty())
        .collect()
}

fn statement(start: &str) -> String {
    let all = statements();
    let mut found = all.iter().filter(|statement| statement.starts_with(start));
    let statement = found
        .next()
        .unwrap_or_else(|| panic!("app.sql has no {start}"));
    assert!(found.next().is_none(), "app.sql has several {start}");
    statement.clone()
}

/// The query of a job, without the INSERT in front of it, and the table it goes to.
fn job(name: &str) -> (String, Option<String>) {
    let statement = statement(&format!("CREATE JOB {name} "));
    let (_, body) = statement.split_once(" AS\n").unwrap();
    let body = body.trim_start();
    let Some(insert) = body.strip_prefix("INSERT ") else {
        return (body.to_owned(), None);
    };
    let (target, query) = insert.split_once('\n').unwrap();
    (
        query.to_owned(),
        target.split_whitespace().last().map(str::to_owned),
    )
}

/// The columns that `app.sql` declares for a table.
async fn declared(session: &SessionContext, table: &str) -> SchemaRef {
    let statement = statement(&format!("CREATE TABLE {table} ("));
    let (columns, _) = statement.split_once(") WITH").unwrap();
    session.sql(&format!("{columns})")).await.unwrap();
    let schema = session
        .table(table)
        .await
        .unwrap()
        .schema()
        .as_arrow()
        .clone();
    session.deregister_table(table).unwrap();
    Arc::new(schema)
}

fn register(session: &SessionContext, table: &str, batch: RecordBatch) {
    let memory = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
    session.register_table(table, Arc::new(memory)).unwrap();
}

/// Runs a job and gives its rows with the column types of the table it goes to, which must be the
/// ones of the query but for how texts are laid out.
async fn run(session: &SessionContext, name: &str) -> RecordBatch {
    let (query, target) = job(name);
    let frame = session
        .sql(&query)
        .await
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    let schema = Arc::new(frame.schema().as_arrow().clone());
    let batches = frame
        .collect()
        .await
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    let rows = concat_batches(&schema, &batches).unwrap();
    let Some(target) = target else {
        return rows;
    };
    let table = declared(session, &target).await;
    let text = |t: &DataType| matches!(t, DataType::Utf8 | DataType::Utf8View);
    let mut columns = Vec::new();
    for ((from, to), column) in schema
        .fields()
        .iter()
        .zip(table.fields())
        .zip(rows.columns())
    {
        let same =
            from.data_type() == to.data_type() || (text(from.data_type()) && text(to.data_type()));
        assert!(
            from.name() == to.name() && same,
            "{name}: {from} does not fit {to}"
        );
        columns.push(cast(column, to.data_type()).unwrap());
    }
    assert_eq!(columns.len(), table.fields().len(), "{name}");
    RecordBatch::try_new(table, columns).unwrap()
}

/// The model as a reader sees it: with the version of the snapshot.
fn versioned(model: &RecordBatch) -> RecordBatch {
    let mut fields: Vec<_> = model.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("_version", DataType::Int64, false)));
    let version = Int64Array::from(vec![MODEL_VERSION; model.num_rows()]);
    let columns = model
        .columns()
        .iter()
        .cloned()
        .chain([Arc::new(version) as _])
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// A session with the history and the model that `train` makes of it, and the shop.
async fn trained(dir: &Path) -> (SessionContext, RecordBatch, ShopConfig) {
    let history = ensure_history(dir, HISTORY_ROWS, 7, |_| {}).unwrap();
    let config = SessionConfig::new().with_target_partitions(2);
    let session = SessionContext::new_with_config(config);
    let path = history.dir.to_str().unwrap();
    session
        .register_parquet("history", path, ParquetReadOptions::default())
        .await
        .unwrap();
    let model = run(&session, "train").await;
    (session, model, history.shop)
}

#[tokio::test]
async fn the_queries_of_the_example_find_the_attackers() {
    let dir = tempfile::tempdir().unwrap();
    let (session, model, shop) = trained(dir.path()).await;
    let live = shop.batch(HISTORY_ROWS..HISTORY_ROWS + LIVE_ROWS).unwrap();
    register(&session, "events", live);

    register(&session, "model", versioned(&model.slice(0, 0)));
    assert_eq!(
        run(&session, "detect").await.num_rows(),
        0,
        "alerts without a model"
    );

    session.deregister_table("model").unwrap();
    register(&session, "model", versioned(&model));
    let alerts = run(&session, "detect").await;
    let versions = alerts.column_by_name("model_version").unwrap();
    assert!(
        versions
            .as_primitive::<Int64Type>()
            .iter()
            .all(|v| v == Some(MODEL_VERSION))
    );
    register(&session, "alerts", alerts);
    let truth = run(&session, "audit").await;
    register(&session, "truth", truth);

    let quality = run(&session, "quality").await;
    assert_eq!(quality.num_rows(), 1);
    let text = pretty_format_batches(std::slice::from_ref(&quality)).unwrap();
    for name in ["recall", "precision"] {
        let figure = figure(&quality, name);
        assert!((0.8..0.99).contains(&figure), "{name}:\n{text}");
    }
    for kind in Attack::ALL {
        let recall = figure(&quality, &format!("recall_{}", kind.name()));
        assert!(recall > 0.5, "{kind:?}:\n{text}");
    }
}

fn figure(row: &RecordBatch, name: &str) -> f64 {
    row.column_by_name(name)
        .unwrap()
        .as_primitive::<Float64Type>()
        .value(0)
}

#[tokio::test]
async fn the_model_has_one_row_for_each_user_and_each_address() {
    let dir = tempfile::tempdir().unwrap();
    let (session, model, shop) = trained(dir.path()).await;
    let keys = "SELECT count(DISTINCT user_id) + count(DISTINCT ip) AS keys FROM history";
    let keys = session.sql(keys).await.unwrap().collect().await.unwrap();
    let keys = keys[0].column(0).as_primitive::<Int64Type>().value(0);
    assert_eq!(model.num_rows() as i64, keys);
    let users = model.column_by_name("user_id").unwrap();
    assert_eq!((users.len() - users.null_count()) as u64, shop.users);
}

#[tokio::test]
async fn quality_without_alerts_is_one_row_of_zeros() {
    let session = SessionContext::new();
    for table in ["alerts", "truth"] {
        let schema = declared(&session, table).await;
        register(&session, table, RecordBatch::new_empty(schema));
    }
    let quality = run(&session, "quality").await;
    assert_eq!(quality.num_rows(), 1);
    let count = |name: &str| {
        quality
            .column_by_name(name)
            .unwrap()
            .as_primitive::<Int64Type>()
            .value(0)
    };
    assert_eq!((count("alerts"), count("attacks")), (0, 0));
    assert!(quality.column_by_name("recall").unwrap().is_null(0));
}

#[tokio::test]
async fn detect_hashes_the_micro_batch_and_not_the_model() {
    // The model is far larger than a micro-batch: hashing it every 50 ms would be the main work.
    let dir = tempfile::tempdir().unwrap();
    let (session, model, shop) = trained(dir.path()).await;
    register(&session, "model", versioned(&model));
    register(
        &session,
        "events",
        shop.batch(HISTORY_ROWS..HISTORY_ROWS + 20).unwrap(),
    );
    let frame = session.sql(&job("detect").0).await.unwrap();
    let plan = frame.create_physical_plan().await.unwrap();
    let text = displayable(plan.as_ref()).indent(false).to_string();
    // A hash join builds from its left side, and events are the left side as written.
    assert_eq!(text.matches("join_type=Left").count(), 2, "{text}");
    assert!(!text.contains("join_type=Right"), "{text}");
}
