//! Avro object container files: a header with the schema, then blocks of rows, each followed by the file's marker.
//!
//! Blocks are unpacked and walked over here; what is given on is sound. A file cut off between two blocks cannot be
//! told from a shorter one: the format has no end mark.

use std::io::Read;

use crate::error::StreamError;
use crate::format::avro::shape::{Bytes, Rows};
use crate::format::blocks::FileBytes;
use crate::format::{Compression, Packing};
use crate::source::{Access, FileEntry};

/// Bytes read at a time.
const READ_BYTES: usize = 256 << 10;
/// Largest header, and largest block, packed and unpacked. Writers make blocks of some ten thousand bytes.
const MOST_HEADER: usize = 16 << 20;
const MOST_BLOCK: usize = 128 << 20;

const MAGIC: &[u8] = b"Obj\x01";
const MARKER: usize = 16;

/// How blocks are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Codec {
    Null,
    Deflate,
    Snappy,
    Zstd,
}

/// Some rows, unpacked.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) rows: usize,
    pub(crate) data: Vec<u8>,
}

/// A container file, read from its beginning.
pub(crate) struct Container {
    entry: FileEntry,
    file: FileBytes,
    buffer: Vec<u8>,
    more: bool,
    codec: Codec,
    marker: [u8; MARKER],
    schema: String,
    shape: Rows,
    /// Rows in the blocks given so far.
    rows: u64,
}

impl Container {
    /// Opens a file and reads its header. Not for a thread that must not wait.
    ///
    /// # Errors
    /// [`StreamError::Io`]; [`StreamError::Corrupt`] when it is no such file, [`StreamError::Malformed`] when its
    /// schema makes no table.
    pub(crate) fn open(access: &Access, entry: &FileEntry) -> Result<Self, StreamError> {
        let mut file = FileBytes::open(access, entry, Packing::Always(Compression::None))?;
        let (mut buffer, mut more) = (Vec::new(), true);
        let header = loop {
            more = more && file.fill(&mut buffer, READ_BYTES)?;
            match Header::read(&buffer).map_err(|reason| corrupt(entry, reason))? {
                Some(header) => break header,
                None if more && buffer.len() <= MOST_HEADER => {}
                None => return Err(corrupt(entry, "it ends in its header")),
            }
        };
        let shape =
            Rows::new(header.schema.as_bytes()).map_err(|reason| StreamError::Malformed {
                file: entry.path.clone(),
                line: None,
                column: None,
                reason,
            })?;
        buffer.drain(..header.length);
        Ok(Self {
            entry: entry.clone(),
            file,
            buffer,
            more,
            codec: header.codec,
            marker: header.marker,
            schema: header.schema,
            shape,
            rows: 0,
        })
    }

    /// The schema, as JSON.
    pub(crate) fn schema(&self) -> &str {
        &self.schema
    }

    /// The next block that has rows; `None` at the end. Not for a thread that must not wait.
    ///
    /// # Errors
    /// [`StreamError::Io`]; [`StreamError::Corrupt`] when the block is not what the header and it itself promise.
    pub(crate) fn next(&mut self) -> Result<Option<Block>, StreamError> {
        loop {
            if self.buffer.is_empty() && !self.more {
                return Ok(None);
            }
            let Some((rows, start, end)) = self.frame()? else {
                if !self.more {
                    return Err(self.corrupt("it ends in the middle of a block"));
                }
                self.more = self.file.fill(&mut self.buffer, READ_BYTES)?;
                continue;
            };
            let packed = self.buffer.get(start..end).unwrap_or_default();
            let marker = self.buffer.get(end..end + MARKER);
            if marker != Some(self.marker.as_slice()) {
                return Err(self.corrupt("a block does not end with the file's marker"));
            }
            let data = unpack(self.codec, packed).map_err(|reason| self.corrupt(reason))?;
            self.buffer.drain(..end + MARKER);
            let before = self.rows;
            self.shape.walk(&data, rows).map_err(|(row, reason)| {
                self.corrupt(format!("row {}: {reason}", before + row as u64 + 1))
            })?;
            self.rows += rows as u64;
            if rows > 0 {
                return Ok(Some(Block { rows, data }));
            }
        }
    }

    /// Rows of the next block and where its data begins and ends; `None` when not all of it is here.
    fn frame(&self) -> Result<Option<(usize, usize, usize)>, StreamError> {
        let mut bytes = Bytes::new(&self.buffer);
        let (Some(rows), Some(length)) = (bytes.long(), bytes.long()) else {
            // Two numbers have twenty bytes at most.
            return match self.buffer.len() < 20 {
                true => Ok(None),
                false => Err(self.corrupt("a block does not begin with its measures")),
            };
        };
        let measures = (usize::try_from(rows), usize::try_from(length));
        let (Ok(rows), Ok(length)) = measures else {
            return Err(self.corrupt("a block has negative measures"));
        };
        if length > MOST_BLOCK {
            return Err(self.corrupt(format!(
                "a block has {length} bytes, more than {MOST_BLOCK}"
            )));
        }
        let start = self.buffer.len() - bytes.rest.len();
        let end = start + length;
        Ok((end + MARKER <= self.buffer.len()).then_some((rows, start, end)))
    }

    fn corrupt(&self, reason: impl Into<String>) -> StreamError {
        corrupt(&self.entry, reason)
    }
}

fn corrupt(entry: &FileEntry, reason: impl Into<String>) -> StreamError {
    StreamError::Corrupt {
        file: entry.path.clone(),
        reason: reason.into(),
    }
}

struct Header {
    schema: String,
    codec: Codec,
    marker: [u8; MARKER],
    length: usize,
}

impl Header {
    /// The header at the beginning of `buffer`; `None` when not all of it is here.
    fn read(buffer: &[u8]) -> Result<Option<Self>, String> {
        let magic = buffer.get(..MAGIC.len()).unwrap_or(buffer);
        if !MAGIC.starts_with(magic) {
            return Err("it is not an Avro object container file".to_owned());
        }
        let mut bytes = Bytes::new(buffer);
        let Some((schema, codec, marker)) = Self::parts(&mut bytes) else {
            return Ok(None);
        };
        let schema = schema.ok_or("its header has no schema")?;
        let schema = std::str::from_utf8(schema).map_err(|_| "its schema is no text")?;
        let codec = match codec.unwrap_or(b"null") {
            b"null" => Codec::Null,
            b"deflate" => Codec::Deflate,
            b"snappy" => Codec::Snappy,
            b"zstandard" => Codec::Zstd,
            other => {
                return Err(format!(
                    "its blocks are packed with '{}', which is none of null, deflate, snappy and zstandard",
                    String::from_utf8_lossy(other)
                ));
            }
        };
        Ok(Some(Self {
            schema: schema.to_owned(),
            codec,
            marker,
            length: buffer.len() - bytes.rest.len(),
        }))
    }

    #[allow(clippy::type_complexity)]
    fn parts<'a>(
        bytes: &mut Bytes<'a>,
    ) -> Option<(Option<&'a [u8]>, Option<&'a [u8]>, [u8; MARKER])> {
        bytes.take(MAGIC.len())?;
        let (mut schema, mut codec) = (None, None);
        loop {
            let count = bytes.long()?;
            if count < 0 {
                bytes.long()?;
            }
            if count == 0 {
                break;
            }
            for _ in 0..count.unsigned_abs() {
                let (key, value) = (bytes.bytes()?, bytes.bytes()?);
                match key {
                    b"avro.schema" => schema = Some(value),
                    b"avro.codec" => codec = Some(value),
                    _ => {}
                }
            }
        }
        let marker = bytes.take(MARKER)?.try_into().ok()?;
        Some((schema, codec, marker))
    }
}

fn unpack(codec: Codec, packed: &[u8]) -> Result<Vec<u8>, String> {
    let too_large = || format!("a block unpacks to more than {MOST_BLOCK} bytes");
    let failed = |error: std::io::Error| format!("a block cannot be unpacked: {error}");
    let all = |reader: &mut dyn Read| {
        let mut data = Vec::new();
        reader
            .take(MOST_BLOCK as u64 + 1)
            .read_to_end(&mut data)
            .map_err(failed)?;
        match data.len() > MOST_BLOCK {
            true => Err(too_large()),
            false => Ok(data),
        }
    };
    match codec {
        Codec::Null => Ok(packed.to_vec()),
        Codec::Deflate => all(&mut flate2::read::DeflateDecoder::new(packed)),
        Codec::Zstd => all(&mut zstd::Decoder::with_buffer(packed).map_err(failed)?),
        Codec::Snappy => {
            let (packed, sum) = packed
                .split_last_chunk::<4>()
                .ok_or("a block lacks its checksum")?;
            let failed = |error: snap::Error| format!("a block cannot be unpacked: {error}");
            if snap::raw::decompress_len(packed).map_err(failed)? > MOST_BLOCK {
                return Err(too_large());
            }
            let data = snap::raw::Decoder::new()
                .decompress_vec(packed)
                .map_err(failed)?;
            let mut crc = flate2::Crc::new();
            crc.update(&data);
            match crc.sum() == u32::from_be_bytes(*sum) {
                true => Ok(data),
                false => Err("a block does not have its checksum".to_owned()),
            }
        }
    }
}
