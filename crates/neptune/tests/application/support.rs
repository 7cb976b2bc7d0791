//! Sessions, applications and their output.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use neptune::datafusion::arrow::array::RecordBatch;
use neptune::datafusion::arrow::util::pretty::pretty_format_batches;
use neptune::{Application, Console, JobReport, PolicyName, RunOptions, Session, Summary};
use parking_lot::Mutex;
use tokio::sync::watch;

/// What takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn session(policy: PolicyName, slots: usize) -> Session {
    Session::builder()
        .policy(policy)
        .slots(slots)
        .build()
        .unwrap()
}

/// A query's name and the rows it gave.
type Given = (String, Vec<RecordBatch>);

/// What applications hand to their caller.
#[derive(Clone, Default)]
pub(crate) struct Output {
    rows: Arc<Mutex<Vec<Given>>>,
    printed: Arc<Mutex<Vec<u8>>>,
}

struct Printed(Arc<Mutex<Vec<u8>>>);

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Output {
    /// Options that collect here, with generated data sets of that scale.
    pub(crate) fn options(&self, scale: f64) -> RunOptions {
        let rows = Arc::clone(&self.rows);
        RunOptions {
            scale,
            notify: Arc::new(|_, _| {}),
            on_rows: Arc::new(move |name, batches| {
                rows.lock().push((name.to_owned(), batches.to_vec()));
            }),
            console: Console::new(Printed(Arc::clone(&self.printed))),
        }
    }

    /// The rows of the query `name`, which must have given rows once: each line one row.
    pub(crate) fn rows_of(&self, name: &str) -> Vec<String> {
        let rows = self.rows.lock();
        let mut given = rows.iter().filter(|(query, _)| query == name);
        let (_, batches) = given.next().unwrap_or_else(|| panic!("no rows of {name}"));
        assert!(given.next().is_none(), "{name} gave its rows twice");
        lines(batches)
    }

    pub(crate) fn printed(&self) -> String {
        String::from_utf8(self.printed.lock().clone()).unwrap()
    }
}

/// The rows of batches, their values separated by blanks.
pub(crate) fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let table = pretty_format_batches(batches).unwrap().to_string();
    let rows = table.lines().filter(|line| line.starts_with('|')).skip(1);
    rows.map(|row| {
        let values: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        values.join(" ")
    })
    .collect()
}

/// The rows of a query, run through the session's context.
pub(crate) async fn ask(session: &Session, sql: &str) -> Vec<String> {
    let query = session.context().sql(sql).await.unwrap();
    lines(&query.collect().await.unwrap())
}

pub(crate) async fn load(session: &Session, sql: &str, options: RunOptions) -> Application {
    let loaded = Application::load(session, "app.sql", sql, options).await;
    loaded.unwrap_or_else(|error| panic!("{error}"))
}

/// Runs an application to its own end.
pub(crate) async fn run(session: &Session, sql: &str, output: &Output) -> Summary {
    run_until(&load(session, sql, output.options(1.0)).await, |_| false).await
}

/// Runs an application until it ends or its jobs stand as wanted.
pub(crate) async fn run_until(
    application: &Application,
    wanted: impl Fn(&[JobReport]) -> bool,
) -> Summary {
    let (stop, stopped) = watch::channel(false);
    let running = application.run(stopped);
    tokio::pin!(running);
    let begun = Instant::now();
    let mut look = tokio::time::interval(Duration::from_millis(5));
    loop {
        tokio::select! {
            summary = &mut running => return summary,
            _ = look.tick() => {
                let reports = application.reports();
                assert!(begun.elapsed() < LIMIT, "hangs: {reports:?}");
                if wanted(&reports) {
                    stop.send_replace(true);
                }
            }
        }
    }
}

/// Waits until `holds`, which other threads bring about without telling.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LIMIT, "never: {what}");
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
}

/// Asserts that all jobs ended well; gives the report of one.
pub(crate) fn report<'a>(summary: &'a Summary, name: &str) -> &'a JobReport {
    assert_eq!(summary.status, "ok", "{summary:?}");
    named(&summary.jobs, name)
}

pub(crate) fn named<'a>(reports: &'a [JobReport], name: &str) -> &'a JobReport {
    let found = reports.iter().find(|report| report.name == name);
    found.unwrap_or_else(|| panic!("no job {name} in {reports:?}"))
}

/// A path as it stands in SQL.
pub(crate) fn quoted(directory: &Path, name: &str) -> String {
    format!("'{}'", directory.join(name).display())
}
