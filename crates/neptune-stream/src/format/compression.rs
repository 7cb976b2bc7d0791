//! Compression of row-format files: gzip and zstd around JSON and CSV.
//!
//! A file may consist of several gzip members or zstd frames one after the other, which is how rows are appended
//! to a compressed file. Reading goes block by block, so that a file that unpacks to much more than memory is
//! no danger.

use std::io::{self, Read, Write};
use std::path::Path;

use datafusion::common::Result;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

/// Level of gzip: its own default.
const GZIP_LEVEL: u32 = 6;
/// Level of zstd: its own default.
const ZSTD_LEVEL: i32 = 3;
/// Largest window a zstd frame may ask for, as a power of two: 128 MiB, what the `zstd` program allows too.
const ZSTD_WINDOW_LOG: u32 = 27;

/// How the bytes of a file are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, RFC 1952.
    Gzip,
    /// Zstandard, RFC 8878.
    Zstd,
}

/// Option `compression`: one for all files, or for each file by its ending.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Packing {
    /// `.gz` is gzip, `.zst` and `.zstd` are zstd, everything else is not packed.
    #[default]
    ByEnding,
    /// The same for every file, whatever it is called.
    Always(Compression),
}

impl Packing {
    /// The values of option `compression`.
    pub(crate) const NAMES: [(&'static str, Packing); 4] = [
        ("auto", Packing::ByEnding),
        ("none", Packing::Always(Compression::None)),
        ("gzip", Packing::Always(Compression::Gzip)),
        ("zstd", Packing::Always(Compression::Zstd)),
    ];

    /// How the file called `path` is packed.
    pub fn of(self, path: &Path) -> Compression {
        match self {
            Packing::Always(compression) => compression,
            Packing::ByEnding => match path.extension().and_then(|ending| ending.to_str()) {
                Some("gz") => Compression::Gzip,
                Some("zst" | "zstd") => Compression::Zstd,
                _ => Compression::None,
            },
        }
    }

    /// How the files of a directory are written, which have no name yet.
    pub fn of_new_files(self) -> Compression {
        match self {
            Packing::Always(compression) => compression,
            Packing::ByEnding => Compression::None,
        }
    }
}

impl Compression {
    /// What a file name gets at its end, with the dot.
    pub fn ending(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Zstd => ".zst",
        }
    }

    /// Whether a file that begins with `bytes` may be packed so.
    pub(crate) fn may_begin(self, bytes: &[u8]) -> bool {
        match self {
            Compression::None => true,
            Compression::Gzip => bytes.starts_with(&[0x1f, 0x8b]),
            Compression::Zstd => bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]),
        }
    }

    /// Unpacks what `packed` gives.
    pub(crate) fn unpack<R: Read + Send + 'static>(
        self,
        packed: R,
    ) -> io::Result<Box<dyn Read + Send>> {
        let packed = io::BufReader::with_capacity(64 << 10, packed);
        Ok(match self {
            Compression::None => Box::new(packed),
            Compression::Gzip => Box::new(MultiGzDecoder::new(packed)),
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(packed)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
        })
    }
}

/// Packs bytes as they come.
pub(crate) enum Packer {
    None,
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::Encoder<'static, Vec<u8>>),
}

impl Packer {
    pub(crate) fn new(compression: Compression) -> Result<Self> {
        Ok(match compression {
            Compression::None => Packer::None,
            Compression::Gzip => {
                let level = flate2::Compression::new(GZIP_LEVEL);
                Packer::Gzip(GzEncoder::new(Vec::new(), level))
            }
            Compression::Zstd => {
                let mut encoder = zstd::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
                encoder.include_checksum(true)?;
                Packer::Zstd(encoder)
            }
        })
    }

    /// Takes `bytes` in and puts what is packed into `out`.
    pub(crate) fn pack(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        match self {
            Packer::None => out.extend_from_slice(bytes),
            Packer::Gzip(encoder) => {
                encoder.write_all(bytes)?;
                out.append(encoder.get_mut());
            }
            Packer::Zstd(encoder) => {
                encoder.write_all(bytes)?;
                out.append(encoder.get_mut());
            }
        }
        Ok(())
    }

    /// Puts the end of the member or frame into `out`.
    pub(crate) fn finish(self, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Packer::None => {}
            Packer::Gzip(encoder) => out.append(&mut encoder.finish()?),
            Packer::Zstd(encoder) => out.append(&mut encoder.finish()?),
        }
        Ok(())
    }
}

/// `bytes` as one member or frame.
pub(crate) fn packed(compression: Compression, bytes: &[u8]) -> Result<Vec<u8>> {
    let (mut packer, mut out) = (Packer::new(compression)?, Vec::new());
    packer.pack(bytes, &mut out)?;
    packer.finish(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_decides_unless_the_option_does() {
        for (name, by_ending) in [
            ("a.json", Compression::None),
            ("a.json.gz", Compression::Gzip),
            ("a.csv.zst", Compression::Zstd),
            ("a.zstd", Compression::Zstd),
            ("gz", Compression::None),
        ] {
            assert_eq!(Packing::ByEnding.of(Path::new(name)), by_ending, "{name}");
            for (_, packing) in &Packing::NAMES[1..] {
                assert_eq!(packing.of(Path::new(name)), packing.of_new_files());
            }
        }
    }

    #[test]
    fn members_one_after_the_other_unpack_as_one_text() {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let text: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
            let (mut packer, mut bytes) = (Packer::new(compression).unwrap(), vec![]);
            for piece in text.chunks(1000) {
                packer.pack(piece, &mut bytes).unwrap();
            }
            packer.finish(&mut bytes).unwrap();
            bytes.extend(packed(compression, b"").unwrap());
            bytes.extend(packed(compression, b"end").unwrap());
            assert!(compression.may_begin(&bytes));
            let mut back = Vec::new();
            let mut reader = compression.unpack(io::Cursor::new(bytes)).unwrap();
            reader.read_to_end(&mut back).unwrap();
            assert!(
                back == [text.as_slice(), b"end"].concat(),
                "{compression:?}"
            );
        }
    }
}
