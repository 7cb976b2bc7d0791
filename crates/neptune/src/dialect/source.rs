//! The text that was parsed and places in it.
//!
//! Every statement and every set of options keeps a shared handle to its [`Source`], so that a fault
//! found long after parsing (an unknown connector, a missing table) still points at file, line and column.

use std::fmt;

use super::error::DialectError;

/// A place in a [`Source`]: line and column, both counted from 1. A column is one character (not one byte).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from 1.
    pub line: u64,
    /// Character within the line, from 1.
    pub column: u64,
}

impl Position {
    /// The first character of a text.
    pub const START: Self = Self { line: 1, column: 1 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A word of the text together with where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Located {
    /// The word, without quotes; unquoted identifiers are lower-cased as DataFusion does.
    pub text: String,
    /// Its first character (the quote, if there is one).
    pub position: Position,
}

/// A named text, usually one SQL file.
pub struct Source {
    name: String,
    text: String,
    /// Byte offset of the first character of every line.
    line_starts: Vec<usize>,
    /// Columns are byte offsets then, which keeps one enormous line linear.
    ascii: bool,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("name", &self.name)
            .field("bytes", &self.text.len())
            .finish()
    }
}

impl Source {
    /// Keeps `text` under `name`, the name that messages use. A byte order mark at the start is dropped.
    #[must_use]
    pub fn new(name: impl Into<String>, text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self {
            name: name.into(),
            line_starts,
            ascii: text.is_ascii(),
            text,
        }
    }

    /// The name given at construction, such as a file's path.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Line `number` (from 1) without its line ending; empty if there is no such line.
    #[must_use]
    pub fn line(&self, number: u64) -> &str {
        let rest = self.text.get(self.line_start(number)..).unwrap_or("");
        let line = rest.split('\n').next().unwrap_or("");
        line.strip_suffix('\r').unwrap_or(line)
    }

    /// An error at `position` that shows the line it is about.
    #[must_use]
    pub fn error(&self, position: Position, what: impl Into<String>) -> DialectError {
        DialectError::new(self, position, what.into())
    }

    /// The text between two positions, the second one excluded.
    pub(super) fn slice(&self, start: Position, end: Position) -> &str {
        self.text
            .get(self.offset(start)..self.offset(end))
            .unwrap_or("")
    }

    fn line_start(&self, number: u64) -> usize {
        usize::try_from(number.saturating_sub(1))
            .ok()
            .and_then(|index| self.line_starts.get(index).copied())
            .unwrap_or(self.text.len())
    }

    /// Byte offset of `position`, at most the length of the text.
    fn offset(&self, position: Position) -> usize {
        let start = self.line_start(position.line);
        let skip = usize::try_from(position.column.saturating_sub(1)).unwrap_or(usize::MAX);
        let rest = self.text.get(start..).unwrap_or("");
        let within = if self.ascii {
            skip.min(rest.len())
        } else {
            rest.char_indices()
                .nth(skip)
                .map_or(rest.len(), |(at, _)| at)
        };
        start + within
    }
}
