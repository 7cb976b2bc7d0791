//! Scripts in a session of their own, and the rows that their jobs write.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use neptune::{Application, Console, JobReport, RunOptions, Session, Summary};
use serde_json::{Map, Value};
use tempfile::TempDir;
use tokio::sync::watch;

/// A directory with inputs, and the script over it so far.
pub(crate) struct Scene {
    directory: TempDir,
    pub(crate) sql: String,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            sql: String::new(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn add(&mut self, sql: &str) {
        self.sql.push_str(sql);
        self.sql.push('\n');
    }

    /// Declares the directory `name` as a stream of rows with these columns.
    pub(crate) fn stream(&mut self, name: &str, columns: &str, bounded: bool) {
        let path = self.path(name);
        self.add(&format!(
            "CREATE TABLE {name} ({columns}) WITH (connector = 'filesystem', path = '{}', format = 'json', type = 'source', \
             bounded = {bounded});",
            path.display()
        ));
    }

    /// Writes the files of a stream, each given as its lines.
    pub(crate) fn files(&self, name: &str, files: &[&[&str]]) {
        let directory = self.path(name);
        std::fs::create_dir_all(&directory).unwrap();
        for (number, lines) in files.iter().enumerate() {
            let file = directory.join(format!("{number:03}.json"));
            std::fs::write(file, lines.join("\n") + "\n").unwrap();
        }
    }

    /// Declares the file `name` as a table to be written.
    pub(crate) fn sink(&mut self, name: &str) {
        let path = self.path(name);
        self.add(&format!(
            "CREATE TABLE {name} WITH (connector = 'single_file', path = '{}', format = 'json', type = 'sink');",
            path.display()
        ));
    }

    /// The rows of a written file, in their order.
    pub(crate) fn rows(&self, name: &str) -> Vec<Row> {
        objects(&self.path(name))
    }

    /// Loads the script in a session with so many slots; the text of the error if it is refused.
    pub(crate) async fn load(&self, slots: usize) -> Result<Application, String> {
        let session = Session::builder().slots(slots).build().unwrap();
        let options = RunOptions {
            scale: 1.0,
            notify: Arc::new(|_, _| {}),
            on_rows: Arc::new(|_, _| {}),
            console: Console::new(std::io::sink()),
        };
        let loaded = Application::load(&session, "app.sql", &self.sql, options).await;
        loaded.map_err(|error| error.to_string())
    }

    /// Runs the script to its own end.
    pub(crate) async fn run(&self, slots: usize) -> Summary {
        let ran = self.try_run(slots).await;
        ran.unwrap_or_else(|error| panic!("{}\n{error}", self.sql))
    }

    /// As [`Scene::run`], for what may be refused or fail.
    pub(crate) async fn try_run(&self, slots: usize) -> Result<Summary, String> {
        let application = self.load(slots).await?;
        let (_stop, stopped) = watch::channel(false);
        let summary = application.run(stopped).await;
        match summary.status {
            "ok" => Ok(summary),
            _ => Err(format!("{:?}", summary.jobs)),
        }
    }
}

pub(crate) type Row = Map<String, Value>;

fn objects(file: &Path) -> Vec<Row> {
    // A job without rows may leave no file.
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

/// A row as text, its columns in order; a column that is NULL does not show.
pub(crate) fn text(row: &Row) -> String {
    let shown = row.iter().filter(|(_, value)| !value.is_null());
    let mut fields: Vec<String> = shown
        .map(|(key, value)| format!("{key}: {value}"))
        .collect();
    fields.sort();
    fields.join(", ")
}

pub(crate) fn sorted(rows: &[Row]) -> Vec<String> {
    let mut rows: Vec<String> = rows.iter().map(text).collect();
    rows.sort();
    rows
}

pub(crate) fn report<'a>(summary: &'a Summary, name: &str) -> &'a JobReport {
    let found = summary.jobs.iter().find(|job| job.name == name);
    found.unwrap_or_else(|| panic!("no job {name} in {summary:?}"))
}
