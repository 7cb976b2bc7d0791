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
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::metadata::ParquetMetaDataReader;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;

use crate::error::StreamError;
use crate::remote::{Remote, run, wait};
use crate::scan::project;
use crate::source::{Access, FileEntry, ScanRequest};

/// Bytes at the end of an object in which its footer is looked for first.
const FOOTER_BYTES: u64 = 64 << 10;

/// A plan that reads exactly `files`.
pub(crate) async fn plan(
    access: &Access,
    schema: &SchemaRef,
    state: &dyn Session,
    files: &[FileEntry],
    request: ScanRequest<'_>,
) -> Result<Arc<dyn ExecutionPlan>, StreamError> {
    if files.is_empty() {
        let schema = project(schema, request.projection)?;
        return Ok(Arc::new(EmptyExec::new(schema)));
    }
    if let Access::Remote(remote) = access {
        let store = Arc::clone(remote.store());
        state
            .runtime_env()
            .register_object_store(remote.scope(), store);
    }
    let urls = files
        .iter()
        .map(|file| url(access, &file.path))
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
            check_there(access, files).await?;
            Ok(plan)
        }
        Err(error) => {
            // DataFusion does not say which file it was.
            let (access, files) = (access.clone(), files.to_vec());
            let culprit = SpawnedTask::spawn_blocking(move || {
                files.iter().find_map(|file| schema_of(&access, file).err())
            });
            let culprit = culprit.await.map_err(StreamError::lost)?;
            Err(culprit.unwrap_or_else(|| error.into()))
        }
    }
}

/// Refuses to go on without a file: DataFusion passes over one that has gone before it looks, and nobody would know.
async fn check_there(access: &Access, files: &[FileEntry]) -> Result<(), StreamError> {
    let files = files.to_vec();
    if let Access::Remote(remote) = access {
        return run(remote.as_ref().clone().check_there(files)).await;
    }
    let check = SpawnedTask::spawn_blocking(move || {
        files.iter().try_for_each(|file| {
            let metadata = fs::metadata(&file.path).map_err(StreamError::io("read", &file.path));
            metadata.map(|_| ())
        })
    });
    check.await.map_err(StreamError::lost)?
}

/// The columns of a Parquet file, from its footer. Waits: not for a thread that must not.
///
/// # Errors
/// [`StreamError::Io`] when the file cannot be read, [`StreamError::Malformed`] when it is no Parquet file.
pub(crate) fn schema_of(access: &Access, entry: &FileEntry) -> Result<SchemaRef, StreamError> {
    let path = &entry.path;
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(false);
    let metadata = match access {
        Access::Local => {
            let file = File::open(path).map_err(StreamError::io("read", path))?;
            ArrowReaderMetadata::load(&file, options)
        }
        Access::Remote(remote) => {
            let (remote, entry) = (remote.as_ref().clone(), entry.clone());
            wait(async move { load(&remote, &entry, options).await })?
        }
    };
    let metadata = metadata.map_err(|error| StreamError::Malformed {
        file: path.to_owned(),
        line: None,
        column: None,
        reason: format!("not a readable Parquet file: {error}"),
    })?;
    Ok(Arc::clone(metadata.schema()))
}

/// The footer of an object.
async fn load(
    remote: &Remote,
    entry: &FileEntry,
    options: ArrowReaderOptions,
) -> Result<Result<ArrowReaderMetadata, ParquetError>, StreamError> {
    let mut bytes = FOOTER_BYTES.min(entry.len);
    loop {
        let tail = remote.range(entry, entry.len - bytes..entry.len).await?;
        let mut reader = ParquetMetaDataReader::new();
        match reader.try_parse_sized(&tail, entry.len) {
            Err(ParquetError::NeedMoreData(needed)) if bytes < entry.len => {
                bytes = entry.len.min((needed as u64).max(bytes + 1));
            }
            Err(error) => return Ok(Err(error)),
            Ok(()) => {
                let metadata = reader.finish().map(Arc::new);
                return Ok(metadata.and_then(|found| ArrowReaderMetadata::try_new(found, options)));
            }
        }
    }
}

/// The URL of a file. Built by hand: DataFusion takes `*`, `?` and `[` in a plain path for a pattern.
fn url(access: &Access, path: &Path) -> Result<ListingTableUrl, StreamError> {
    let (mut url, path) = match access {
        Access::Local => {
            let absolute = std::path::absolute(path).map_err(StreamError::io("read", path))?;
            (
                "file://".to_owned(),
                absolute.into_os_string().into_encoded_bytes(),
            )
        }
        Access::Remote(remote) => {
            let location = remote.location_of(path)?;
            let scope = remote.scope().as_str().trim_end_matches('/');
            (format!("{scope}/"), location.as_ref().as_bytes().to_vec())
        }
    };
    for byte in path {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                url.push(char::from(byte));
            }
            byte => url.push_str(&format!("%{byte:02X}")),
        }
    }
    Ok(ListingTableUrl::parse(&url)?)
}
