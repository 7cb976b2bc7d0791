//! Each case as a stream job: in one micro-batch, in many, stopped or torn between them and begun again, and suspended at
//! random.

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use neptune::{AppJobState, Session, Summary};
use tokio::sync::watch;

use super::case::{CASES, Case, Way, golden, load, objects, run};
use super::parts::{Random, cut};

/// Files of each input where it comes in many micro-batches.
const PARTS: usize = 20;
/// More runs than any of these tests needs.
const RUNS: usize = 500;

/// What the parentheses of `CREATE JOB … WITH (…)` say.
fn options(case: &Case, more: &str) -> String {
    // An updated row is given again, as a row; what a changelog format would say is not compared here.
    let mode = match case.key {
        Some(_) => "update",
        None => "append",
    };
    format!("class = 'stream', output_mode = '{mode}'{more}")
}

fn script(case: &Case, golden: &Path, output: &Path, job: &str, parts: Option<&Path>) -> String {
    let way = Way {
        job,
        format: "json",
        names_time: false,
        parts,
    };
    case.script(golden, output, &way)
}

fn check(case: &Case, golden: &Path, output: &Path) {
    let left = case.left(&objects(output));
    assert_eq!(left, case.expected(golden), "{}", case.name);
}

fn is_finished(summary: &Summary) -> bool {
    assert_eq!(summary.status, "ok", "{summary:?}");
    summary
        .jobs
        .iter()
        .all(|job| job.state == AppJobState::Finished)
}

#[tokio::test]
async fn each_case_in_one_micro_batch_gives_what_is_expected() {
    let Some(golden) = golden() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    for case in &CASES {
        let output = directory.path().join(format!("{}.json", case.name));
        let summary = run(&script(case, &golden, &output, &options(case, ""), None)).await;
        assert!(is_finished(&summary));
        // The rows in one, and perhaps another that closes what they left open.
        assert!(summary.jobs[0].micro_batches <= 2, "{summary:?}");
        check(case, &golden, &output);
    }
}

#[tokio::test]
async fn each_case_in_many_micro_batches_gives_what_is_expected() {
    let Some(golden) = golden() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let parts = directory.path().join("parts");
    cut(&golden, &parts, PARTS);
    for case in &CASES {
        let output = directory.path().join(format!("{}.json", case.name));
        let job = options(case, ", max_files_per_trigger = 1");
        let summary = run(&script(case, &golden, &output, &job, Some(&parts))).await;
        assert!(is_finished(&summary));
        assert!(summary.jobs[0].micro_batches >= PARTS as u64);
        assert_eq!(summary.jobs[0].late_rows, 0, "{}", case.name);
        check(case, &golden, &output);
    }
}

/// How a run is ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// It is told to stop, and ends between two micro-batches.
    Stopped,
    /// It is dropped, wherever it is.
    Torn,
}

/// Runs a case again and again, each time cut off, until it ends by itself; gives how often it was cut off.
async fn again_and_again(
    case: &Case,
    golden: &Path,
    parts: &Path,
    how: Cut,
    random: &mut Random,
) -> u32 {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("output.json");
    let checkpoint = directory.path().join("checkpoint");
    let job = options(
        case,
        &format!(
            ", max_files_per_trigger = 1, checkpoint = '{}', checkpoint_fsync = 'false'",
            checkpoint.display()
        ),
    );
    let script = script(case, golden, &output, &job, Some(parts));
    let mut cuts = 0;
    for _ in 0..RUNS {
        // Another number of partitions each time.
        let slots = 1 + random.below(3) as usize;
        let (session, application) = load(&script, slots).await;
        let (stop, stopped) = watch::channel(false);
        let mut running = Box::pin(application.run(stopped));
        // Longer and longer, so that the longest micro-batch comes to its end some time.
        let longest = Duration::from_millis(60) * (1 + cuts / 8);
        let wait = random.time(longest);
        let ended = tokio::time::timeout(wait, &mut running).await.ok();
        let ended = match (ended, how) {
            (None, Cut::Stopped) => {
                stop.send_replace(true);
                Some(running.await)
            }
            (ended, _) => ended,
        };
        match ended {
            // A job that was torn may still be letting go of its checkpoint.
            Some(summary) if how == Cut::Torn && is_in_use(&summary) => {}
            Some(summary) if is_finished(&summary) => {
                check(case, golden, &output);
                return cuts;
            }
            _ => cuts += 1,
        }
        drop(session);
    }
    panic!("{} did not end in {RUNS} runs", case.name);
}

fn is_in_use(summary: &Summary) -> bool {
    let mut errors = summary.jobs.iter().filter_map(|job| job.error.as_ref());
    errors.any(|error| error.contains("is in use by"))
}

async fn each_case_again_and_again(how: Cut) {
    let Some(golden) = golden() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    cut(&golden, directory.path(), PARTS);
    let mut random = Random::from_seed();
    let mut cuts = 0;
    for case in &CASES {
        let of_case = again_and_again(case, &golden, directory.path(), how, &mut random).await;
        eprintln!("{}: {how:?} {of_case} times", case.name);
        cuts += of_case;
    }
    assert!(cuts > 2 * CASES.len() as u32, "only {cuts}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_case_stopped_and_started_gives_what_is_expected() {
    each_case_again_and_again(Cut::Stopped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_case_torn_and_started_gives_what_is_expected() {
    each_case_again_and_again(Cut::Torn).await;
}

/// Suspends and resumes the jobs of a session at random, until it is dropped.
async fn suspend_at_random(session: &Session, random: &mut Random) -> Infallible {
    loop {
        tokio::time::sleep(random.time(Duration::from_millis(8))).await;
        for job in session.executor().jobs() {
            job.suspend().await;
            tokio::time::sleep(random.time(Duration::from_millis(2))).await;
            job.resume();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_case_suspended_at_random_gives_what_is_expected() {
    let Some(golden) = golden() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let parts = directory.path().join("parts");
    cut(&golden, &parts, PARTS);
    let mut random = Random::from_seed();
    let mut suspensions = 0;
    for case in &CASES {
        let output = directory.path().join(format!("{}.json", case.name));
        let job = options(case, ", max_files_per_trigger = 1");
        let script = script(case, &golden, &output, &job, Some(&parts));
        let (session, application) = load(&script, 2).await;
        let (_stop, stopped) = watch::channel(false);
        let summary = tokio::select! {
            summary = application.run(stopped) => summary,
            never = suspend_at_random(&session, &mut random) => match never {},
        };
        assert!(is_finished(&summary));
        suspensions += summary.jobs[0].suspensions;
        check(case, &golden, &output);
    }
    eprintln!("{suspensions} suspensions of tasks");
    assert!(suspensions > 10, "{suspensions}");
}
