//! Batches on their way into a file: encoded, then packed, with yield points between.

use std::future::poll_fn;

use datafusion::arrow::array::RecordBatch;
use neptune_exec::yielding::poll_yield;

use crate::error::StreamError;
use crate::format::{Compression, Encoder, Packer};

/// Bytes packed between two yield points.
const PACK_BYTES: usize = 16 << 10;

/// Turns batches of one schema into the bytes of one file.
pub(crate) struct PackedEncoder {
    encoder: Encoder,
    compression: Compression,
    /// Made with the first bytes.
    packer: Option<Packer>,
    /// Encoded and not packed.
    plain: Vec<u8>,
    /// The bytes of the file, to be taken from here.
    pub(crate) ready: Vec<u8>,
}

impl PackedEncoder {
    pub(crate) fn new(encoder: Encoder, compression: Compression) -> Self {
        Self {
            encoder,
            compression,
            packer: None,
            plain: Vec::new(),
            ready: Vec::new(),
        }
    }

    /// Adds the rows of a batch.
    ///
    /// # Errors
    /// For a value that the format cannot hold.
    pub(crate) async fn encode(&mut self, batch: &RecordBatch) -> Result<(), StreamError> {
        if self.compression == Compression::None {
            self.encoder.encode(batch, &mut self.ready)?;
            return Ok(());
        }
        self.encoder.encode(batch, &mut self.plain)?;
        self.pack().await
    }

    async fn pack(&mut self) -> Result<(), StreamError> {
        if self.plain.is_empty() {
            return Ok(());
        }
        let packer = match &mut self.packer {
            Some(packer) => packer,
            none => none.insert(Packer::new(self.compression)?),
        };
        for piece in self.plain.chunks(PACK_BYTES) {
            poll_fn(poll_yield).await;
            packer.pack(piece, &mut self.ready)?;
        }
        self.plain.clear();
        Ok(())
    }

    /// Adds the end of the file. With `whole`, a file without rows is a packed one too, not just an empty one.
    ///
    /// # Errors
    /// As [`PackedEncoder::encode`].
    pub(crate) async fn finish(&mut self, whole: bool) -> Result<(), StreamError> {
        if self.compression == Compression::None {
            self.encoder.finish(&mut self.ready)?;
            return Ok(());
        }
        self.encoder.finish(&mut self.plain)?;
        self.pack().await?;
        if let (None, true) = (&self.packer, whole) {
            self.packer = Some(Packer::new(self.compression)?);
        }
        if let Some(packer) = self.packer.take() {
            packer.finish(&mut self.ready)?;
        }
        Ok(())
    }
}
