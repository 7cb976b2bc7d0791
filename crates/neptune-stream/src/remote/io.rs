//! The runtime that makes requests.

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::mpsc::sync_channel;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

use crate::error::StreamError;

/// The runtime; made when it is first needed, there as long as the process.
pub(crate) fn handle() -> Result<Handle, StreamError> {
    static RUNTIME: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
        Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("neptune-io")
            .enable_all()
            .build()
    });
    match &*RUNTIME {
        Ok(runtime) => Ok(runtime.handle().clone()),
        Err(error) => {
            let error = io::Error::new(error.kind(), error.to_string());
            Err(StreamError::io("start threads for", Path::new("requests"))(
                error,
            ))
        }
    }
}

/// Waits for `future` on a thread that may wait.
///
/// # Errors
/// Its own.
pub(crate) fn wait<T: Send + 'static>(
    future: impl Future<Output = Result<T, StreamError>> + Send + 'static,
) -> Result<T, StreamError> {
    let (tell, told) = sync_channel(1);
    handle()?.spawn(async move {
        // Nobody waits any more when this fails.
        let _ = tell.send(future.await);
    });
    told.recv().map_err(StreamError::lost)?
}

/// Runs `future`, which goes on only as long as somebody waits for it.
///
/// # Errors
/// Its own.
pub(crate) async fn run<T: Send + 'static>(
    future: impl Future<Output = Result<T, StreamError>> + Send + 'static,
) -> Result<T, StreamError> {
    let mut task = Aborting(handle()?.spawn(future));
    (&mut task.0).await.map_err(StreamError::lost)?
}

struct Aborting<T>(JoinHandle<T>);

impl<T> Drop for Aborting<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
