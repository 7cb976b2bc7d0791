//! What comes too late is dropped and counted, what is over is forgotten, and who waits for whom.

use neptune::{AppJobState, JobReport};
use tokio::sync::watch;

use super::support::{Scene, report, sorted};

const COLUMNS: &str = "ts TIMESTAMP, k TEXT, WATERMARK FOR ts AS ts - INTERVAL '5 seconds'";

/// Rows at these seconds, as the lines of one file.
fn at(seconds: &[u64]) -> Vec<String> {
    let row = |second: &u64| {
        let (minutes, second) = (second / 60, second % 60);
        let (hours, minutes) = (minutes / 60, minutes % 60);
        format!("{{\"ts\": \"2024-01-01T{hours:02}:{minutes:02}:{second:02}\", \"k\": \"x\"}}")
    };
    seconds.iter().map(row).collect()
}

fn write(scene: &Scene, name: &str, files: &[&[u64]]) {
    let files: Vec<Vec<String>> = files.iter().map(|seconds| at(seconds)).collect();
    let lines: Vec<Vec<&str>> = files
        .iter()
        .map(|lines| lines.iter().map(String::as_str).collect())
        .collect();
    let lines: Vec<&[&str]> = lines.iter().map(Vec::as_slice).collect();
    scene.files(name, &lines);
}

#[tokio::test]
async fn rows_of_what_was_closed_are_dropped_and_counted() {
    const TUMBLE: &str =
        "SELECT tumble(INTERVAL '10 seconds') AS w, count(*) AS n FROM a GROUP BY 1";
    const HOP: &str = "SELECT hop(INTERVAL '10 seconds', INTERVAL '20 seconds') AS w, count(*) AS n FROM a GROUP BY 1";
    const DISTINCT: &str = "SELECT DISTINCT ts FROM a";
    const JOIN: &str = "SELECT x.ts, y.k FROM a AS x JOIN a AS y ON x.ts = y.ts";
    const RANKED: &str = "SELECT w, row_number() OVER (PARTITION BY w ORDER BY ts) AS n FROM \
                          (SELECT tumble(INTERVAL '10 seconds') AS w, ts FROM a) AS t";
    // The query, its files, the rows that are dropped, and those that it writes in all.
    let cases: [(&str, &[&[u64]], u64, usize); 9] = [
        (TUMBLE, &[&[1, 2], &[15], &[3]], 1, 2),
        // The watermark is at 9, a second before the window ends.
        (TUMBLE, &[&[1, 2], &[14], &[3]], 0, 2),
        // In the micro-batch that brings time on, nothing is late yet.
        (TUMBLE, &[&[1, 100, 2]], 0, 2),
        (TUMBLE, &[&[100], &[101], &[3, 104, 89, 95]], 2, 2),
        // One of the two windows of the row is over, the other is not.
        (HOP, &[&[11], &[25], &[12]], 1, 3),
        (DISTINCT, &[&[10], &[20], &[10, 14, 15, 15]], 2, 3),
        (DISTINCT, &[&[10], &[10, 12]], 0, 2),
        (JOIN, &[&[10], &[20], &[10, 20]], 2, 5),
        (RANKED, &[&[1, 2], &[15], &[3, 16]], 1, 4),
    ];
    for (query, files, late, rows) in cases {
        let mut scene = Scene::new();
        write(&scene, "a", files);
        scene.stream("a", COLUMNS, true);
        scene.sink("out");
        scene.add(&format!(
            "CREATE JOB j WITH (class = 'stream', max_files_per_trigger = 1) AS INSERT INTO out {query};"
        ));
        let summary = scene.run(2).await;
        let job = report(&summary, "j");
        let written = sorted(&scene.rows("out"));
        assert_eq!(
            (job.late_rows, written.len()),
            (late, rows),
            "{query} over {files:?}: {written:#?}"
        );
        assert_eq!(job.state_rows, 0, "{query} over {files:?}");
    }
}

#[tokio::test]
async fn what_is_over_is_forgotten() {
    let hours: Vec<Vec<u64>> = (0..60)
        .map(|file| (0..40).map(|row| file * 40 + row).collect())
        .collect();
    let files: Vec<&[u64]> = hours.iter().map(Vec::as_slice).collect();
    for (query, most) in [
        (
            "SELECT tumble(INTERVAL '10 seconds') AS w, count(*) AS n FROM a GROUP BY 1",
            3,
        ),
        ("SELECT DISTINCT ts, k FROM a", 8),
        (
            "SELECT x.ts FROM a AS x JOIN a AS y ON x.k = y.k AND x.ts BETWEEN y.ts - INTERVAL '5 seconds' AND y.ts",
            60,
        ),
        (
            "SELECT x.ts FROM a AS x LEFT JOIN a AS y ON x.ts = y.ts AND y.k = 'z'",
            40,
        ),
        (
            "SELECT w, row_number() OVER (PARTITION BY w ORDER BY ts) AS n FROM \
             (SELECT tumble(INTERVAL '10 seconds') AS w, ts FROM a) AS t",
            20,
        ),
        (
            "SELECT tumble(window_time(w), INTERVAL '30 seconds') AS wide, max(n) AS n FROM \
             (SELECT tumble(INTERVAL '10 seconds') AS w, count(*) AS n FROM a GROUP BY 1) AS t GROUP BY 1",
            5,
        ),
    ] {
        let mut scene = Scene::new();
        write(&scene, "a", &files);
        // Without an end, so that what is left is not closed by it.
        scene.stream("a", COLUMNS, false);
        scene.sink("out");
        scene.add(&format!(
            "CREATE JOB j WITH (class = 'stream', max_files_per_trigger = 4, trigger = 'available_now') AS INSERT INTO out {query};"
        ));
        let summary = scene.run(2).await;
        let job = report(&summary, "j");
        assert_eq!((job.rows_in, job.late_rows), (2400, 0), "{query}");
        assert!(!scene.rows("out").is_empty(), "{query}");
        assert!(
            (1..=most).contains(&job.state_rows),
            "{query}: {} entries are left",
            job.state_rows
        );
        assert!(
            job.state_bytes > 0 && job.state_bytes < 20_000,
            "{query}: {job:?}"
        );
    }
}

/// Runs a scene until its job `j` stands as wanted; the job must not end by itself.
async fn until(scene: &Scene, wanted: impl Fn(&JobReport) -> bool) -> JobReport {
    let application = scene.load(2).await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let running = application.run(stopped);
    tokio::pin!(running);
    let begun = std::time::Instant::now();
    let mut look = tokio::time::interval(std::time::Duration::from_millis(2));
    loop {
        tokio::select! {
            summary = &mut running => {
                assert_eq!(summary.status, "ok", "{summary:?}");
                let job = report(&summary, "j").clone();
                assert_eq!(job.state, AppJobState::Stopped);
                return job;
            }
            _ = look.tick() => {
                let jobs = application.reports();
                let job = jobs.iter().find(|job| job.name == "j").unwrap();
                assert!(begun.elapsed().as_secs() < 60, "hangs: {job:?}");
                if wanted(job) {
                    stop.send_replace(true);
                }
            }
        }
    }
}

/// Two streams of which the second stays behind.
fn ahead_and_behind(options: &str) -> Scene {
    let mut scene = Scene::new();
    write(&scene, "a", &[&[1, 2], &[100], &[200]]);
    write(&scene, "b", &[&[1], &[12]]);
    for name in ["a", "b"] {
        scene.stream(name, COLUMNS, false);
    }
    scene.sink("out");
    scene.add(&format!(
        "CREATE JOB j WITH (class = 'stream', max_files_per_trigger = 1, trigger = '1 ms'{options}) AS INSERT INTO out \
         SELECT tumble(ts, INTERVAL '5 seconds') AS w, count(*) AS n FROM (SELECT ts FROM a UNION ALL SELECT ts FROM b) AS u GROUP BY 1;"
    ));
    scene
}

#[tokio::test]
async fn the_slower_of_two_sources_holds_time_up() {
    let scene = ahead_and_behind("");
    let job = until(&scene, |job| job.rows_in == 6 && job.rows_out == 1).await;
    // The window from 0 to 5: the watermark is that of `b`, 7.
    assert_eq!((job.rows_out, job.state_rows), (1, 3));
    assert_eq!(scene.rows("out")[0]["n"], 3);
}

#[tokio::test]
async fn a_source_that_is_idle_holds_nobody_up() {
    let scene = ahead_and_behind(", idle_timeout = '100 ms'");
    // `a` is idle at the same time, and then the slower one counts; so one more file comes.
    let more = scene.path("a").join("more.json");
    let name = more.clone();
    let writer = std::thread::spawn(move || {
        for file in 0.. {
            let part = name.with_file_name(format!("more{file:03}.json"));
            let lines = at(&[300 + file]).join("\n") + "\n";
            let hidden = name.with_file_name(format!(".more{file:03}.tmp"));
            if std::fs::write(&hidden, lines)
                .and_then(|()| std::fs::rename(&hidden, part))
                .is_err()
                || file == 100
            {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    });
    let job = until(&scene, |job| job.rows_out >= 4).await;
    assert!(job.rows_out >= 4, "{job:?}");
    drop(scene);
    writer.join().unwrap();
}
