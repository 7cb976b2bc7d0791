//! What can go wrong in sources, sinks and tables: every error names the place (file, line, column or
//! option key) and, where there is one, the remedy.

use std::error::Error;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use datafusion::common::DataFusionError;

/// An error of the stream engine.
///
/// It travels through DataFusion as [`DataFusionError::External`]; [`StreamError::find`] gets it back from
/// whatever DataFusion wrapped around it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// No connector has this name.
    #[error("unknown connector '{name}'; the connectors are {known}{}", did_you_mean(.suggestion))]
    UnknownConnector {
        /// The name that was given.
        name: String,
        /// The names that exist, separated by commas.
        known: String,
        /// The closest name.
        suggestion: Option<String>,
    },
    /// No format has this name.
    #[error("unknown format '{name}'; the formats are {known}{}", did_you_mean(.suggestion))]
    UnknownFormat {
        /// The name that was given.
        name: String,
        /// The names that exist, separated by commas.
        known: String,
        /// The closest name.
        suggestion: Option<String>,
    },
    /// The connector has no such option.
    #[error("connector '{connector}' has no option '{key}'; its options are {known}{}", did_you_mean(.suggestion))]
    UnknownOption {
        /// The connector.
        connector: String,
        /// The option key that was given.
        key: String,
        /// The keys the connector takes, separated by commas.
        known: String,
        /// The closest key.
        suggestion: Option<String>,
    },
    /// An option has a value that cannot be used.
    #[error("option '{key}' = '{value}': {reason}; {help}")]
    Option {
        /// The option key.
        key: String,
        /// The value that was given.
        value: String,
        /// Why it cannot be used.
        reason: String,
        /// What would do.
        help: String,
    },
    /// An option that must be given is absent.
    #[error("connector '{connector}' needs option '{key}': {help}")]
    MissingOption {
        /// The connector.
        connector: String,
        /// The option key.
        key: String,
        /// What to write.
        help: String,
    },
    /// A part of the dialect that is planned and not built.
    #[error("{what} is not available yet: {plan}")]
    NotYet {
        /// What was asked for.
        what: String,
        /// What it waits for and what to use meanwhile.
        plan: String,
    },
    /// The operating system refused something.
    #[error("cannot {action} '{}': {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// A file whose bytes cannot be unpacked or understood; `on_error` does not pass over it, because nobody knows
    /// what it held.
    #[error("'{}' is damaged or not finished: {reason}; write it again, or take it out of the place", file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A record that does not fit its format or the column list.
    #[error("malformed record in '{}'{}{}: {reason}", file.display(), at_line(.line), at_column(.column))]
    Malformed {
        /// The file.
        file: PathBuf,
        /// The line where the record starts, counted from 1.
        line: Option<u64>,
        /// The column or (nested) field.
        column: Option<String>,
        /// What does not fit.
        reason: String,
    },
    /// Columns that do not fit.
    #[error("table '{table}': {reason}; {help}")]
    Schema {
        /// The table.
        table: String,
        /// What does not fit.
        reason: String,
        /// What to do.
        help: String,
    },
    /// Something the table cannot do.
    #[error("table '{table}' cannot be {what}: {help}")]
    Unsupported {
        /// The table.
        table: String,
        /// What was tried, as a participle.
        what: &'static str,
        /// Why, and what to do.
        help: String,
    },
    /// An offset that does not belong to its source.
    #[error("source '{name}': {reason}")]
    Offset {
        /// The source.
        name: String,
        /// What is wrong with the offset.
        reason: String,
    },
    /// A micro-batch that cannot be written (again).
    #[error("sink '{name}': {reason}")]
    Sink {
        /// The sink.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A query that cannot run as micro-batches, or not in its output mode.
    #[error("{what}; {help}")]
    Query {
        /// What cannot be.
        what: String,
        /// What to write instead.
        help: String,
    },
    /// An error of the state of a stream job.
    #[error(transparent)]
    State(#[from] neptune_state::StateError),
    /// An error of the engine underneath, most often of the query that feeds a sink.
    #[error(transparent)]
    DataFusion(Box<DataFusionError>),
}

impl StreamError {
    /// The [`StreamError`] inside an error of DataFusion, however deep.
    pub fn find(error: &DataFusionError) -> Option<&StreamError> {
        let mut next: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<StreamError>() {
                return Some(found);
            }
            next = error.source();
        }
        None
    }

    /// For `map_err` on an input or output operation.
    pub(crate) fn io<'a>(
        action: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> StreamError + 'a {
        move |source| StreamError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// Whether a file was to be read that is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, StreamError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// A helper thread or task that did not come back.
    pub(crate) fn lost(error: impl Display) -> StreamError {
        StreamError::from(DataFusionError::Execution(format!(
            "a file operation did not finish: {error}"
        )))
    }
}

impl From<StreamError> for DataFusionError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::DataFusion(inner) => *inner,
            other => DataFusionError::External(Box::new(other)),
        }
    }
}

impl From<DataFusionError> for StreamError {
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::External(inner) => match inner.downcast::<StreamError>() {
                Ok(found) => *found,
                Err(inner) => StreamError::DataFusion(Box::new(DataFusionError::External(inner))),
            },
            other => StreamError::DataFusion(Box::new(other)),
        }
    }
}

fn did_you_mean(suggestion: &Option<String>) -> String {
    suggestion
        .as_ref()
        .map(|name| format!("; did you mean '{name}'?"))
        .unwrap_or_default()
}

fn at_line(line: &Option<u64>) -> String {
    line.map(|line| format!(", line {line}"))
        .unwrap_or_default()
}

fn at_column(column: &Option<String>) -> String {
    column
        .as_ref()
        .map(|column| format!(", column '{column}'"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn malformed() -> StreamError {
        StreamError::Malformed {
            file: PathBuf::from("in/a.json"),
            line: Some(7),
            column: Some("qty".into()),
            reason: "\"x\" is not a number".into(),
        }
    }

    #[test]
    fn an_error_names_file_line_and_column() {
        assert_eq!(
            malformed().to_string(),
            "malformed record in 'in/a.json', line 7, column 'qty': \"x\" is not a number"
        );
    }

    #[test]
    fn the_error_is_found_again_under_what_datafusion_wraps_around_it() {
        let wrapped = DataFusionError::from(malformed())
            .context("while running a job")
            .context("again");
        assert!(matches!(
            StreamError::find(&wrapped),
            Some(StreamError::Malformed { line: Some(7), .. })
        ));
        let there_and_back = StreamError::from(DataFusionError::from(malformed()));
        assert!(matches!(there_and_back, StreamError::Malformed { .. }));
        assert!(StreamError::find(&DataFusionError::Plan("no".into())).is_none());
    }

    #[test]
    fn an_error_of_datafusion_is_not_wrapped_twice() {
        let error = StreamError::from(DataFusionError::Plan("no such column".into()));
        assert!(matches!(
            DataFusionError::from(error),
            DataFusionError::Plan(_)
        ));
    }
}
