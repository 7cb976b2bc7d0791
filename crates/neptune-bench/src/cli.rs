//! The command line of `neptune bench`, and the way from it to a suite and its report.
//!
//! The program's `main` must call [`hogs::hog_main`](crate::hogs::hog_main) before anything else and
//! [`run`] before it starts a thread, since both make this program start itself again.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{self, Write};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::error::{BenchError, Result};
use crate::hogs::Hogs;
use crate::quota;
use crate::suite::{Context, Findings, Suite};
use crate::workload::{self, Workload};

/// Whether stream threads run under a real-time class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Realtime {
    /// Where the system allows it.
    Auto,
    /// Yes; an error where the system refuses.
    On,
    /// No.
    Off,
}

impl From<Realtime> for neptune_exec::Realtime {
    fn from(given: Realtime) -> Self {
        match given {
            Realtime::Auto => Self::Auto,
            Realtime::On => Self::On,
            Realtime::Off => Self::Off,
        }
    }
}

/// Arguments of `neptune bench`.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// What to measure: preempt, suspend, overhead or stream
    pub suite: String,
    /// Seconds that each case is measured
    #[arg(long, value_name = "N", default_value_t = 30.0)]
    pub secs: f64,
    /// Measure only these cases
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Seed of everything random
    #[arg(long, value_name = "S", default_value_t = 42)]
    pub seed: u64,
    /// Write the report as JSON; `-` makes it the last line of standard output
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
    /// Write charts as SVG files
    #[arg(long, value_name = "DIR")]
    pub svg: Option<PathBuf>,
    /// Scale factor of the TPC-H data
    #[arg(long, value_name = "SF", default_value_t = 1.0)]
    pub scale: f64,
    /// Where the TPC-H data is, or is to be generated
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Slots of the executor and threads of each runtime [default: the cores usable here]
    #[arg(long, value_name = "N")]
    pub slots: Option<NonZero<usize>>,
    /// Run under a limit of so many cores' worth of CPU time
    #[arg(long, value_name = "CORES")]
    pub cpu_quota: Option<f64>,
    /// Run beside so many busy processes
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub hogs: usize,
    /// Real-time class for stream threads
    #[arg(long, value_enum, default_value_t = Realtime::Auto)]
    pub realtime: Realtime,
    /// A setting of the Neptune sessions, such as neptune.yield.target='200 us'; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    pub settings: Vec<(String, String)>,
    /// Batch queries of `preempt`, such as q1,q18,sort [default: the 22 queries, a sort, an aggregation]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub batch_query: Vec<String>,
    /// How many batch queries run at a time in `preempt`
    #[arg(long, value_name = "N", default_value = "1")]
    pub batch_loops: NonZero<usize>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

impl BenchArgs {
    /// Where the data is or will be.
    pub fn data_dir(&self) -> PathBuf {
        let given = self.data.clone();
        given.unwrap_or_else(|| workload::default_data_dir(self.scale))
    }

    fn check(&self) -> Result<()> {
        if !(self.secs > 0.0 && self.secs <= 86_400.0) {
            return Err(BenchError::Setting {
                option: "secs",
                value: self.secs.to_string(),
                reason: "it must be more than 0 and at most a day",
            });
        }
        Ok(())
    }

    /// The settings that shape the figures.
    fn settings(&self, slots: usize) -> BTreeMap<String, Value> {
        let realtime = match self.realtime {
            Realtime::Auto => "auto",
            Realtime::On => "on",
            Realtime::Off => "off",
        };
        [
            ("secs", json!(self.secs)),
            ("scale", json!(self.scale)),
            ("slots", json!(slots)),
            ("cpu_quota", json!(self.cpu_quota)),
            ("hogs", json!(self.hogs)),
            ("realtime", json!(realtime)),
            ("batch_query", json!(self.batch_query)),
            ("batch_loops", json!(self.batch_loops)),
        ]
        .into_iter()
        .chain((!self.settings.is_empty()).then(|| {
            let given = self.settings.iter().cloned();
            ("set", json!(given.collect::<BTreeMap<_, _>>()))
        }))
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }
}

/// Runs the suite that the arguments name and writes its findings: tables to standard output, the
/// report and the charts where asked for, progress to standard error. `allocator` is what the program
/// installed as its memory allocator, for the report.
///
/// With `--cpu-quota` this process only makes the control group and the hogs, and starts itself again
/// for the rest.
///
/// # Errors
/// When the arguments make no sense, or the suite cannot be run or its findings not be written.
pub fn run(args: &BenchArgs, suites: &[Box<dyn Suite>], allocator: &str) -> Result<ExitCode> {
    args.check()?;
    let suite = find_suite(suites, &args.suite)?;
    if quota::enter()? {
        return measure(args, suite, allocator, &mut || Ok(()));
    }
    // Before anything competes for the cores.
    prepare_data(args)?;
    // Hogs are other people's processes: they run outside of our quota.
    let mut hogs = Hogs::start(args.hogs)?;
    match args.cpu_quota {
        None => measure(args, suite, allocator, &mut || hogs.check()),
        Some(cores) => {
            let status = quota::run_inside(cores, this_program_again()?)?;
            hogs.check()?;
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
        }
    }
}

fn find_suite<'a>(suites: &'a [Box<dyn Suite>], name: &str) -> Result<&'a dyn Suite> {
    let found = suites.iter().find(|suite| suite.name() == name);
    found
        .map(|suite| &**suite)
        .ok_or_else(|| BenchError::Unknown {
            kind: "suite",
            name: name.to_owned(),
            known: suites
                .iter()
                .map(|suite| suite.name())
                .collect::<Vec<_>>()
                .join(", "),
        })
}

fn this_program_again() -> Result<Command> {
    let program = env::current_exe().map_err(|source| BenchError::Start {
        what: "this program again: its path is unknown",
        source,
    })?;
    let mut command = Command::new(program);
    command.args(env::args_os().skip(1));
    Ok(command)
}

fn prepare_data(args: &BenchArgs) -> Result<()> {
    let made = neptune_gen::tpch::ensure_tpch(&args.data_dir(), args.scale);
    made.map_err(|error| BenchError::Data(error.to_string()))?;
    Ok(())
}

fn measure(
    args: &BenchArgs,
    suite: &dyn Suite,
    allocator: &str,
    check: &mut dyn FnMut() -> Result<()>,
) -> Result<ExitCode> {
    let usable = thread::available_parallelism().map_or(1, NonZero::get);
    let slots = args.slots.map_or(usable, NonZero::get);
    let (dir, queries) = (args.data_dir(), &args.batch_query);
    let mut workload = Workload::tpch(&dir, args.scale, slots, queries, args.seed)?;
    workload.loops = args.batch_loops.get();
    let mut context = Context {
        workload,
        secs: args.secs,
        only: args.only.clone(),
        seed: args.seed,
        settings: args.settings(slots),
        allocator: allocator.to_owned(),
        progress: &mut io::stderr(),
        check,
    };
    if cfg!(debug_assertions) {
        context.tell("this is a debug build: its figures say nothing about speed");
    }
    let findings = suite.run(&mut context)?;
    write(args, &findings)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes charts and report before the tables, so that a reader who sees the tables has all.
fn write(args: &BenchArgs, findings: &Findings) -> Result<()> {
    if let Some(dir) = &args.svg {
        for chart in &findings.charts {
            let path = chart.write(dir)?;
            tracing::info!(path = %path.display(), "chart written");
        }
    }
    let to_stdout = args.json.as_deref() == Some(Path::new("-"));
    if let Some(path) = args.json.as_deref().filter(|_| !to_stdout) {
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            fs::create_dir_all(dir).map_err(|source| BenchError::io("create", dir, source))?;
        }
        findings.report.write_file(path)?;
    }
    let mut out = io::stdout().lock();
    let failed = |source| BenchError::io("write", "standard output", source);
    for table in &findings.tables {
        table.write(&mut out).map_err(failed)?;
        writeln!(out).map_err(failed)?;
    }
    if to_stdout {
        findings.report.write_line(&mut out)?;
    }
    out.flush().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::Baseline;
    use crate::preempt::Preempt;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        bench: BenchArgs,
    }

    fn parse(line: &str) -> BenchArgs {
        Cli::try_parse_from(line.split(' ')).unwrap().bench
    }

    fn suites() -> Vec<Box<dyn Suite>> {
        let shared = || Box::new(Baseline::shared_runtime());
        vec![Box::new(Preempt::new(
            shared(),
            vec![shared()],
            neptune_exec::Realtime::Off,
        ))]
    }

    #[test]
    fn arguments_are_read() {
        let args = parse(
            "neptune preempt --secs 5 --only neptune,os_only --seed 7 --json - --cpu-quota 1.5 \
             --hogs 2 --realtime off --batch-query q1,sort --slots 4 \
             --set neptune.yield.target=200us --set a.b=c=d"
                .replace("             ", "")
                .as_str(),
        );
        assert_eq!((args.secs, args.seed, args.hogs), (5.0, 7, 2));
        assert_eq!(args.only, ["neptune", "os_only"]);
        assert_eq!(args.batch_query, ["q1", "sort"]);
        let set = args.settings(4).remove("set").unwrap();
        assert_eq!(set, json!({"neptune.yield.target": "200us", "a.b": "c=d"}));
        assert_eq!((args.cpu_quota, args.realtime), (Some(1.5), Realtime::Off));
        assert_eq!(args.data_dir(), PathBuf::from("data/tpch-sf1"));
        for bad in [
            "neptune preempt --slots 0",
            "neptune preempt --realtime maybe",
            "neptune preempt --set neptune.yield.target",
            "neptune",
        ] {
            assert!(Cli::try_parse_from(bad.split(' ')).is_err(), "{bad}");
        }
    }

    #[test]
    fn nonsense_is_refused_before_anything_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let cases = [
            ("neptune sleep", "unknown suite `sleep`; known: preempt"),
            (
                "neptune preempt --secs 0",
                "--secs 0: it must be more than 0",
            ),
            ("neptune preempt --secs NaN", "--secs NaN"),
        ];
        for (line, expected) in cases {
            let mut args = parse(line);
            args.data = Some(data.clone());
            let error = run(&args, &suites(), "system").unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
            assert!(!data.exists(), "{line}");
        }
        let mut args = parse("neptune preempt --scale 0 --data x");
        args.data = Some(data);
        assert!(run(&args, &suites(), "system").is_err());
    }

    #[test]
    fn a_run_leaves_report_and_charts_where_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let mut args =
            parse("neptune preempt --secs 0.5 --scale 0.001 --batch-query q6,q1 --slots 2");
        args.data = Some(path("data"));
        args.json = Some(path("out/report.json"));
        args.svg = Some(path("charts"));
        run(&args, &suites(), "system").unwrap();
        let report = fs::read_to_string(path("out/report.json")).unwrap();
        let json: Value = serde_json::from_str(&report).unwrap();
        assert_eq!(json["suite"], "preempt");
        assert_eq!(json["settings"]["slots"], 2);
        assert_eq!(json["versions"]["allocator"], "system");
        assert_eq!(json["cases"][1]["name"], "shared_runtime");
        assert!(json["query_s"]["q06"].as_f64().unwrap() > 0.0, "{json}");
        for chart in ["preempt-latency.svg", "preempt-distribution.svg"] {
            assert!(path("charts").join(chart).exists(), "{chart}");
        }
    }
}
