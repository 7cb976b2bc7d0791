//! Files at URLs: `s3://`, `gs://` and `az://`, through the `object_store` crate.
//!
//! All requests are made by a runtime of their own with one thread: a batch task that is suspended does not hold
//! up the connections of others, and code that must wait for a request, on the blocking pool, can do so.

mod io;
mod read;
mod store;
mod upload;

use std::fmt;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{StreamExt, TryStreamExt};
use object_store::path::Path as ObjectPath;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use url::Url;

use crate::error::StreamError;
use crate::source::{FileEntry, is_hidden};

pub(crate) use io::{run, wait};
pub(crate) use store::open;
pub(crate) use upload::Upload;

/// Requests for metadata under way at the same time.
const REQUESTS: usize = 16;

/// A place in an object store, for one table.
#[derive(Clone)]
pub(crate) struct Remote {
    store: Arc<dyn ObjectStore>,
    /// `s3://bucket`: what messages and file names begin with.
    base: String,
    /// The prefix of a directory, or one object.
    path: ObjectPath,
    /// Under which DataFusion knows the store; tables may use other credentials for the same bucket.
    scope: Url,
}

// Stores show their credentials.
impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Remote").field(&self.url()).finish()
    }
}

impl PartialEq for Remote {
    fn eq(&self, other: &Self) -> bool {
        self.scope == other.scope && self.path == other.path
    }
}

impl Eq for Remote {}

impl Remote {
    /// A place below `base`, as `s3://bucket`.
    ///
    /// # Errors
    /// [`StreamError::Option`] when the base is no URL.
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        base: String,
        path: ObjectPath,
    ) -> Result<Self, StreamError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let host = base.split_once("://").map_or("", |(_, host)| host);
        let scope = Url::parse(&format!("neptune-{number}://{host}"));
        let scope = scope.map_err(|error| StreamError::Option {
            key: "path".to_owned(),
            value: base.clone(),
            reason: error.to_string(),
            help: "write SCHEME://BUCKET/NAME".to_owned(),
        })?;
        Ok(Self {
            store,
            base,
            path,
            scope,
        })
    }

    /// The place as a URL.
    pub(crate) fn url(&self) -> PathBuf {
        self.name_of(&self.path)
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// The URL under which DataFusion is to know the store.
    pub(crate) fn scope(&self) -> &Url {
        &self.scope
    }

    /// What a file below this place is called.
    pub(crate) fn name_of(&self, location: &ObjectPath) -> PathBuf {
        PathBuf::from(format!("{}/{location}", self.base))
    }

    /// The object of a file.
    ///
    /// # Errors
    /// [`StreamError::Io`] for a file of another place.
    pub(crate) fn location_of(&self, file: &Path) -> Result<ObjectPath, StreamError> {
        let failed = |reason: String| {
            StreamError::io("read", file)(std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                reason,
            ))
        };
        let name = file.to_str().and_then(|name| name.strip_prefix(&self.base));
        let name = name.ok_or_else(|| failed(format!("it is not below {}", self.base)))?;
        ObjectPath::parse(name).map_err(|error| failed(error.to_string()))
    }

    /// The prefix, or the object.
    pub(crate) fn path(&self) -> &ObjectPath {
        &self.path
    }

    /// The object `name` in this directory.
    pub(crate) fn child(&self, name: &str) -> ObjectPath {
        self.path.clone().join(name)
    }

    /// The data files below this place, by the time they were written, then their name. Objects without bytes stand
    /// for directories in some stores and have no records in any format: they are passed over.
    ///
    /// # Errors
    /// [`StreamError::Io`] when the store refuses.
    pub(crate) async fn list(self) -> Result<Vec<FileEntry>, StreamError> {
        let root = Some(&self.path).filter(|path| !path.as_ref().is_empty());
        let mut found: Vec<FileEntry> = self
            .store
            .list(root)
            .try_filter(|object| futures::future::ready(self.is_data(object)))
            .map_ok(|object| self.entry(&object))
            .try_collect()
            .await
            .map_err(|error| self.failed("list", &self.path, error))?;
        found.sort_by(|a, b| (a.modified_nanos, &a.path).cmp(&(b.modified_nanos, &b.path)));
        Ok(found)
    }

    fn is_data(&self, object: &ObjectMeta) -> bool {
        let parts = object.location.prefix_match(&self.path);
        let hidden = parts.is_none_or(|mut parts| parts.any(|part| is_hidden(part.as_ref())));
        object.size > 0 && !hidden
    }

    /// The object itself.
    ///
    /// # Errors
    /// [`StreamError::Io`] when it is not there or the store refuses.
    pub(crate) async fn stat(self) -> Result<FileEntry, StreamError> {
        let meta = self.store.head(&self.path).await;
        let meta = meta.map_err(|error| self.failed("look at", &self.path, error))?;
        Ok(self.entry(&meta))
    }

    fn entry(&self, object: &ObjectMeta) -> FileEntry {
        let nanos = object.last_modified.timestamp_nanos_opt();
        FileEntry {
            path: self.name_of(&object.location),
            len: object.size,
            modified_nanos: nanos
                .and_then(|nanos| u64::try_from(nanos).ok())
                .unwrap_or(0),
        }
    }

    /// Refuses to go on without one of some files.
    ///
    /// # Errors
    /// [`StreamError::Io`] for a file that is not there.
    pub(crate) async fn check_there(self, files: Vec<FileEntry>) -> Result<(), StreamError> {
        let checks = futures::stream::iter(files).map(|file| {
            let remote = &self;
            async move {
                let location = remote.location_of(&file.path)?;
                let meta = remote.store.head(&location).await;
                meta.map(|_| ())
                    .map_err(|error| remote.failed("read", &location, error))
            }
        });
        checks.buffer_unordered(REQUESTS).try_collect().await
    }

    /// Some bytes of a file.
    ///
    /// # Errors
    /// [`StreamError::Io`] when it is not there or the store refuses.
    pub(crate) async fn range(
        &self,
        entry: &FileEntry,
        range: Range<u64>,
    ) -> Result<bytes::Bytes, StreamError> {
        let location = self.location_of(&entry.path)?;
        let bytes = self.store.get_range(&location, range).await;
        bytes.map_err(|error| self.failed("read", &location, error))
    }

    /// A file from its beginning. Waits for its first bytes.
    ///
    /// # Errors
    /// [`StreamError::Io`] when it is not there, is not as it was found, or the store refuses.
    pub(crate) fn read(&self, entry: &FileEntry) -> Result<Box<dyn Read + Send>, StreamError> {
        let location = self.location_of(&entry.path)?;
        let read = read::ObjectRead::open(Arc::clone(&self.store), location, entry.len);
        Ok(Box::new(
            read.map_err(StreamError::io("read", &entry.path))?,
        ))
    }

    /// For `map_err` on a request about one object.
    pub(crate) fn failed(
        &self,
        action: &'static str,
        location: &ObjectPath,
        error: object_store::Error,
    ) -> StreamError {
        StreamError::io(action, &self.name_of(location))(error.into())
    }
}
