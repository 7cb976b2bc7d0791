//! The suite on the baselines with a small workload: every case has its figures, none is made up.

use super::*;
use crate::baseline::Baseline;
use crate::workload::Workload;
use crate::workload::tests::small_workload;

fn suite() -> Preempt {
    Preempt::new(
        Box::new(Baseline::shared_runtime()),
        vec![
            Box::new(Baseline::shared_runtime()),
            Box::new(Baseline::two_runtimes()),
        ],
        Realtime::Off,
    )
}

fn run(suite: &Preempt, workload: Workload, only: &[&str], checks: &mut u32) -> Result<Findings> {
    let mut progress = Vec::new();
    let mut check = || {
        *checks += 1;
        Ok(())
    };
    suite.run(&mut Context {
        workload,
        secs: 0.5,
        only: only.iter().map(|&name| name.to_owned()).collect(),
        seed: 3,
        settings: BTreeMap::new(),
        allocator: "system".to_owned(),
        progress: &mut progress,
        check: &mut check,
    })
}

#[test]
fn every_case_has_its_figures() {
    let mut checks = 0;
    let found = run(&suite(), small_workload(), &[], &mut checks).unwrap();
    assert!(checks >= 4, "{checks}");
    let json = serde_json::to_value(&found.report).unwrap();
    let names: Vec<_> = found
        .report
        .cases
        .iter()
        .map(|case| case.name.as_str())
        .collect();
    assert_eq!(names, ["alone", "shared_runtime", "two_runtimes"]);
    // Of the whole process, so with the tests beside this one, which may leave nothing.
    let share = json["probe_cpu_share"].as_f64().unwrap();
    assert!(share > 0.0, "{share}");
    let leaves_some = share < 1.0;
    for case in json["cases"].as_array().unwrap() {
        for field in ["p50", "p90", "p99", "p999", "max"] {
            assert!(
                case["probe_ms"][field].as_f64().unwrap() > 0.0,
                "{field} of {case}"
            );
        }
        assert_eq!(case["realtime"], false);
        // One probe every 20 ms for half a second.
        assert_eq!(case["probes"], 25, "{case}");
        let has_batch = case["name"] != "alone";
        for (field, told) in [("batch_per_s", true), ("batch_share", leaves_some)] {
            assert_eq!(
                case[field].as_f64().is_some_and(|x| x > 0.0),
                has_batch && told,
                "{field} of {case}"
            );
        }
    }
    assert!(json["batch_alone_per_s"].as_f64().unwrap() > 0.0);
    for chart in &found.charts {
        chart.svg().unwrap();
    }
    let mut text = Vec::new();
    for table in &found.tables {
        table.write(&mut text).unwrap();
    }
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.contains("two_runtimes") && text.contains("of leftover"),
        "{text}"
    );
}

#[test]
fn only_the_designs_asked_for_run_and_unknown_ones_are_refused() {
    let found = run(&suite(), small_workload(), &["two_runtimes"], &mut 0).unwrap();
    let names: Vec<_> = found
        .report
        .cases
        .iter()
        .map(|case| case.name.as_str())
        .collect();
    assert_eq!(names, ["alone", "two_runtimes"]);
    let Err(error) = run(&suite(), small_workload(), &["three_runtimes"], &mut 0) else {
        panic!("an unknown design ran");
    };
    let expected = "unknown case `three_runtimes`; known: alone, shared_runtime, two_runtimes";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_failing_batch_query_fails_the_suite() {
    let mut workload = small_workload();
    let mut queries: Vec<_> = workload.queries.to_vec();
    Arc::make_mut(&mut queries[1]).sql = "SELECT * FROM nowhere".to_owned();
    workload.queries = queries.into();
    let Err(error) = run(&suite(), workload, &[], &mut 0) else {
        panic!("a query on a missing table ran");
    };
    assert!(error.to_string().contains("nowhere"), "{error}");
}

#[test]
fn stretches_are_long_enough_for_the_longest_query() {
    let cases: [(f64, &[f64], u32, f64); 5] = [
        (30.0, &[0.2, 0.5], 8, 3.75),
        (30.0, &[0.2, 3.0], 5, 6.0),
        (30.0, &[6.0], 2, 15.0),
        (5.0, &[6.0], 1, 5.0),
        (1.0, &[], 1, 1.0),
    ];
    for (secs, seconds, rounds, length) in cases {
        let expected = Stretches {
            rounds,
            length: Duration::from_secs_f64(length),
        };
        assert_eq!(
            Stretches::plan(secs, seconds),
            expected,
            "{secs} {seconds:?}"
        );
    }
}
