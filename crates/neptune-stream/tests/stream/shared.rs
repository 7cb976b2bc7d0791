//! Versioned tables: replaced atomically, read as one snapshot.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::arrow::array::{Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::physical_plan::displayable;
use neptune_stream::StreamError;
use neptune_stream::shared::{PinnedTable, SharedTable, VERSION_COLUMN};
use neptune_stream::sink::{SharedSink, Sink, WriteMode};

use crate::helpers::{context, epoch, ids, ids_schema, numbers, query, rows, stream_of};

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true)]))
}

/// `rows` rows that all say `value`, in batches of `batch`.
fn batches(value: i64, rows: usize, batch: usize) -> Vec<RecordBatch> {
    let sizes = (0..rows).step_by(batch).map(|at| batch.min(rows - at));
    let make = |size| {
        let column = Arc::new(Int64Array::from_value(value, size));
        RecordBatch::try_new(schema(), vec![column]).unwrap()
    };
    sizes.map(make).collect()
}

fn table() -> Arc<SharedTable> {
    Arc::new(SharedTable::new("model", Some(schema()), 3).unwrap())
}

#[tokio::test]
async fn the_version_is_the_last_column_and_zero_is_empty() {
    let table = table();
    let names: Vec<_> = TableProvider::schema(table.as_ref())
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .collect();
    assert_eq!(names, ["v", VERSION_COLUMN]);
    assert_eq!(table.snapshot().version(), 0);
    let found = query(table.clone(), "SELECT * FROM t").await.unwrap();
    assert_eq!(rows(&found), [""; 0]);

    assert_eq!(table.publish(batches(7, 2, 1)).unwrap(), 1);
    assert_eq!(table.publish(batches(8, 1, 1)).unwrap(), 2);
    let found = query(table.clone(), "SELECT _version, v FROM t")
        .await
        .unwrap();
    assert_eq!(rows(&found), ["2|8"]);
    assert_eq!(table.publish(vec![]).unwrap(), 3);
    assert_eq!(table.snapshot().rows(), 0);
}

#[tokio::test]
async fn only_the_last_versions_are_kept_but_a_held_one_stays() {
    let table = table();
    table.publish(batches(1, 1, 1)).unwrap();
    let held = table.version(1).unwrap();
    for value in 2..=5 {
        table.publish(batches(value, 1, 1)).unwrap();
    }
    let kept: Vec<_> = (0..=6).filter(|v| table.version(*v).is_some()).collect();
    assert_eq!(kept, [3, 4, 5]);
    assert_eq!(
        (held.version(), held.rows(), held.batches().count()),
        (1, 1, 1)
    );
}

#[tokio::test]
async fn a_pinned_table_is_one_version_for_a_whole_query() {
    let table = table();
    table.publish(batches(1, 20_000, 3_000)).unwrap();
    let pinned = Arc::new(PinnedTable::new(table.clone()).unwrap());
    table.publish(batches(2, 1, 1)).unwrap();
    let sql = "SELECT DISTINCT a._version * 10 + b._version FROM t a JOIN t b ON a.v <= b.v WHERE a.v = 1";
    let small = "SELECT count(*) FROM t UNION ALL SELECT count(*) FROM t";
    assert_eq!(
        numbers(&query(pinned.clone(), small).await.unwrap()),
        [20_000, 20_000]
    );
    assert_eq!(pinned.pin_newest(), 2);
    assert_eq!(
        numbers(&query(pinned.clone(), small).await.unwrap()),
        [1, 1]
    );
    pinned.pin(table.version(1).unwrap());
    assert_eq!(pinned.pinned().version(), 1);
    let limited = sql.replace(
        "FROM t a JOIN t b",
        "FROM (SELECT * FROM t LIMIT 3) a JOIN (SELECT * FROM t LIMIT 3) b",
    );
    assert_eq!(numbers(&query(pinned, &limited).await.unwrap()), [11]);
}

#[tokio::test]
async fn statistics_are_exact_and_large_versions_are_read_in_parallel() {
    let table = table();
    table.publish(batches(1, 30_000, 500)).unwrap();
    let context = context();
    context.register_table("t", table.clone()).unwrap();
    let plan = |sql: &'static str| {
        let context = context.clone();
        async move {
            context
                .sql(sql)
                .await
                .unwrap()
                .create_physical_plan()
                .await
                .unwrap()
        }
    };
    let text = displayable(plan("SELECT count(*) FROM t").await.as_ref())
        .indent(true)
        .to_string();
    assert!(
        text.contains("PlaceholderRowExec"),
        "the count is known: {text}"
    );
    let scan = plan("SELECT v FROM t").await;
    assert_eq!(scan.properties().partitioning.partition_count(), 3);
    let found = query(table, "SELECT v + _version FROM t").await.unwrap();
    assert_eq!(numbers(&found), vec![2; 30_000]);
}

#[test]
fn no_reader_sees_rows_of_two_versions_or_an_older_version_later() {
    let table = table();
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (table, stop) = (table.clone(), stop.clone());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let (mut last, mut seen) = (0, 0);
                    while !stop.load(Ordering::SeqCst) || seen == 0 {
                        let sql =
                            "SELECT min(v), max(v), min(_version), max(_version), count(*) FROM t";
                        let found = query(table.clone(), sql).await.unwrap();
                        let row = &rows(&found)[0];
                        let cells: Vec<i64> =
                            row.split('|').map(|c| c.parse().unwrap_or(0)).collect();
                        let [low, high, first, newest, count] = cells[..] else {
                            panic!("{row}")
                        };
                        assert_eq!((low, first), (high, newest), "torn: {row}");
                        assert_eq!(low, newest, "{row}");
                        // Version n has 1000 + n rows.
                        assert!(
                            newest == 0 && count == 0 || count == 1_000 + newest,
                            "{row}"
                        );
                        assert!(newest >= last, "{newest} after {last}");
                        (last, seen) = (newest, seen + 1);
                    }
                });
            })
        })
        .collect();
    let writers: Vec<_> = (0..2)
        .map(|_| {
            let (table, stop) = (table.clone(), stop.clone());
            std::thread::spawn(move || {
                for _ in 0..150 {
                    // The lock of a read-modify-write: only one of them knows its number before it publishes.
                    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
                    let _turn = TURN.lock().unwrap();
                    let next = table.snapshot().version() as i64 + 1;
                    let rows = 1_000 + next as usize;
                    assert_eq!(
                        table.publish(batches(next, rows, 300)).unwrap() as i64,
                        next
                    );
                }
                stop.store(true, Ordering::SeqCst);
            })
        })
        .collect();
    for thread in writers.into_iter().chain(readers) {
        thread.join().unwrap();
    }
    assert_eq!(table.snapshot().version(), 300);
}

#[tokio::test]
async fn columns_are_fixed_once() {
    let table = Arc::new(SharedTable::new("model", None, 3).unwrap());
    assert!(table.publish(batches(1, 1, 1)).is_err());
    let error = PinnedTable::new(table.clone()).unwrap_err().to_string();
    assert!(error.contains("before its columns are known"), "{error}");
    table.set_schema(schema()).unwrap();
    table.set_schema(schema()).unwrap();
    let error = table.set_schema(ids_schema()).unwrap_err();
    assert!(matches!(error, StreamError::Schema { .. }), "{error}");
    assert!(table.publish(vec![ids(0..1)]).is_err());
    assert_eq!(table.snapshot().version(), 0);

    let own = Arc::new(Schema::new(vec![Field::new(
        VERSION_COLUMN,
        DataType::Int64,
        true,
    )]));
    assert!(SharedTable::new("model", Some(own), 3).is_err());
}

#[tokio::test]
async fn the_sink_publishes_once_per_write_and_announces_it() {
    let table = Arc::new(SharedTable::new("model", None, 3).unwrap());
    let sink = SharedSink::new(table.clone());
    let mut watch = table.watch();
    let mut put = async |micro_batch, mode, range| {
        sink.write(&epoch(micro_batch), mode, stream_of(vec![ids(range)], None))
            .await
            .unwrap();
        watch.changed().await.unwrap();
        let found = query(table.clone(), "SELECT id FROM t").await.unwrap();
        (*watch.borrow(), numbers(&found))
    };
    assert_eq!(put(0, WriteMode::Overwrite, 0..2).await, (1, vec![0, 1]));
    assert_eq!(put(1, WriteMode::Append, 2..3).await, (2, vec![0, 1, 2]));
    // Run again: not appended twice.
    assert_eq!(put(1, WriteMode::Append, 2..3).await, (3, vec![0, 1, 2]));
    assert_eq!(put(2, WriteMode::Overwrite, 9..10).await, (4, vec![9]));
    let broken = stream_of(vec![ids(0..1)], Some("broke"));
    sink.write(&epoch(3), WriteMode::Overwrite, broken)
        .await
        .unwrap_err();
    assert_eq!(table.snapshot().version(), 4);
}
