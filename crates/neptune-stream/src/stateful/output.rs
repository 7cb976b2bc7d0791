//! What a micro-batch gives its sink: new rows, changed rows, or all rows.

use std::fmt;
use std::str::FromStr;

/// The output mode of a stream job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum OutputMode {
    /// Rows that will never change, each once.
    #[default]
    Append,
    /// The rows that changed, in their new form.
    Update,
    /// All rows of the result, each time.
    Complete,
}

impl OutputMode {
    /// All modes, by name.
    pub const NAMES: [&str; 3] = ["append", "update", "complete"];

    /// Its name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Update => "update",
            Self::Complete => "complete",
        }
    }
}

impl fmt::Display for OutputMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No output mode has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown output mode '{0}': use append, update or complete")]
pub struct UnknownOutputMode(pub String);

impl FromStr for OutputMode {
    type Err = UnknownOutputMode;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name.trim().to_ascii_lowercase().as_str() {
            "append" => Ok(Self::Append),
            "update" => Ok(Self::Update),
            "complete" => Ok(Self::Complete),
            _ => Err(UnknownOutputMode(name.to_owned())),
        }
    }
}
