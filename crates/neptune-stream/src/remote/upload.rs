//! One object on its way up: out of sight until it is published, gone if it is dropped before.

use std::sync::Arc;

use futures::future::BoxFuture;
use object_store::path::Path as ObjectPath;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};

use crate::error::StreamError;
use crate::remote::io::handle;
use crate::remote::{Remote, run};

/// Bytes of one part. Smaller objects are kept in memory and sent at once when they are published.
const PART_BYTES: usize = 8 << 20;

pub(crate) struct Upload {
    remote: Arc<Remote>,
    location: ObjectPath,
    buffer: Vec<u8>,
    /// Begun with the first whole part.
    parts: Option<Box<dyn MultipartUpload>>,
}

impl Upload {
    pub(crate) fn new(remote: Arc<Remote>, location: ObjectPath) -> Self {
        Self {
            remote,
            location,
            buffer: Vec::new(),
            parts: None,
        }
    }

    pub(crate) fn location(&self) -> &ObjectPath {
        &self.location
    }

    /// Takes the bytes of `buffer`.
    ///
    /// # Errors
    /// [`StreamError::Io`] when the store refuses a part.
    pub(crate) async fn write(&mut self, buffer: &mut Vec<u8>) -> Result<(), StreamError> {
        self.buffer.append(buffer);
        while self.buffer.len() >= PART_BYTES {
            let rest = self.buffer.split_off(PART_BYTES);
            let part = std::mem::replace(&mut self.buffer, rest);
            self.send(part).await?;
        }
        Ok(())
    }

    /// Sends what is left, unless it is all there is.
    ///
    /// # Errors
    /// As [`Upload::write`].
    pub(crate) async fn finish(&mut self) -> Result<(), StreamError> {
        if self.parts.is_some() && !self.buffer.is_empty() {
            let part = std::mem::take(&mut self.buffer);
            self.send(part).await?;
        }
        Ok(())
    }

    async fn send(&mut self, part: Vec<u8>) -> Result<(), StreamError> {
        let mut parts = match self.parts.take() {
            Some(parts) => parts,
            None => {
                let (remote, location) = (Arc::clone(&self.remote), self.location.clone());
                run(async move {
                    let begun = remote.store().put_multipart(&location).await;
                    begun.map_err(|error| remote.failed("write", &location, error))
                })
                .await?
            }
        };
        let sent: BoxFuture<'static, _> = parts.put_part(PutPayload::from(part));
        self.parts = Some(parts);
        let (remote, location) = (Arc::clone(&self.remote), self.location.clone());
        run(async move {
            sent.await
                .map_err(|error| remote.failed("write", &location, error))
        })
        .await
    }

    /// Makes the object visible, in place of one of the same name.
    ///
    /// # Errors
    /// [`StreamError::Io`] when the store refuses; it may have become visible all the same.
    pub(crate) async fn publish(mut self) -> Result<(), StreamError> {
        let (remote, location) = (Arc::clone(&self.remote), self.location.clone());
        let (parts, bytes) = (self.parts.take(), std::mem::take(&mut self.buffer));
        run(async move {
            let published = match parts {
                Some(mut parts) => parts.complete().await,
                None => remote.store().put(&location, PutPayload::from(bytes)).await,
            };
            published
                .map(|_| ())
                .map_err(|error| remote.failed("write", &location, error))
        })
        .await
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let (Some(mut parts), Ok(handle)) = (self.parts.take(), handle()) {
            let name = self.remote.name_of(&self.location);
            handle.spawn(async move {
                if let Err(error) = parts.abort().await {
                    tracing::warn!(file = %name.display(), %error, "parts of an upload stay behind");
                }
            });
        }
    }
}
