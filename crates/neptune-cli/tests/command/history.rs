//! The event log of a run: JSON lines that tell a possible story of each task.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::support::Scene;

/// Streams that preempt a batch job on one slot.
const CONTENTION: &str = "\
CREATE TABLE few WITH (connector = 'rate', rows_per_second = 1000, rows = 500);
CREATE TABLE sink WITH (connector = 'noop');
CREATE JOB pump WITH (class = 'stream', trigger = '10 ms') AS INSERT INTO sink SELECT value FROM few;
CREATE JOB load WITH (class = 'batch') AS
  INSERT INTO sink SELECT v % 1000, count(*) FROM generate_series(1, 300000) AS t(v) GROUP BY v % 1000;
";

#[test]
fn the_event_log_is_json_lines_in_a_possible_order() {
    let scene = Scene::new();
    let ran = scene.run(
        CONTENTION,
        &["--json", "--slots", "1", "--event-log", "log.jsonl"],
    );
    assert_eq!(ran.summary()["status"], "ok");
    let text = scene.read("log.jsonl");
    let events: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();

    let mut stories: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    let (mut last, mut names) = (0.0, BTreeSet::new());
    for event in &events {
        let at = event["t_us"].as_f64().unwrap();
        assert!(at >= last, "time runs backwards at {event}");
        last = at;
        assert!(event["job"].is_number(), "{event}");
        names.insert((
            event["name"].as_str().unwrap(),
            event["class"].as_str().unwrap(),
        ));
        let story = stories.entry(event["task"].as_u64().unwrap()).or_default();
        story.push(event["event"].as_str().unwrap());
    }
    assert!(
        names.contains(&("pump", "stream")) && names.contains(&("load", "batch")),
        "{names:?}"
    );

    let mut suspended = 0;
    for (task, story) in &stories {
        assert_eq!(story.first(), Some(&"submitted"), "task {task}: {story:?}");
        assert_eq!(story.last(), Some(&"finished"), "task {task}: {story:?}");
        for pair in story.windows(2) {
            let after: &[&str] = match pair[0] {
                "submitted" => &["started", "finished"],
                "started" | "resumed" => &["suspend_requested", "finished"],
                "suspend_requested" => &["suspended", "finished"],
                "suspended" => &["resumed", "finished"],
                other => panic!("task {task}: nothing comes after {other}: {story:?}"),
            };
            assert!(
                after.contains(&pair[1]),
                "task {task}: {pair:?} in {story:?}"
            );
        }
        suspended += story.iter().filter(|event| **event == "suspended").count();
    }
    assert!(suspended > 0, "the streams never had to preempt");
}
