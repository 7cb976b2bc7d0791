//! Avro files: every type there and back, columns by name, and damage that is never taken for rows.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use neptune_stream::StreamError;
use neptune_stream::connector::{ConnectorTable, TableSpec};
use neptune_stream::sink::{Console, WriteMode};
use proptest::prelude::*;

use crate::helpers::{
    context, epoch, id_and_name, ids, numbers, query, rows, scratch, spec, stream_of, table, take,
    write,
};

const CODECS: [&str; 4] = ["none", "deflate", "snappy", "zstd"];

/// What a query over literals gives, as one batch.
async fn values(sql: &str) -> RecordBatch {
    let batches = context().sql(sql).await.unwrap().collect().await.unwrap();
    let schema = batches[0].schema();
    datafusion::arrow::compute::concat_batches(&schema, &batches).unwrap()
}

fn stream(batch: RecordBatch) -> SendableRecordBatchStream {
    let schema = batch.schema();
    let batches = futures::stream::iter([Ok(batch)]);
    Box::pin(RecordBatchStreamAdapter::new(schema, batches))
}

fn declare(schema: Option<SchemaRef>, path: &Path) -> Result<ConnectorTable, StreamError> {
    let options = [("path", path.to_str().unwrap())];
    ConnectorTable::create(&TableSpec {
        schema,
        ..spec("single_file", &[], &options)
    })
}

async fn put(path: &Path, batch: RecordBatch) -> Result<u64, StreamError> {
    let sink = declare(Some(batch.schema()), path)
        .unwrap()
        .open_sink(&Console::new(std::io::sink()))
        .unwrap();
    sink.write(&epoch(0), WriteMode::Overwrite, stream(batch))
        .await
}

const EVERY_TYPE: &str = "SELECT * FROM (VALUES
    (true, CAST(1 AS SMALLINT), 2, CAST(3 AS BIGINT), CAST(1.5 AS REAL), CAST(2.5 AS DOUBLE),
     'text', X'0102', DATE '2024-02-29', TIMESTAMP '2024-02-29 12:00:00.123456789',
     arrow_cast(TIMESTAMP '2024-02-29 12:00:00', 'Timestamp(Millisecond, Some(\"+00:00\"))'),
     CAST(12.34 AS DECIMAL(10, 2)), [1, 2, NULL], named_struct('x', 1, 'y', 'z'),
     named_struct('x', 2.5), MAP {'k': 7}, [named_struct('deep', ['a'])],
     arrow_cast('12:30:00', 'Time64(Microsecond)')),
    (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL))
    AS t (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r)";

#[tokio::test]
async fn every_type_comes_back_as_it_was_written() {
    let (_dir, path, _) = scratch();
    let file = path.join("a.avro");
    let batch = values(EVERY_TYPE).await;
    put(&file, batch.clone()).await.unwrap();
    let expected = pretty_format_batches(std::slice::from_ref(&batch))
        .unwrap()
        .to_string();
    // Once with the columns they had, once with those read off the file.
    for schema in [Some(batch.schema()), None] {
        let declared = declare(schema, &file).unwrap();
        let provider = declared.batch_table().unwrap();
        let found = query(provider, "SELECT * FROM t").await.unwrap();
        assert_eq!(pretty_format_batches(&found).unwrap().to_string(), expected);
    }
    let inferred = declare(None, &file).unwrap().schema().unwrap();
    assert!(
        inferred
            .fields()
            .iter()
            .all(|field| field.metadata().is_empty())
    );
    let kind = |name: &str| inferred.field_with_name(name).unwrap().data_type().clone();
    assert_eq!(kind("d"), DataType::Int64);
    assert_eq!(kind("j"), DataType::Timestamp(TimeUnit::Nanosecond, None));

    let provider = declare(None, &file).unwrap().batch_table().unwrap();
    let sql = "SELECT q[1]['deep'][1], g, p['k'] FROM t WHERE d = 3";
    assert_eq!(rows(&query(provider, sql).await.unwrap()).len(), 1);
}

#[tokio::test]
async fn files_stream_by_file_whatever_their_codec() {
    let (_dir, path, place) = scratch();
    for (number, codec) in (0..).zip(CODECS) {
        let options = [
            ("path", place.as_str()),
            ("format", "avro"),
            ("compression", codec),
        ];
        let declared = table("filesystem", &id_and_name(), &options).unwrap();
        let sink = declared.open_sink(&Console::new(std::io::sink())).unwrap();
        let start = number as i64 * 10_000;
        let batches = vec![
            ids(start..start + 7_000),
            ids(start + 7_000..start + 10_000),
        ];
        let rows = stream_of(batches, None);
        sink.write(&epoch(number), WriteMode::Append, rows)
            .await
            .unwrap();
        assert!(
            path.join(format!("part-j-1-{number:09}-0000.avro"))
                .exists()
        );
    }
    let options = [("path", place.as_str()), ("format", "avro")];
    let declared = table("filesystem", &[], &options).unwrap();
    let source = declared.open_source().unwrap();
    let (batches, at) = take(&source, source.initial_offset()).await.unwrap();
    assert_eq!(
        (numbers(&batches), at.position()),
        ((0..40_000).collect(), 4)
    );
    assert!(batches.iter().all(|batch| batch.num_rows() <= 100));
    for (sql, expected) in [
        ("SELECT count(*) FROM t", "40000"),
        ("SELECT max(name) FROM t WHERE id < 5", "n4"),
        ("SELECT name, id FROM t WHERE id = 33333", "n33333|33333"),
    ] {
        let found = query(declared.batch_table().unwrap(), sql).await.unwrap();
        assert_eq!(rows(&found), [expected], "{sql}");
    }
}

#[tokio::test]
async fn columns_are_found_by_name_and_a_type_that_does_not_fit_is_named() {
    let (_dir, path, _) = scratch();
    let file = path.join("a.avro");
    let sql = "SELECT CAST(1 AS INT) AS small, CAST(5000000000 AS BIGINT) AS big, 'x' AS word, \
               TIMESTAMP '2000-01-01' AS at, CAST(NULL AS BIGINT) AS nothing";
    let mut batch = values(sql).await;
    // A time beyond what nanoseconds can count.
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    let mut columns = batch.columns().to_vec();
    let early =
        values("SELECT arrow_cast(-11676096000000000, 'Timestamp(Microsecond, None)') AS at").await;
    columns[3] = Arc::clone(early.column(0));
    let fields = batch
        .schema()
        .fields()
        .iter()
        .map(|field| match field.name().as_str() {
            "at" => Field::new("at", micros.clone(), true),
            _ => field.as_ref().clone(),
        })
        .collect::<Vec<_>>();
    batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    put(&file, batch).await.unwrap();

    let read = async |columns: Vec<Field>| {
        let schema = Arc::new(Schema::new(columns));
        let provider = declare(Some(schema), &file).unwrap().batch_table().unwrap();
        query(provider, "SELECT * FROM t").await
    };
    let field = |name: &str, kind: DataType| Field::new(name, kind, true);
    let found = read(vec![
        field("word", DataType::Utf8View),
        field("more", DataType::Int64),
        field("small", DataType::Float64),
        field("big", DataType::Decimal128(20, 1)),
    ]);
    assert_eq!(rows(&found.await.unwrap()), ["x|NULL|1.0|5000000000.0"]);
    for (column, reason) in [
        (
            field("word", DataType::Int64),
            "the file has type Utf8, the table Int64",
        ),
        (
            field("small", DataType::Utf8),
            "the file has type Int32, the table Utf8",
        ),
        (field("big", DataType::Int32), "rows 1 to 1: "),
        (
            field("at", DataType::Timestamp(TimeUnit::Nanosecond, None)),
            "rows 1 to 1: ",
        ),
        (
            Field::new("more", DataType::Int64, false),
            "the file has small, big, word, at, nothing",
        ),
        (
            Field::new("nothing", DataType::Int64, false),
            "NULL in a NOT NULL column",
        ),
    ] {
        let name = column.name().clone();
        let error = read(vec![column]).await.unwrap_err();
        assert!(
            matches!(&error, StreamError::Malformed { file: at, column: Some(column), reason: why, .. }
                if *at == file && *column == name && why.contains(reason)),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_avro_cannot_hold_is_refused_before_anything_is_written() {
    let (_dir, path, _) = scratch();
    let file = path.join("a.avro");
    for (sql, column, reason) in [
        ("SELECT 1 AS \"a b\"", "a b", "no name in Avro"),
        ("SELECT 1 AS \"1st\"", "1st", "no name in Avro"),
        (
            "SELECT named_struct('x-y', 1) AS s",
            "s",
            "'x-y' is no name",
        ),
        (
            "SELECT CAST(1 AS BIGINT UNSIGNED) AS u",
            "u",
            "no type for UInt64",
        ),
        ("SELECT INTERVAL '1 day' AS i", "i", "no type for Interval"),
        ("SELECT MAP {1: 2} AS m", "m", "keys of a map"),
    ] {
        let error = put(&file, values(sql).await).await.unwrap_err().to_string();
        let expected = format!("column '{column}'");
        assert!(
            error.contains(&expected) && error.contains(reason),
            "{error}"
        );
        assert!(!file.exists());
    }
    // The same for CSV.
    let file = path.join("a.csv");
    let error = put(&file, values("SELECT [1] AS l").await)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("CSV cannot hold"), "{error}");
}

async fn read_all(path: &Path) -> Result<Vec<String>, StreamError> {
    let declared = declare(None, path)?;
    let provider = declared.batch_table()?;
    let batches = query(provider, "SELECT * FROM t").await?;
    let text = pretty_format_batches(&batches).unwrap().to_string();
    // Between the header and the last rule.
    let lines = text.lines().skip(3).filter(|line| line.starts_with('|'));
    Ok(lines.map(str::to_owned).collect())
}

#[tokio::test]
async fn files_that_are_no_tables_are_named() {
    let (_dir, path, _) = scratch();
    let file = path.join("a.avro");
    for (bytes, reason) in [
        (b"Ob".as_slice(), "it ends in its header"),
        (b"PAR1 is another format", "not an Avro object container file"),
        (b"Obj\x01\x00marker_of_16byte", "no schema"),
        (
            b"Obj\x01\x02\x16avro.schema\x0c\"long\"\x00marker_of_16byte",
            "not records",
        ),
        (
            b"Obj\x01\x02\x14avro.codec\x0abzip2\x02\x16avro.schema\x0c\"long\"\x00marker_of_16byte",
            "packed with 'bzip2'",
        ),
    ] {
        write(&file, bytes);
        let error = read_all(&file).await.unwrap_err().to_string();
        let name = file.to_str().unwrap();
        assert!(error.contains(reason) && error.contains(name), "{error}");
    }
}

/// A small file of two blocks with values of many kinds, and its rows.
fn sample(codec: &str) -> (Vec<u8>, Vec<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (_dir, path, _) = scratch();
        let file = path.join("a.avro");
        let options = [("path", file.to_str().unwrap()), ("compression", codec)];
        let sql = "SELECT n AS id, 'n' || n AS name, [n, NULL] AS list, named_struct('x', n % 2 = 0) AS at, \
                   CAST(n AS DECIMAL(10, 2)) AS price, MAP {'k': n} AS map FROM range(1, 40) AS t(n)";
        let batch = values(sql).await;
        let declared = TableSpec {
            schema: Some(batch.schema()),
            ..spec("single_file", &[], &options)
        };
        let declared = ConnectorTable::create(&declared).unwrap();
        let sink = declared.open_sink(&Console::new(std::io::sink())).unwrap();
        let schema = batch.schema();
        let parts = [batch.slice(0, 20), batch.slice(20, 19)].map(Ok);
        let rows = RecordBatchStreamAdapter::new(schema, futures::stream::iter(parts));
        sink.write(&epoch(0), WriteMode::Overwrite, Box::pin(rows)).await.unwrap();
        (fs::read(&file).unwrap(), read_all(&file).await.unwrap())
    })
}

#[test]
fn a_file_cut_off_gives_no_rows_beyond_its_last_whole_block() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for codec in CODECS {
        let (bytes, whole) = sample(codec);
        let (_dir, path, _) = scratch();
        let file = path.join("a.avro");
        let mut sound = 0;
        for cut in (1..bytes.len()).step_by(3).chain([bytes.len()]) {
            write(&file, &bytes[..cut]);
            match runtime.block_on(read_all(&file)) {
                Ok(found) => {
                    sound += 1;
                    assert!([0, 20, whole.len()].contains(&found.len()), "{codec} {cut}");
                }
                Err(StreamError::Corrupt { file: at, .. }) => assert_eq!(at, file),
                Err(error) => panic!("{codec} {cut}: {error}"),
            }
        }
        assert!(sound <= 3, "{codec}: between blocks only");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn a_damaged_file_never_does_more_than_give_an_error_or_another_value(
        which in 0usize..4,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        static SAMPLES: std::sync::LazyLock<Vec<(Vec<u8>, Vec<String>)>> =
            std::sync::LazyLock::new(|| CODECS.map(sample).to_vec());
        let (bytes, whole) = &SAMPLES[which];
        let mut bytes = bytes.clone();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let (_dir, path, _) = scratch();
        let file = path.join("a.avro");
        write(&file, &bytes);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        match runtime.block_on(read_all(&file)) {
            Ok(found) => prop_assert!(found.len() <= whole.len()),
            Err(StreamError::Corrupt { .. } | StreamError::Malformed { .. } | StreamError::DataFusion(_)) => {}
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}
