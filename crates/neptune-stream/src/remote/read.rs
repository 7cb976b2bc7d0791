//! One object, read range by range on a thread that may wait.

use std::io::{self, Read};
use std::sync::Arc;

use object_store::path::Path as ObjectPath;
use object_store::{GetOptions, ObjectStore};

use crate::remote::wait;

/// Bytes of one request: what is kept in memory of each file that is being read.
const RANGE_BYTES: u64 = 4 << 20;

pub(crate) struct ObjectRead {
    store: Arc<dyn ObjectStore>,
    location: ObjectPath,
    len: u64,
    /// Where the next request begins.
    next: u64,
    /// What the first answer said, so that all ranges are of the same object.
    tag: Option<String>,
    bytes: bytes::Bytes,
}

impl ObjectRead {
    /// Requests the first range of an object that had `len` bytes when it was found.
    pub(crate) fn open(
        store: Arc<dyn ObjectStore>,
        location: ObjectPath,
        len: u64,
    ) -> io::Result<Self> {
        let mut read = Self {
            store,
            location,
            len,
            next: 0,
            tag: None,
            bytes: bytes::Bytes::new(),
        };
        read.request()?;
        Ok(read)
    }

    fn request(&mut self) -> io::Result<()> {
        let end = self.len.min(self.next + RANGE_BYTES);
        if self.next >= end {
            return Ok(());
        }
        let (store, location) = (Arc::clone(&self.store), self.location.clone());
        let options = GetOptions::new()
            .with_range(Some(self.next..end))
            .with_if_match(self.tag.clone());
        let answer = wait(async move {
            let answer = async {
                let result = store.get_opts(&location, options).await?;
                let (size, tag) = (result.meta.size, result.meta.e_tag.clone());
                Ok::<_, object_store::Error>((result.bytes().await?, size, tag))
            };
            Ok(answer.await)
        });
        let (bytes, size, tag) = match answer.map_err(io::Error::other)? {
            Ok(answer) => answer,
            Err(object_store::Error::Precondition { .. }) => return Err(replaced()),
            Err(error) => return Err(error.into()),
        };
        if size != self.len || bytes.len() as u64 != end - self.next {
            return Err(replaced());
        }
        (self.bytes, self.next) = (bytes, end);
        self.tag = self.tag.take().or(tag);
        Ok(())
    }
}

fn replaced() -> io::Error {
    io::Error::other("it has been replaced since it was found")
}

impl Read for ObjectRead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.bytes.is_empty() {
            self.request()?;
        }
        let read = self.bytes.as_ref().read(buffer)?;
        let _ = self.bytes.split_to(read);
        Ok(read)
    }
}
