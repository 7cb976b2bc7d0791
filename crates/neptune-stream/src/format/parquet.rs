//! Parquet files through DataFusion's own scan: pruning, statistics and parallel row groups.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::runtime::SpawnedTask;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;

use crate::error::StreamError;
use crate::scan::project;
use crate::source::{FileEntry, ScanRequest};

/// A plan that reads exactly `files`.
pub(crate) async fn plan(
    schema: &SchemaRef,
    state: &dyn Session,
    files: &[FileEntry],
    request: ScanRequest<'_>,
) -> Result<Arc<dyn ExecutionPlan>, StreamError> {
    if files.is_empty() {
        let schema = project(schema, request.projection)?;
        return Ok(Arc::new(EmptyExec::new(schema)));
    }
    let urls = files
        .iter()
        .map(|file| url(&file.path))
        .collect::<Result<Vec<_>, _>>()?;
    // The files are named one by one, so no ending is asked for.
    let options = ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension("");
    let config = ListingTableConfig::new_with_multi_paths(urls)
        .with_listing_options(options)
        .with_schema(Arc::clone(schema));
    let table = ListingTable::try_new(config)?;
    let plan = table
        .scan(state, request.projection, request.filters, request.limit)
        .await;
    match plan {
        Ok(plan) => {
            check_there(files).await?;
            Ok(plan)
        }
        Err(error) => {
            // DataFusion does not say which file it was.
            let files = files.to_vec();
            let culprit = SpawnedTask::spawn_blocking(move || {
                files.iter().find_map(|file| schema_of(&file.path).err())
            });
            let culprit = culprit.await.map_err(StreamError::lost)?;
            Err(culprit.unwrap_or_else(|| error.into()))
        }
    }
}

/// Refuses to go on without a file: DataFusion passes over one that has gone before it looks, and nobody would know.
async fn check_there(files: &[FileEntry]) -> Result<(), StreamError> {
    let files = files.to_vec();
    let check = SpawnedTask::spawn_blocking(move || {
        files.iter().try_for_each(|file| {
            let metadata = fs::metadata(&file.path).map_err(StreamError::io("read", &file.path));
            metadata.map(|_| ())
        })
    });
    check.await.map_err(StreamError::lost)?
}

/// The columns of a Parquet file, from its footer.
///
/// # Errors
/// [`StreamError::Io`] when the file cannot be read, [`StreamError::Malformed`] when it is no Parquet file.
pub(crate) fn schema_of(path: &Path) -> Result<SchemaRef, StreamError> {
    let file = File::open(path).map_err(StreamError::io("read", path))?;
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(false);
    let metadata = ArrowReaderMetadata::load(&file, options);
    let metadata = metadata.map_err(|error| StreamError::Malformed {
        file: path.to_owned(),
        line: None,
        column: None,
        reason: format!("not a readable Parquet file: {error}"),
    })?;
    Ok(Arc::clone(metadata.schema()))
}

/// The URL of a local file. Built by hand: DataFusion takes `*`, `?` and `[` in a plain path for a pattern.
fn url(path: &Path) -> Result<ListingTableUrl, StreamError> {
    let absolute = std::path::absolute(path).map_err(StreamError::io("read", path))?;
    let mut url = String::from("file://");
    for byte in absolute.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                url.push(char::from(*byte));
            }
            byte => url.push_str(&format!("%{byte:02X}")),
        }
    }
    Ok(ListingTableUrl::parse(&url)?)
}
