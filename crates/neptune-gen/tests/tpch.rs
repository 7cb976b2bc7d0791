//! The TPC-H tables, queries and operator list at scale factor 0.01.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail the test"
)]

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::physical_plan::displayable;
use datafusion::prelude::{SessionConfig, SessionContext};
use neptune_gen::GenError;
use neptune_gen::tpch::{
    OperatorCase, TpchPaths, ensure_tpch, operators, queries, queries_at, sleep_row_udf,
};

const SCALE: f64 = 0.01;

async fn session(paths: &TpchPaths, partitions: usize) -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(partitions);
    let session = SessionContext::new_with_config(config);
    paths.register(&session).await.unwrap();
    session.register_udf(sleep_row_udf());
    session
}

/// The rows as texts, a cell each.
fn in_order(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let cells = batch
                .columns()
                .iter()
                .map(|column| array_value_to_string(column, row));
            rows.push(cells.collect::<Result<Vec<_>, _>>().unwrap());
        }
    }
    rows
}

/// The rows as texts, sorted: equal for equal multisets of rows.
fn rows(batches: &[RecordBatch]) -> Vec<String> {
    let mut rows: Vec<String> = in_order(batches)
        .iter()
        .map(|cells| cells.join("|"))
        .collect();
    rows.sort();
    rows
}

async fn query(session: &SessionContext, sql: &str) -> Vec<RecordBatch> {
    let frame = session
        .sql(sql)
        .await
        .unwrap_or_else(|e| panic!("{e}\n{sql}"));
    frame
        .collect()
        .await
        .unwrap_or_else(|e| panic!("{e}\n{sql}"))
}

async fn count(session: &SessionContext, table: &str) -> i64 {
    let batches = query(session, &format!("SELECT count(*) FROM {table}")).await;
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

#[tokio::test]
async fn tables_have_the_rows_and_types_of_the_specification() {
    let dir = tempfile::tempdir().unwrap();
    let paths = ensure_tpch(dir.path(), SCALE).unwrap();
    let session = session(&paths, 2).await;
    for (table, rows) in [
        ("region", 5),
        ("nation", 25),
        ("supplier", 100),
        ("customer", 1500),
        ("part", 2000),
        ("partsupp", 8000),
        ("orders", 15000),
        ("lineitem", 60175),
        ("orders_csv", 15000),
        ("orders_json", 15000),
    ] {
        assert_eq!(count(&session, table).await, rows, "{table}");
    }
    let schema = session.table("lineitem").await.unwrap().schema().clone();
    for (column, data_type) in [
        ("l_orderkey", DataType::Int64),
        ("l_linenumber", DataType::Int32),
        ("l_quantity", DataType::Decimal128(15, 2)),
        ("l_shipdate", DataType::Date32),
        ("l_comment", DataType::Utf8View),
    ] {
        assert_eq!(
            schema
                .field_with_unqualified_name(column)
                .unwrap()
                .data_type(),
            &data_type
        );
    }
    // The first row that the specification's generator gives.
    let sql = "SELECT * FROM lineitem WHERE l_orderkey = 1 AND l_linenumber = 1";
    assert_eq!(
        rows(&query(&session, sql).await),
        [
            "1|1552|93|1|17.00|24710.35|0.04|0.02|N|O|1996-03-13|1996-02-12|1996-03-22\
          |DELIVER IN PERSON|TRUCK|egular courts above the"
        ]
    );
    // The text formats hold the same orders.
    let parquet = rows(&query(&session, "SELECT * FROM orders").await);
    for table in ["orders_csv", "orders_json"] {
        assert_eq!(
            rows(&query(&session, &format!("SELECT * FROM {table}")).await),
            parquet
        );
    }
}

#[tokio::test]
async fn queries_return_the_answers_of_another_engine() {
    let dir = tempfile::tempdir().unwrap();
    let paths = ensure_tpch(dir.path(), SCALE).unwrap();
    let session = session(&paths, 2).await;
    // One line a row: the query, then the columns. Computed from the same data with DuckDB, whose
    // answers to these texts at scale factor 1 are those that the specification publishes.
    let answers = include_str!("tpch_answers.txt");
    for (name, sql) in queries_at(SCALE) {
        let answer: Vec<Vec<&str>> = answers
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix('|'))
            .map(|line| line.split('|').collect())
            .collect();
        let found = in_order(&query(&session, &sql).await);
        assert!(
            !answer.is_empty() && found.len() == answer.len(),
            "{name}: {} rows",
            found.len()
        );
        for (found, answer) in found.iter().zip(&answer) {
            let same = found.len() == answer.len()
                && found
                    .iter()
                    .zip(answer)
                    .all(|(found, answer)| same_cell(found, answer));
            assert!(same, "{name}: found {found:?}, expected {answer:?}");
        }
    }
    for (name, sql) in queries() {
        session
            .sql(sql)
            .await
            .unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

/// Equal texts, or numbers that differ only in how many digits an average keeps.
fn same_cell(found: &str, answer: &str) -> bool {
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-6 + 1e-9 * a.abs();
    found == answer || matches!((found.parse(), answer.parse()), (Ok(a), Ok(b)) if close(a, b))
}

#[tokio::test]
async fn operator_cases_plan_their_operator_and_have_one_answer() {
    let dir = tempfile::tempdir().unwrap();
    let paths = ensure_tpch(dir.path(), SCALE).unwrap();
    let cases = operators();
    let names: HashSet<&str> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len());
    for case in cases {
        let first = run(&paths, 2, &case).await;
        assert!(!first.is_empty(), "{}", case.name);
        if case.name != "slow_udf" {
            // Other partitions order and cut the work differently; the answer is the same.
            assert_eq!(first, run(&paths, 5, &case).await, "{}", case.name);
        }
        assert!(!case.tables().is_empty(), "{}", case.name);
    }
}

async fn run(paths: &TpchPaths, partitions: usize, case: &OperatorCase) -> Vec<String> {
    let session = session(paths, partitions).await;
    for (key, value) in &case.settings {
        query(&session, &format!("SET {key} = {value}")).await;
    }
    let frame = session
        .sql(&case.sql)
        .await
        .unwrap_or_else(|e| panic!("{}: {e}", case.name));
    let plan = frame.clone().create_physical_plan().await.unwrap();
    let text = displayable(plan.as_ref()).indent(false).to_string();
    assert!(
        text.contains(case.operator),
        "{} plans no {}:\n{text}",
        case.name,
        case.operator
    );
    rows(&frame.collect().await.unwrap())
}

#[test]
fn only_missing_files_are_made_and_another_scale_replaces_all() {
    let dir = tempfile::tempdir().unwrap();
    let paths = ensure_tpch(dir.path(), 0.001).unwrap();
    let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let nation = modified(&paths.parquet("nation"));
    let orders = fs::read(paths.parquet("orders")).unwrap();
    fs::remove_file(paths.parquet("orders")).unwrap();
    fs::write(
        dir.path().join("customer.parquet.tmp"),
        "cut off by a crash",
    )
    .unwrap();

    ensure_tpch(dir.path(), 0.001).unwrap();
    assert_eq!(modified(&paths.parquet("nation")), nation);
    assert_eq!(fs::read(paths.parquet("orders")).unwrap(), orders);

    ensure_tpch(dir.path(), 0.002).unwrap();
    assert_ne!(modified(&paths.parquet("nation")), nation);
    assert_ne!(fs::read(paths.parquet("orders")).unwrap(), orders);
}

#[test]
fn files_of_others_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("orders.parquet"), "mine").unwrap();
    let refused = ensure_tpch(dir.path(), 0.001).unwrap_err();
    assert!(matches!(&refused, GenError::NotADataSet { file, .. } if file == "orders.parquet"));
    assert_eq!(
        fs::read_to_string(dir.path().join("orders.parquet")).unwrap(),
        "mine"
    );

    for scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            ensure_tpch(dir.path(), scale),
            Err(GenError::BadScale { .. })
        ));
    }
}
