//! Each case as a batch job.

use super::case::{CASES, Way, golden, objects, run, sorted};

async fn each_case_as_batch(names_time: bool) {
    let Some(golden) = golden() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let way = Way {
        job: "class = 'batch'",
        // What is left in the end, so that there are no changes to tell of.
        format: "json",
        names_time,
        parts: None,
    };
    for case in CASES {
        let output = directory.path().join(format!("{}.json", case.name));
        let summary = run(&case.script(&golden, &output, &way)).await;
        assert_eq!(summary.status, "ok", "{}: {summary:?}", case.name);
        let expected = case.expected(&golden);
        assert!(!expected.is_empty());
        assert_eq!(sorted(objects(&output).iter()), expected, "{}", case.name);
    }
}

#[tokio::test]
async fn each_case_as_batch_gives_what_is_expected() {
    each_case_as_batch(true).await;
}

#[tokio::test]
async fn each_case_finds_its_time_by_the_watermark() {
    each_case_as_batch(false).await;
}
