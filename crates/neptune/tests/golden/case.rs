//! The cases, their scripts, and what their outputs are compared with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use neptune::{Application, Console, RunOptions, Session, Summary};
use serde_json::{Map, Value};
use tokio::sync::watch;

/// One case.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    script: &'static str,
    /// The watermark of its input.
    watermark: &'static str,
    /// Its expected output is a changelog: rows in envelopes that say what became of them.
    pub(crate) changelog: bool,
    /// The column whose values tell the rows that a stream job gives again, changed; none if it gives each row once.
    pub(crate) key: Option<&'static str>,
}

macro_rules! case {
    ($name:literal, $watermark:literal, $changelog:literal) => {
        case!($name, $watermark, $changelog, None)
    };
    ($name:literal, $watermark:literal, $changelog:literal, $key:expr) => {
        Case {
            name: $name,
            script: include_str!(concat!("cases/", $name, ".sql")),
            watermark: $watermark,
            changelog: $changelog,
            key: $key,
        }
    };
}

pub(crate) const CASES: [Case; 7] = [
    case!(
        "hourly_by_event_type",
        "timestamp - INTERVAL '1 minute'",
        false
    ),
    case!("tight_watermark", "timestamp", false),
    case!("sliding_window_end", "timestamp", false),
    case!(
        "most_active_driver_last_hour",
        "timestamp - INTERVAL '1 hour'",
        false
    ),
    case!(
        "windowed_inner_join",
        "timestamp - INTERVAL '1 minute'",
        false
    ),
    case!("grouped_aggregates", "timestamp", true, Some("counter_mod")),
    case!("updating_inner_join", "timestamp", true),
];

/// How a case is run.
pub(crate) struct Way<'a> {
    /// Between the parentheses of `CREATE JOB … WITH (…)`.
    pub(crate) job: &'a str,
    /// The format of the output.
    pub(crate) format: &'a str,
    /// Whether windows name their time column; otherwise it is found by its `WATERMARK FOR`.
    pub(crate) names_time: bool,
    /// A directory with the inputs cut into many files, to be read instead of the whole ones.
    pub(crate) parts: Option<&'a Path>,
}

impl Case {
    /// The script that reads from the directory `golden` and writes to the file `output`.
    pub(crate) fn script(&self, golden: &Path, output: &Path, way: &Way<'_>) -> String {
        let watermark = match self.watermark {
            "timestamp" => ", WATERMARK FOR timestamp".to_owned(),
            expression => format!(", WATERMARK FOR timestamp AS {expression}"),
        };
        let input = |name: &str| match way.parts {
            None => {
                let file = golden.join("inputs").join(format!("{name}.json"));
                format!("connector = 'single_file', path = '{}'", file.display())
            }
            Some(parts) => {
                let directory = parts.join(name);
                format!(
                    "connector = 'filesystem', bounded = true, path = '{}'",
                    directory.display()
                )
            }
        };
        let (cars, impulse) = (input("cars"), input("impulse"));
        let output = output.to_string_lossy();
        let parts = [
            ("{watermark}", if way.names_time { "" } else { &watermark }),
            ("{time}", if way.names_time { "timestamp, " } else { "" }),
            ("{cars}", &cars),
            ("{impulse}", &impulse),
            ("{output}", &output),
            ("{format}", way.format),
            ("{job}", way.job),
        ];
        let script = self.script.to_owned();
        parts
            .iter()
            .fold(script, |script, (name, text)| script.replace(name, text))
    }

    /// The rows that the output must have in the end, sorted.
    pub(crate) fn expected(&self, golden: &Path) -> Vec<String> {
        let lines = objects(&golden.join("expected").join(format!("{}.json", self.name)));
        match self.changelog {
            true => merged(&lines),
            false => sorted(lines.iter()),
        }
    }
}

impl Case {
    /// The rows that are there after all that a stream job gave, sorted.
    pub(crate) fn left(&self, given: &[Map<String, Value>]) -> Vec<String> {
        let Some(key) = self.key else {
            return sorted(given.iter());
        };
        let last: BTreeMap<String, &Map<String, Value>> = given
            .iter()
            .map(|row| (row[key].to_string(), row))
            .collect();
        sorted(last.into_values())
    }
}

/// Where the files are, if they are somewhere.
pub(crate) fn golden() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden");
    let directory = std::env::var_os("NEPTUNE_GOLDEN").map_or_else(beside, PathBuf::from);
    let found = directory.join("expected").is_dir();
    if !found {
        println!(
            "skipped: there are no golden files in {} (NEPTUNE_GOLDEN)",
            directory.display()
        );
    }
    found.then_some(directory)
}

/// The JSON objects of a file, one a line.
pub(crate) fn objects(file: &Path) -> Vec<Map<String, Value>> {
    let text =
        std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let object =
        |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    text.lines()
        .filter(|line| !line.is_empty())
        .map(object)
        .collect()
}

/// Objects as text, each with its keys in order, sorted.
pub(crate) fn sorted<'a>(objects: impl Iterator<Item = &'a Map<String, Value>>) -> Vec<String> {
    let mut rows: Vec<String> = objects.map(text).collect();
    rows.sort();
    rows
}

fn text(object: &Map<String, Value>) -> String {
    let mut fields: Vec<String> = object
        .iter()
        .map(|(key, value)| format!("{key}: {value}"))
        .collect();
    fields.sort();
    fields.join(", ")
}

/// The rows that are there after all changes of a changelog, sorted.
pub(crate) fn merged(changes: &[Map<String, Value>]) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    for change in changes {
        let row = |side: &str| change.get(side).and_then(Value::as_object).map(text);
        if let Some(before) = row("before") {
            let at = rows.iter().position(|row| *row == before);
            rows.swap_remove(
                at.unwrap_or_else(|| panic!("a change of a row that is not there: {before}")),
            );
        }
        rows.extend(row("after"));
    }
    rows.sort();
    rows
}

/// Runs a script to its end in a session of its own.
pub(crate) async fn run(script: &str) -> Summary {
    let (_session, application) = load(script, 2).await;
    let (_stop, stopped) = watch::channel(false);
    application.run(stopped).await
}

/// A script in a session of its own.
pub(crate) async fn load(script: &str, slots: usize) -> (Session, Application) {
    let session = Session::builder().slots(slots).build().unwrap();
    let options = RunOptions {
        scale: 1.0,
        notify: Arc::new(|_, _| {}),
        on_rows: Arc::new(|_, _| {}),
        console: Console::new(std::io::sink()),
    };
    let application = Application::load(&session, "case.sql", script, options).await;
    let application = application.unwrap_or_else(|error| panic!("{error}"));
    (session, application)
}
