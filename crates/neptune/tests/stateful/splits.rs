//! Each query, over rows that are cut into micro-batches at random, on one to four slots.

use std::collections::BTreeMap;

use super::input::{DISORDER, Random, write};
use super::queries::{APPEND, COMPLETE, UPDATE};
use super::support::{Row, Scene, report, sorted, text};

/// A scene with all inputs.
fn scene(seed: u64) -> (Scene, u64) {
    let mut random = Random::new(seed);
    let mut scene = Scene::new();
    let columns = format!(
        "id BIGINT, ts TIMESTAMP, k TEXT, v BIGINT, tags BIGINT[], WATERMARK FOR ts AS ts - INTERVAL '{DISORDER} seconds'"
    );
    for name in ["a", "b"] {
        let count = 40 + random.below(80);
        write(&mut random, &scene.path(name), count);
        scene.stream(name, &columns, true);
    }
    std::fs::write(
        scene.path("dim.csv"),
        "k,name\nb,one\nb,two\nbb,three\nz,four\n",
    )
    .unwrap();
    scene.add(&format!(
        "CREATE TABLE dim (k TEXT, name TEXT) WITH (connector = 'single_file', path = '{}');",
        scene.path("dim.csv").display()
    ));
    std::fs::write(
        scene.path("past.csv"),
        "k,ts\nb,2001-01-01T00:00:00\nbb,2031-01-01T00:00:00\n",
    )
    .unwrap();
    scene.add(&format!(
        "CREATE TABLE past (k TEXT, ts TIMESTAMP, WATERMARK FOR ts) WITH (connector = 'single_file', path = '{}');",
        scene.path("past.csv").display()
    ));
    scene.add("CREATE TABLE model (k TEXT, weight BIGINT) WITH (connector = 'shared');");
    scene.add("INSERT OVERWRITE model VALUES ('b', 2), ('bb', 3), ('ä', 5);");
    scene.add("SELECT count(*) FROM model;");
    (scene, 1 + random.below(2))
}

/// Adds the query as a stream job in a mode, and as a batch job.
fn add(scene: &mut Scene, number: usize, mode: &str, files: u64, query: &str) {
    scene.sink(&format!("want_{number}"));
    scene.sink(&format!("got_{number}"));
    scene.add(&format!(
        "CREATE JOB batch_{number} WITH (class = 'batch') AS INSERT INTO want_{number} {query};"
    ));
    let target = match mode {
        "complete" => {
            scene.add(&format!(
                "CREATE TABLE all_{number} WITH (connector = 'memory');"
            ));
            format!("all_{number}")
        }
        _ => format!("got_{number}"),
    };
    scene.add(&format!(
        "CREATE JOB stream_{number} WITH (class = 'stream', max_files_per_trigger = {files}, output_mode = '{mode}') AS \
         INSERT INTO {target} {query};"
    ));
    if mode == "complete" {
        scene.add(&format!(
            "CREATE JOB last_{number} WITH (trigger = 'end') AS INSERT INTO got_{number} SELECT * FROM {target};"
        ));
    }
}

/// The slots and the seed of each run; `NEPTUNE_SEED` adds one.
fn runs() -> Vec<(usize, u64)> {
    let more = std::env::var("NEPTUNE_SEED").ok();
    let more = more
        .and_then(|seed| seed.parse().ok())
        .map(|seed| (3, seed));
    [(1, 11), (2, 22), (4, 33)]
        .into_iter()
        .chain(more)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appended_rows_are_those_of_a_batch_job() {
    each(APPEND, "append", |_, rows| rows).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_row_of_each_key_is_that_of_a_batch_job() {
    let queries: Vec<_> = UPDATE
        .iter()
        .map(|(name, _, query)| (*name, *query))
        .collect();
    let last = |number: usize, rows: Vec<Row>| {
        let (_, keys, _) = UPDATE[number];
        let mut last = BTreeMap::new();
        for row in rows {
            let key = row.iter().filter(|(name, _)| keys.contains(&name.as_str()));
            let key: Row = key
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            last.insert(text(&key), row);
        }
        last.into_values().collect()
    };
    each(&queries, "update", last).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_result_is_that_of_a_batch_job() {
    each(COMPLETE, "complete", |_, rows| rows).await;
}

/// Runs each query with each seed; `kept` says which of the rows that its job wrote hold in the end. `NEPTUNE_CASE` is part of the name of
/// the only one to run.
async fn each(queries: &[(&str, &str)], mode: &str, kept: impl Fn(usize, Vec<Row>) -> Vec<Row>) {
    let only = std::env::var("NEPTUNE_CASE").unwrap_or_default();
    let mut wrong = Vec::new();
    for (slots, seed) in runs() {
        for (number, (name, query)) in queries.iter().enumerate() {
            if !name.contains(&only) {
                continue;
            }
            let told = format!("{name}, seed {seed}, {slots} slots:\n{query}");
            let (mut scene, files) = scene(seed * 1000 + number as u64);
            add(&mut scene, number, mode, files, query);
            let summary = match scene.try_run(slots).await {
                Ok(summary) => summary,
                Err(error) => {
                    wrong.push(format!("{told}\n{error}"));
                    continue;
                }
            };
            let job = report(&summary, &format!("stream_{number}"));
            assert!(job.micro_batches > 2, "{told}: {job:?}");
            let got = sorted(&kept(number, scene.rows(&format!("got_{number}"))));
            let want = sorted(&scene.rows(&format!("want_{number}")));
            if want.is_empty() {
                wrong.push(format!("{told}\nsays nothing"));
            }
            if got != want || job.late_rows > 0 {
                let difference = difference(&got, &want);
                wrong.push(format!("{told}\nlate: {}\n{difference}", job.late_rows));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// The rows that only one of the two has.
fn difference(got: &[String], want: &[String]) -> String {
    let mut rest = got.to_vec();
    let mut lines = Vec::new();
    for row in want {
        match rest.iter().position(|other| other == row) {
            Some(at) => drop(rest.swap_remove(at)),
            None => lines.push(format!("  missing {row}")),
        }
    }
    lines.extend(rest.iter().map(|row| format!("  too many {row}")));
    lines.truncate(12);
    lines.join("\n")
}
