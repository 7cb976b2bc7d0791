//! `neptune run`: runs an application and says what it did.

mod progress;

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use neptune::datafusion::arrow::record_batch::RecordBatch;
use neptune::datafusion::arrow::util::pretty::pretty_format_batches;
use neptune::{Application, Console, NeptuneError, PolicyName, RunOptions, Session, Summary};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use progress::Display;

/// How often progress is shown: often enough to look alive, on a terminal.
const REFRESH: Duration = Duration::from_millis(200);

/// Runs an application: a SQL file with tables and jobs.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// The SQL file.
    file: PathBuf,
    /// A setting to begin with, such as neptune.job.class=stream; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    settings: Vec<(String, String)>,
    /// Tasks that run at a time [default: the cores this process may use].
    #[arg(long)]
    slots: Option<NonZeroUsize>,
    /// Scheduling policy: fifo, fair, static, priority, kill or neptune.
    #[arg(long)]
    policy: Option<PolicyName>,
    /// When to stop: `end`, when all sources are read, or a time such as '60 s'.
    #[arg(long, default_value = "end", value_parser = until)]
    until: Until,
    /// Multiplies the rows of generated data sets.
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    scale: f64,
    /// Writes every task's history to this file, as JSON lines.
    #[arg(long, value_name = "FILE")]
    event_log: Option<PathBuf>,
    /// Writes what each micro-batch of stream jobs did to this file, as JSON lines.
    #[arg(long, value_name = "FILE")]
    progress_log: Option<PathBuf>,
    /// Ends with a summary as one JSON object on the last line of standard output.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy)]
enum Until {
    End,
    After(Duration),
}

/// Has each micro-batch written to `path` as a line of JSON.
fn log_progress(session: &Session, path: &Path) -> Result<(), NeptuneError> {
    let file = std::fs::File::create(path).map_err(|source| NeptuneError::File {
        path: path.display().to_string(),
        source,
    })?;
    let (file, path) = (Mutex::new(std::io::LineWriter::new(file)), path.to_owned());
    session.listeners().add(move |micro_batch| {
        let line = serde_json::to_vec(micro_batch).map_err(std::io::Error::from);
        let written = line.and_then(|mut line| {
            line.push(b'\n');
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.write_all(&line)
        });
        if let Err(error) = written {
            tracing::warn!(%error, "cannot write to {}", path.display());
        }
    });
    Ok(())
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

fn until(text: &str) -> Result<Until, String> {
    if text.eq_ignore_ascii_case("end") {
        return Ok(Until::End);
    }
    let time = neptune::dialect::parse_duration(text);
    time.map(Until::After)
        .ok_or_else(|| "write `end`, or a time such as '60 s'".to_owned())
}

fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "write a number")?;
    if number > 0.0 && number.is_finite() {
        Ok(number)
    } else {
        Err("must be above 0".to_owned())
    }
}

/// Runs the application; 0 only if every job ended well.
pub(crate) fn run(args: &RunArgs) -> ExitCode {
    match try_run(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tell(&format!("error: {error}"));
            if args.json {
                // The fields of a summary, of an application that never began.
                let summary = serde_json::json!({
                    "status": "failed",
                    "error": error.to_string(),
                    "wall_s": 0.0,
                    "jobs": [],
                    "app": {},
                });
                say(&summary.to_string());
            }
            ExitCode::FAILURE
        }
    }
}

fn try_run(args: &RunArgs) -> Result<bool, NeptuneError> {
    let file = args.file.display().to_string();
    let text = std::fs::read_to_string(&args.file).map_err(|source| NeptuneError::File {
        path: file.clone(),
        source,
    })?;
    let mut builder = Session::builder();
    for (key, value) in &args.settings {
        builder = builder.set(key, value)?;
    }
    if let Some(slots) = args.slots {
        builder = builder.slots(slots.get());
    }
    if let Some(policy) = args.policy {
        builder = builder.policy(policy);
    }
    let session = builder.build()?;
    if let Some(path) = &args.event_log {
        session
            .executor()
            .write_events_to(path)
            .map_err(|source| NeptuneError::File {
                path: path.display().to_string(),
                source,
            })?;
    }
    if let Some(path) = &args.progress_log {
        log_progress(&session, path)?;
    }
    // Waits and draws; what computes runs on the session's own threads.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| NeptuneError::File {
            path: "the main thread's runtime".to_owned(),
            source,
        })?;
    let summary = runtime.block_on(watch_run(args, &session, &file, &text))?;
    if let Err(source) = session.executor().flush_events() {
        let path = args
            .event_log
            .as_ref()
            .map(|p| p.display().to_string())
            .unwrap_or_default();
        return Err(NeptuneError::File { path, source });
    }
    if args.json {
        let json = serde_json::to_string(&summary).map_err(|error| NeptuneError::File {
            path: "the summary".to_owned(),
            source: error.into(),
        })?;
        say(&json);
    }
    Ok(summary.status == "ok")
}

/// Prints a line to standard output; nothing can be done where nobody reads it.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints a line to standard error; jobs go on where nobody reads it or the disk is full.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

async fn watch_run(
    args: &RunArgs,
    session: &Session,
    file: &str,
    text: &str,
) -> Result<Summary, NeptuneError> {
    let display = Display::new();
    let (on_note, on_rows, console) = (display.clone(), display.clone(), display.clone());
    let options = RunOptions {
        scale: args.scale,
        notify: Arc::new(move |done, of| on_note.generating(done, of)),
        on_rows: Arc::new(move |name, batches| {
            // As with `say`.
            let _ = on_rows.print(&table(name, batches));
        }),
        console: Console::new(Printer {
            display: console,
            line: Vec::new(),
        }),
    };
    let (stop, stopped) = watch::channel(false);
    let mut interrupts = Interrupts::new().map_err(|source| NeptuneError::File {
        path: "the signals of this process".to_owned(),
        source,
    })?;
    let loading = Application::load(session, file, text, options);
    let application = tokio::select! {
        loaded = loading => loaded?,
        () = interrupts.next() => {
            display.finish(&[]);
            return Err(NeptuneError::File {
                path: file.to_owned(),
                source: std::io::Error::new(std::io::ErrorKind::Interrupted, "interrupted while loading"),
            });
        }
    };
    let begun = Instant::now();
    let running = application.run(stopped);
    tokio::pin!(running);
    let mut refresh = tokio::time::interval(REFRESH);
    let mut interrupted = false;
    let summary = loop {
        let deadline = match args.until {
            Until::After(time) if !*stop.borrow() => Some(begun + time),
            _ => None,
        };
        tokio::select! {
            summary = &mut running => break summary,
            _ = refresh.tick() => display.show(&application.reports()),
            _ = sleep_until(deadline) => {
                display.note("the time is up: stopping");
                let _ = stop.send(true);
            }
            () = interrupts.next() => {
                if std::mem::replace(&mut interrupted, true) {
                    display.finish(&application.reports());
                    std::process::exit(130);
                }
                display.note("interrupted: finishing what is under way (again to give up at once)");
                let _ = stop.send(true);
            }
        }
    };
    display.finish(&application.reports());
    display.summary(&summary, session.executor().policy());
    Ok(summary)
}

/// Ctrl-C and the request to terminate. Listens from its creation on, so that none is lost between two calls.
struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn table(name: &str, batches: &[RecordBatch]) -> String {
    match pretty_format_batches(batches) {
        Ok(table) => format!("{name}:\n{table}"),
        Err(error) => format!("{name}: cannot be shown: {error}"),
    }
}

/// Hands whole lines to the display, so that they do not run into the progress lines.
struct Printer {
    display: Display,
    line: Vec<u8>,
}

impl Write for Printer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.line.extend_from_slice(bytes);
        if let Some(end) = self.line.iter().rposition(|byte| *byte == b'\n') {
            let rest = self.line.split_off(end + 1);
            let lines = std::mem::replace(&mut self.line, rest);
            let lines = String::from_utf8_lossy(&lines);
            self.display.print(lines.trim_end_matches('\n'))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
