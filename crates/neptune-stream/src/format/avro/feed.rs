//! Blocks on their way into the decoder, which wants to read a container file: they are put back into one, without
//! packing.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::format::avro::container::Block;

/// The marker of the files that are made here; the decoder does not look at it.
const MARKER: [u8; 16] = [0; 16];

/// The header of a file with unpacked blocks.
pub(crate) fn header(schema: &str) -> Vec<u8> {
    let mut out = b"Obj\x01".to_vec();
    long(1, &mut out);
    for bytes in [b"avro.schema".as_slice(), schema.as_bytes()] {
        long(bytes.len(), &mut out);
        out.extend_from_slice(bytes);
    }
    long(0, &mut out);
    out.extend_from_slice(&MARKER);
    out
}

fn long(value: usize, out: &mut Vec<u8>) {
    let mut rest = (value as u64) << 1;
    while rest >= 0x80 {
        out.push((rest as u8 & 0x7f) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// The end blocks are put into.
#[derive(Debug)]
pub(crate) struct Feeder(Sender<Vec<u8>>);

/// The end the decoder reads. It ends when there is nothing in it: whoever asks the decoder for rows must have put
/// as many in.
#[derive(Debug)]
pub(crate) struct Feed {
    blocks: Receiver<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
}

/// A feed that begins with the header of a file of this schema.
pub(crate) fn feed(schema: &str) -> (Feeder, Feed) {
    let (sender, blocks) = channel();
    let feed = Feed {
        blocks,
        current: header(schema),
        at: 0,
    };
    (Feeder(sender), feed)
}

impl Feeder {
    /// Puts a block in.
    pub(crate) fn put(&self, block: Block) {
        let mut bytes = Vec::with_capacity(block.data.len() + 40);
        long(block.rows, &mut bytes);
        long(block.data.len(), &mut bytes);
        bytes.extend_from_slice(&block.data);
        bytes.extend_from_slice(&MARKER);
        // The reader has the other end, and both are dropped together.
        let _ = self.0.send(bytes);
    }
}

impl Read for Feed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Feed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.current.len()
            && let Ok(next) = self.blocks.try_recv()
        {
            (self.current, self.at) = (next, 0);
        }
        Ok(self.current.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}
