//! Where a source has been read to: positions, ranges of them and caps on how much one trigger takes.

use serde::{Deserialize, Serialize};

use crate::error::StreamError;

/// A position in a source: everything before it has been read.
///
/// Written as JSON into the offset log, `{"rows":1200}` or `{"files":3}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Offset {
    /// Number of rows before this position (generators, sockets).
    Rows(u64),
    /// Number of files before this position, in the order in which the source found them.
    Files(u64),
}

/// How much one trigger may take from a source; `None` means no cap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// At most this many rows, for sources that count rows.
    pub max_rows: Option<u64>,
    /// At most this many files, for sources that count files.
    pub max_files: Option<u64>,
}

/// What one micro-batch reads of one source: from `start` up to, and without, `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetRange {
    /// First position read.
    pub start: Offset,
    /// First position not read.
    pub end: Offset,
}

impl Offset {
    /// The number inside: rows or files.
    pub fn position(self) -> u64 {
        match self {
            Offset::Rows(at) | Offset::Files(at) => at,
        }
    }

    /// The end of a range that starts here, reaches at most `latest` and respects `limits`.
    pub fn capped(self, latest: Offset, limits: &Limits) -> Offset {
        let cap = |start: u64, end: u64, most: Option<u64>| match most {
            // A cap of zero would never get anywhere.
            Some(most) => end.min(start.saturating_add(most.max(1))),
            None => end,
        };
        match (self, latest) {
            (Offset::Rows(start), Offset::Rows(end)) => {
                Offset::Rows(cap(start, end, limits.max_rows))
            }
            (Offset::Files(start), Offset::Files(end)) => {
                Offset::Files(cap(start, end, limits.max_files))
            }
            (_, latest) => latest,
        }
    }
}

impl OffsetRange {
    /// The range from `start` to `end`.
    pub fn new(start: Offset, end: Offset) -> Self {
        Self { start, end }
    }

    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.start.position() >= self.end.position()
    }

    /// The positions as row numbers.
    ///
    /// # Errors
    /// [`StreamError::Offset`] when the offsets are of another kind or run backwards.
    pub fn rows(&self, source: &str) -> Result<std::ops::Range<u64>, StreamError> {
        match (self.start, self.end) {
            (Offset::Rows(start), Offset::Rows(end)) if start <= end => Ok(start..end),
            _ => Err(self.misfit(source, "rows")),
        }
    }

    /// The positions as file numbers.
    ///
    /// # Errors
    /// [`StreamError::Offset`] when the offsets are of another kind or run backwards.
    pub fn files(&self, source: &str) -> Result<std::ops::Range<u64>, StreamError> {
        match (self.start, self.end) {
            (Offset::Files(start), Offset::Files(end)) if start <= end => Ok(start..end),
            _ => Err(self.misfit(source, "files")),
        }
    }

    fn misfit(&self, source: &str, unit: &str) -> StreamError {
        StreamError::Offset {
            name: source.to_owned(),
            reason: format!(
                "{:?} to {:?} is not a range of {unit} that runs forward",
                self.start, self.end
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_small_json() {
        for (offset, json) in [
            (Offset::Rows(12), r#"{"rows":12}"#),
            (Offset::Files(0), r#"{"files":0}"#),
        ] {
            assert_eq!(serde_json::to_string(&offset).unwrap(), json);
            assert_eq!(serde_json::from_str::<Offset>(json).unwrap(), offset);
        }
    }

    #[test]
    fn caps_bound_the_range_and_always_let_it_advance() {
        let rows = |most| Limits {
            max_rows: Some(most),
            max_files: None,
        };
        for (start, latest, limits, end) in [
            (10, 100, Limits::default(), 100),
            (10, 100, rows(20), 30),
            (95, 100, rows(20), 100),
            (10, 100, rows(0), 11),
            (u64::MAX - 1, u64::MAX, rows(20), u64::MAX),
        ] {
            assert_eq!(
                Offset::Rows(start).capped(Offset::Rows(latest), &limits),
                Offset::Rows(end)
            );
        }
        let files = Limits {
            max_rows: Some(1),
            max_files: Some(2),
        };
        assert_eq!(
            Offset::Files(1).capped(Offset::Files(9), &files),
            Offset::Files(3)
        );
    }

    #[test]
    fn a_range_of_another_kind_or_backwards_is_refused() {
        let mixed = OffsetRange::new(Offset::Rows(1), Offset::Files(2));
        assert!(mixed.rows("s").is_err() && mixed.files("s").is_err());
        let back = OffsetRange::new(Offset::Rows(3), Offset::Rows(2));
        assert!(back.rows("s").is_err() && back.is_empty());
    }
}
