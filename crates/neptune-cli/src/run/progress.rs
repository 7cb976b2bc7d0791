//! What a person sees while an application runs: one line a job on a terminal, plain lines elsewhere.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use neptune::{JobReport, PolicyName, Summary};
use parking_lot::Mutex;

use super::tell;

/// How often plain lines are written.
const PLAIN_EVERY: Duration = Duration::from_secs(2);

struct Inner {
    bars: Vec<ProgressBar>,
    generating: Option<ProgressBar>,
    last_plain: Option<Instant>,
    style: ProgressStyle,
}

/// The progress display; clones draw on the same lines. Rows and summary go to standard output, the rest to
/// standard error.
#[derive(Clone)]
pub(super) struct Display {
    multi: MultiProgress,
    inner: Arc<Mutex<Inner>>,
    terminal: bool,
}

impl Display {
    pub(super) fn new() -> Self {
        let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let style = ProgressStyle::with_template("{spinner} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let inner = Inner {
            bars: Vec::new(),
            generating: None,
            last_plain: None,
            style,
        };
        Self {
            multi: MultiProgress::new(),
            inner: Arc::new(Mutex::new(inner)),
            terminal,
        }
    }

    /// Shows where the jobs stand.
    pub(super) fn show(&self, reports: &[JobReport]) {
        let mut inner = self.inner.lock();
        if self.terminal {
            while inner.bars.len() < reports.len() {
                let bar = self
                    .multi
                    .add(ProgressBar::new_spinner().with_style(inner.style.clone()));
                inner.bars.push(bar);
            }
            for (bar, report) in inner.bars.iter().zip(reports) {
                bar.set_message(line(report));
                bar.tick();
            }
        } else if inner
            .last_plain
            .is_none_or(|last| last.elapsed() >= PLAIN_EVERY)
        {
            inner.last_plain = Some(Instant::now());
            for report in reports {
                tell(&line(report));
            }
        }
    }

    /// Shows how far the making of a data set is.
    pub(super) fn generating(&self, done: u64, of: u64) {
        let mut inner = self.inner.lock();
        if !self.terminal {
            if inner
                .last_plain
                .is_none_or(|last| last.elapsed() >= PLAIN_EVERY)
                || done == of
            {
                inner.last_plain = Some(Instant::now());
                tell(&format!("generating events: {done} of {of}"));
            }
            return;
        }
        let bar = inner.generating.get_or_insert_with(|| {
            let style = ProgressStyle::with_template(
                "generating events {bar:32} {human_pos} of {human_len}, {eta} to go",
            );
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            self.multi.add(ProgressBar::new(of).with_style(style))
        });
        bar.set_position(done);
        if done >= of {
            bar.finish_and_clear();
            inner.generating = None;
        }
    }

    /// Says something above the progress lines.
    pub(super) fn note(&self, text: &str) {
        if self.terminal {
            // Fails only where the terminal is gone.
            let _ = self.multi.println(text);
        } else {
            tell(text);
        }
    }

    /// Prints rows to standard output, above the progress lines.
    pub(super) fn print(&self, text: &str) -> std::io::Result<()> {
        self.multi.suspend(|| writeln!(std::io::stdout(), "{text}"))
    }

    /// Leaves the last state of the lines standing, on a terminal.
    pub(super) fn finish(&self, reports: &[JobReport]) {
        if self.terminal {
            self.show(reports);
        }
        for bar in &self.inner.lock().bars {
            bar.abandon();
        }
    }

    /// Says what was done.
    pub(super) fn summary(&self, summary: &Summary, policy: PolicyName) {
        if !self.terminal {
            for report in &summary.jobs {
                tell(&line(report));
            }
        }
        for report in &summary.jobs {
            if let Some(error) = &report.error {
                tell(&format!("error: job {}: {error}", report.name));
            }
        }
        tell(&format!(
            "{} after {:.1} s under policy {policy}",
            summary.status, summary.wall_s
        ));
        for (name, value) in &summary.app {
            match value.as_f64() {
                Some(number) if !value.is_u64() && !value.is_i64() => {
                    tell(&format!("  {name} {number:.4}"));
                }
                _ => tell(&format!("  {name} {value}")),
            }
        }
    }
}

fn line(report: &JobReport) -> String {
    let state = serde_json::to_value(report.state);
    let state = state
        .as_ref()
        .ok()
        .and_then(|s| s.as_str())
        .unwrap_or_default()
        .to_owned();
    let runs = if report.class.name() == "stream" {
        "batches"
    } else {
        "passes"
    };
    format!(
        "{:<12} {:<6} {:<8} in {:>12} out {:>9} {:>6} {runs:<7} p50 {:>8.2} ms p99 {:>8.2} ms suspended {:>6} (p99 {:.2} ms)",
        report.name,
        report.class,
        state,
        report.rows_in,
        report.rows_out,
        report.micro_batches,
        report.latency_ms.p50,
        report.latency_ms.p99,
        report.suspensions,
        report.suspend_ms.p99,
    )
}
