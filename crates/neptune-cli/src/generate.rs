//! `neptune gen`: makes data sets, or what is missing of them.
//!
//! On a terminal a bar shows how far it is; elsewhere lines do, a few of them.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use neptune_gen::{GenError, shop, tpch};

/// How often the files of a data set are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Plain lines for a history.
const LINES: u64 = 10;

/// Arguments of `neptune gen`.
#[derive(Debug, Args)]
pub(crate) struct GenArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The events of a shop with attackers among its visitors
    Shop {
        /// Number of events
        #[arg(long, value_name = "N", default_value_t = 20_000_000)]
        rows: u64,
        /// Another seed gives another shop
        #[arg(long, value_name = "S", default_value_t = 7)]
        seed: u64,
        /// Where they go
        #[arg(long, value_name = "DIR", default_value = "data/shop")]
        dir: PathBuf,
    },
    /// The tables of TPC-H as Parquet files, and some orders as CSV and JSON
    Tpch {
        /// Scale factor: 1 is 6 million order lines
        #[arg(long, value_name = "S", default_value_t = 1.0)]
        scale: f64,
        /// Where they go [default: data/tpch-sf<S>]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// Makes the data set and says how long it took.
pub(crate) fn run(args: &GenArgs) -> ExitCode {
    let begun = Instant::now();
    let made = match &args.what {
        What::Shop { rows, seed, dir } => make_shop(dir, *rows, *seed),
        What::Tpch { scale, dir } => {
            let default = || neptune_bench::workload::default_data_dir(*scale);
            make_tpch(&dir.clone().unwrap_or_else(default), *scale)
        }
    };
    match made {
        Ok(made) => {
            let seconds = begun.elapsed().as_secs_f64();
            println!("{made} in {seconds:.1} s");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn make_shop(dir: &Path, rows: u64, seed: u64) -> Result<String, GenError> {
    let progress =
        Progress::new("{wide_bar} {human_pos}/{human_len} events, {per_sec}, {eta} left");
    progress.bar.set_length(rows);
    let mut lines = 0;
    let mut before = None;
    let history = shop::ensure_history(dir, rows, seed, |done| {
        let first = *before.get_or_insert(done);
        progress.bar.set_position(done);
        let tenths = done * LINES / rows.max(1);
        if tenths > lines && done > first {
            lines = tenths;
            progress.line(format_args!("{done} of {rows} events"));
        }
    })?;
    let made = if before.is_some() {
        "made"
    } else {
        "there already:"
    };
    let (files, dir) = (history.files.len(), history.dir.display());
    Ok(format!("{made} {rows} events in {files} files in {dir}"))
}

fn make_tpch(dir: &Path, scale: f64) -> Result<String, GenError> {
    let progress = Progress::new("{spinner} {msg}, {elapsed}");
    let before = Files::of(dir);
    let (ended, end) = mpsc::channel::<()>();
    let paths = thread::scope(|scope| {
        let maker = scope.spawn(move || {
            // Dropped at the end, however it comes.
            let _ended = ended;
            tpch::ensure_tpch(dir, scale)
        });
        let mut told = before.whole;
        while end.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
            let files = Files::of(dir);
            let megabytes = files.bytes / 1_000_000;
            progress
                .bar
                .set_message(format!("{} files made, {megabytes} MB", files.whole));
            progress.bar.tick();
            if files.whole > told {
                told = files.whole;
                progress.line(format_args!("{told} files made, {megabytes} MB"));
            }
        }
        let lost = |_| GenError::WorkerLost {
            path: dir.to_path_buf(),
        };
        maker.join().map_err(lost)?
    })?;
    let files = Files::of(dir);
    let made = if files.bytes == before.bytes {
        "there already:"
    } else {
        "made"
    };
    let (megabytes, dir) = (files.bytes / 1_000_000, paths.dir.display());
    Ok(format!(
        "{made} TPC-H at scale {scale}, {megabytes} MB in {dir}"
    ))
}

/// What there is of a data set.
struct Files {
    /// Files that have their final name.
    whole: usize,
    /// Size of all, those under way included.
    bytes: u64,
}

impl Files {
    fn of(dir: &Path) -> Self {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let mut files = Self { whole: 0, bytes: 0 };
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_data = !name.starts_with('.') && !name.starts_with("manifest.json");
            files.whole += usize::from(is_data && !name.ends_with(".tmp"));
            files.bytes += entry.metadata().map_or(0, |metadata| metadata.len());
        }
        files
    }
}

/// A bar on a terminal, lines elsewhere.
struct Progress {
    bar: ProgressBar,
    terminal: bool,
}

impl Progress {
    fn new(template: &str) -> Self {
        let terminal = io::stderr().is_terminal();
        let bar = if terminal {
            ProgressBar::no_length()
        } else {
            ProgressBar::hidden()
        };
        let style = ProgressStyle::with_template(template);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, terminal }
    }

    /// A line for those who see no bar.
    fn line(&self, text: std::fmt::Arguments<'_>) {
        if !self.terminal {
            eprintln!("{text}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_set_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        for (begins, again) in [("made", false), ("there already:", true)] {
            let said = make_shop(&dir.path().join("shop"), 5_000, 1).unwrap();
            assert!(said.starts_with(begins), "{said}, again: {again}");
            let said = make_tpch(&dir.path().join("tpch"), 0.001).unwrap();
            assert!(said.starts_with(begins), "{said}, again: {again}");
        }
        assert_eq!(Files::of(&dir.path().join("tpch")).whole, 10);
    }

    #[test]
    fn bad_sizes_are_refused_and_nothing_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none");
        assert!(make_shop(&path, 0, 1).is_err());
        assert!(make_tpch(&path, 0.0).is_err());
        assert!(!path.exists());
    }
}
