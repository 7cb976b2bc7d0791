//! What is said to a user whose SQL is refused.

use super::source::{Position, Source};

/// Longest stretch of a source line shown in a message, in characters.
const EXCERPT_WIDTH: usize = 140;

/// SQL that was refused: where, what is wrong, and, where we know it, what to do.
///
/// `Display` is the whole message: `app.sql:12:8: unknown keyword …`, the source line with a caret under
/// the fault, and the help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {what}\n{excerpt}{}", help_line(.help.as_deref()))]
#[non_exhaustive]
pub struct DialectError {
    /// Name of the text, usually the path of a SQL file.
    pub file: String,
    /// Line of the fault, from 1.
    pub line: u64,
    /// Column of the fault in characters, from 1.
    pub column: u64,
    /// What is wrong, without the place.
    pub what: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The source line with the caret below it.
    excerpt: String,
}

impl DialectError {
    pub(super) fn new(source: &Source, position: Position, what: String) -> Self {
        Self {
            file: source.name().to_owned(),
            line: position.line,
            column: position.column,
            what,
            help: None,
            excerpt: excerpt(source.line(position.line), position),
        }
    }

    /// The same error with advice.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same error with advice if there is any, else unchanged.
    #[must_use]
    pub(super) fn with_optional_help(self, help: Option<String>) -> Self {
        match help {
            Some(help) => self.with_help(help),
            None => self,
        }
    }

    /// The place of the fault.
    #[must_use]
    pub fn position(&self) -> Position {
        Position {
            line: self.line,
            column: self.column,
        }
    }
}

fn help_line(help: Option<&str>) -> String {
    help.map(|help| format!("\nhelp: {help}"))
        .unwrap_or_default()
}

/// The line with its number, and a caret under `position`; only the neighbourhood of the fault if the line is long.
fn excerpt(line: &str, position: Position) -> String {
    let fault = usize::try_from(position.column.saturating_sub(1)).unwrap_or(usize::MAX);
    let length = line.chars().count();
    let first = if length > EXCERPT_WIDTH {
        fault
            .saturating_sub(EXCERPT_WIDTH / 2)
            .min(length - EXCERPT_WIDTH)
    } else {
        0
    };
    let shown: String = line
        .chars()
        .skip(first)
        .take(EXCERPT_WIDTH)
        // A terminal must not be steered by a SQL file.
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect();
    let (before, after) = (
        if first > 0 { "…" } else { "" },
        if first + EXCERPT_WIDTH < length {
            "…"
        } else {
            ""
        },
    );
    // Tabs stay tabs, so that the caret lands under the fault whatever the terminal's tab width is.
    let indent: String = before
        .chars()
        .chain(shown.chars())
        .take(fault - first.min(fault) + before.chars().count())
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    let number = position.line.to_string();
    let gutter = " ".repeat(number.len());
    format!("{gutter} |\n{number} | {before}{shown}{after}\n{gutter} | {indent}^")
}
