//! The outside of every binary file: a header that says what the file is, and checksums.
//!
//! ```text
//! magic 8 | format version 2 | kind 1 | zero 1 | part 4 | run 8 | micro-batch 8 | length 8 | CRC of content 4 | CRC of header 4
//! ```
//! All numbers are little-endian, both checksums are CRC-32. This header stays as it is in all later format versions.

use crate::StateError;
use crate::error::Damage;

const MAGIC: [u8; 8] = *b"NPTNSTAT";
const VERSION: u16 = 1;
pub(crate) const HEADER: usize = 48;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Offsets = 1,
    Commit = 2,
    Snapshot = 3,
    Part = 4,
}

/// Which file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) kind: Kind,
    pub(crate) run: u64,
    pub(crate) number: u64,
    /// Of a snapshot's part, its index; else 0.
    pub(crate) part: u32,
}

impl Label {
    /// Where the file is in its checkpoint.
    pub(crate) fn path(&self) -> String {
        match self.kind {
            Kind::Offsets => format!("offsets/{}", self.number),
            Kind::Commit => format!("commits/{}", self.number),
            Kind::Snapshot => format!("snapshots/{}", self.number),
            Kind::Part => format!("snapshots/{}.{}", self.number, self.part),
        }
    }
}

/// The header for `content`, which may be in several pieces.
pub(crate) fn header(label: &Label, content: &[&[u8]]) -> [u8; HEADER] {
    let mut crc = crc32fast::Hasher::new();
    let mut length = 0u64;
    for piece in content {
        crc.update(piece);
        length += piece.len() as u64;
    }
    let mut header = [0; HEADER];
    header[0..8].copy_from_slice(&MAGIC);
    header[8..10].copy_from_slice(&VERSION.to_le_bytes());
    header[10] = label.kind as u8;
    header[12..16].copy_from_slice(&label.part.to_le_bytes());
    header[16..24].copy_from_slice(&label.run.to_le_bytes());
    header[24..32].copy_from_slice(&label.number.to_le_bytes());
    header[32..40].copy_from_slice(&length.to_le_bytes());
    header[40..44].copy_from_slice(&crc.finalize().to_le_bytes());
    let crc = crc32fast::hash(&header[..44]);
    header[44..48].copy_from_slice(&crc.to_le_bytes());
    header
}

/// The checksum of the content that a header announces.
pub(crate) fn content_crc(header: &[u8; HEADER]) -> u32 {
    u32_at(header, 40)
}

/// The content of `file`, which must be the one that `label` says. `path` is how errors name it.
///
/// # Errors
/// [`StateError::Damaged`] in all its forms.
pub(crate) fn open<'a>(path: &str, label: &Label, file: &'a [u8]) -> Result<&'a [u8], StateError> {
    check(label, file).map_err(|damage| StateError::Damaged {
        path: path.to_owned(),
        damage,
    })
}

fn check<'a>(label: &Label, file: &'a [u8]) -> Result<&'a [u8], Damage> {
    let found = file.len() as u64;
    let Some((header, content)) = file.split_first_chunk::<HEADER>() else {
        let start = &file[..file.len().min(MAGIC.len())];
        return Err(if MAGIC.starts_with(start) {
            Damage::Truncated {
                found,
                expected: HEADER as u64,
            }
        } else {
            Damage::NotOurs
        });
    };
    if header[..8] != MAGIC {
        return Err(Damage::NotOurs);
    }
    if crc32fast::hash(&header[..44]) != u32_at(header, 44) {
        return Err(Damage::Header);
    }
    let version = u16::from_le_bytes([header[8], header[9]]);
    if version > VERSION {
        return Err(Damage::Newer {
            found: u32::from(version),
            known: u32::from(VERSION),
        });
    }
    let run = u64_at(header, 16);
    if run != label.run {
        return Err(Damage::OtherRun {
            found: run,
            expected: label.run,
        });
    }
    let said = (header[10], u64_at(header, 24), u32_at(header, 12));
    if said != (label.kind as u8, label.number, label.part) {
        return Err(Damage::Misplaced {
            found: describe(said.0, said.1, said.2),
            expected: describe(label.kind as u8, label.number, label.part),
        });
    }
    let expected = HEADER as u64 + u64_at(header, 32);
    if found < expected {
        return Err(Damage::Truncated { found, expected });
    }
    if found > expected {
        return Err(Damage::TooLong { found, expected });
    }
    if crc32fast::hash(content) != content_crc(header) {
        return Err(Damage::Content);
    }
    Ok(content)
}

fn describe(kind: u8, number: u64, part: u32) -> String {
    match kind {
        1 => format!("the offsets of micro-batch {number}"),
        2 => format!("the commit of micro-batch {number}"),
        3 => format!("the snapshot at micro-batch {number}"),
        4 => format!("part {part} of the snapshot at micro-batch {number}"),
        _ => format!("a file of unknown kind {kind}"),
    }
}

fn u32_at(header: &[u8; HEADER], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&header[at..at + 4]);
    u32::from_le_bytes(bytes)
}

fn u64_at(header: &[u8; HEADER], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&header[at..at + 8]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: Label = Label {
        kind: Kind::Commit,
        run: 7,
        number: 12,
        part: 0,
    };

    fn file(label: &Label, content: &[u8]) -> Vec<u8> {
        [header(label, &[content]).as_slice(), content].concat()
    }

    #[test]
    fn each_kind_of_damage_is_told_apart() {
        let good = file(&LABEL, b"content");
        assert_eq!(check(&LABEL, &good), Ok(&b"content"[..]));
        let with = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut file = good.clone();
            change(&mut file);
            check(&LABEL, &file).unwrap_err()
        };
        let truncated = |found| Damage::Truncated {
            found,
            expected: 55,
        };
        assert_eq!(with(&|file| file.truncate(54)), truncated(54));
        assert_eq!(with(&|file| file.truncate(48)), truncated(48));
        for short in [0, 5, 47] {
            assert_eq!(
                with(&|file| file.truncate(short)),
                Damage::Truncated {
                    found: short as u64,
                    expected: 48
                }
            );
        }
        assert_eq!(
            with(&|file| file.push(0)),
            Damage::TooLong {
                found: 56,
                expected: 55
            }
        );
        assert_eq!(with(&|file| file[0] = b'X'), Damage::NotOurs);
        assert_eq!(check(&LABEL, b"hello").unwrap_err(), Damage::NotOurs);
        assert_eq!(with(&|file| file[25] ^= 1), Damage::Header);
        assert_eq!(with(&|file| file[50] ^= 1), Damage::Content);
        let newer = |file: &mut Vec<u8>| {
            file[8] = 9;
            let crc = crc32fast::hash(&file[..44]);
            file[44..48].copy_from_slice(&crc.to_le_bytes());
        };
        assert_eq!(with(&newer), Damage::Newer { found: 9, known: 1 });
        let other = file(&Label { run: 8, ..LABEL }, b"content");
        assert_eq!(
            check(&LABEL, &other).unwrap_err(),
            Damage::OtherRun {
                found: 8,
                expected: 7
            }
        );
        for other in [
            Label {
                number: 13,
                ..LABEL
            },
            Label {
                kind: Kind::Offsets,
                ..LABEL
            },
            Label { part: 1, ..LABEL },
        ] {
            assert!(matches!(
                check(&LABEL, &file(&other, b"content")).unwrap_err(),
                Damage::Misplaced { .. }
            ));
        }
    }
}
