//! Tables, contexts and rows for the tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use datafusion::arrow::array::{Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::stream;
use neptune_stream::connector::{ConnectorTable, TableSpec};
use neptune_stream::sink::Epoch;
use neptune_stream::source::{Clock, Source, StreamTable};
use neptune_stream::{Offset, OffsetRange, StreamError};

/// A declaration; `columns` may be empty for none.
pub(crate) fn spec(
    connector: &str,
    columns: &[(&str, DataType)],
    options: &[(&str, &str)],
) -> TableSpec {
    let fields: Vec<_> = columns
        .iter()
        .map(|(name, kind)| Field::new(*name, kind.clone(), true))
        .collect();
    TableSpec {
        name: "t".into(),
        connector: connector.into(),
        schema: (!fields.is_empty()).then(|| Arc::new(Schema::new(fields)) as SchemaRef),
        event_time: None,
        options: options
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect::<BTreeMap<_, _>>(),
    }
}

pub(crate) fn table(
    connector: &str,
    columns: &[(&str, DataType)],
    options: &[(&str, &str)],
) -> Result<ConnectorTable, StreamError> {
    ConnectorTable::create(&spec(connector, columns, options))
}

pub(crate) fn id_and_name() -> Vec<(&'static str, DataType)> {
    vec![("id", DataType::Int64), ("name", DataType::Utf8)]
}

/// A context with three partitions and small batches, so that boundaries are met.
pub(crate) fn context() -> SessionContext {
    let config = SessionConfig::new()
        .with_target_partitions(3)
        .with_batch_size(100);
    SessionContext::new_with_config(config)
}

pub(crate) async fn query(
    provider: Arc<dyn TableProvider>,
    sql: &str,
) -> Result<Vec<RecordBatch>, StreamError> {
    let context = context();
    context.register_table("t", provider)?;
    Ok(context.sql(sql).await?.collect().await?)
}

/// The first column as numbers, sorted.
pub(crate) fn numbers(batches: &[RecordBatch]) -> Vec<i64> {
    let mut all = Vec::new();
    for batch in batches {
        let column = cast(batch.column(0), &DataType::Int64).unwrap();
        let column = column.as_any().downcast_ref::<Int64Array>().unwrap();
        all.extend(column.iter().flatten());
    }
    all.sort_unstable();
    all
}

/// Each row as text, `a|b`, sorted.
pub(crate) fn rows(batches: &[RecordBatch]) -> Vec<String> {
    let mut all = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| cast(column, &DataType::Utf8).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            let cells = columns.iter().map(|column| {
                let column = column.as_any().downcast_ref::<StringArray>().unwrap();
                match column.is_null(row) {
                    true => "NULL",
                    false => column.value(row),
                }
            });
            all.push(cells.collect::<Vec<_>>().join("|"));
        }
    }
    all.sort();
    all
}

pub(crate) fn ids(range: std::ops::Range<i64>) -> RecordBatch {
    let names = range.clone().map(|id| format!("n{id}"));
    RecordBatch::try_new(
        ids_schema(),
        vec![
            Arc::new(Int64Array::from_iter_values(range)),
            Arc::new(StringArray::from_iter_values(names)),
        ],
    )
    .unwrap()
}

pub(crate) fn ids_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
    ]))
}

/// A stream of batches that ends, with an error if there is one.
pub(crate) fn stream_of(
    batches: Vec<RecordBatch>,
    error: Option<&str>,
) -> SendableRecordBatchStream {
    let error = error.map(|text| Err(DataFusionError::Execution(text.to_owned())));
    let items: Vec<_> = batches.into_iter().map(Ok).chain(error).collect();
    Box::pin(RecordBatchStreamAdapter::new(
        ids_schema(),
        stream::iter(items),
    ))
}

pub(crate) fn epoch(micro_batch: u64) -> Epoch {
    Epoch {
        job: "j".into(),
        run: 1,
        micro_batch,
    }
}

pub(crate) fn write(path: &Path, text: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Names of the files in a directory that its readers see, or all of them.
pub(crate) fn names(directory: &Path, hidden: bool) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .map(|entries| {
            entries
                .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
                .filter(|name| hidden || !name.starts_with('.'))
                .collect()
        })
        .unwrap_or_default();
    names.sort();
    names
}

/// A directory with a directory in it, as text.
pub(crate) fn scratch() -> (tempfile::TempDir, PathBuf, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    fs::create_dir(&path).unwrap();
    let text = path.to_str().unwrap().to_owned();
    (dir, path, text)
}

/// A clock that stands where it is put.
#[derive(Debug, Default)]
pub(crate) struct ManualClock(pub(crate) AtomicI64);

impl Clock for ManualClock {
    fn now_micros(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// What is new in `source` since `from`, and where it ends.
pub(crate) async fn take(
    source: &Arc<dyn Source>,
    from: Offset,
) -> Result<(Vec<RecordBatch>, Offset), StreamError> {
    let latest = source.latest_offset().await?;
    let stream = Arc::new(StreamTable::new(Arc::clone(source), None));
    stream.set_range(OffsetRange::new(from, latest));
    let batches = query(stream.provider(), "SELECT * FROM t").await?;
    Ok((batches, latest))
}
