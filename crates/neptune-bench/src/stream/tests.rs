use neptune_exec::Realtime;

use super::*;
use crate::workload::tests::small_workload;

fn findings(only: &[&str], secs: f64) -> Result<Findings> {
    let mut context = Context {
        workload: small_workload(),
        secs,
        only: only.iter().map(|name| (*name).to_owned()).collect(),
        seed: 1,
        settings: std::collections::BTreeMap::new(),
        allocator: "system".to_owned(),
        progress: &mut std::io::sink(),
        check: &mut || Ok(()),
    };
    Stream::new(SessionSettings::new(Realtime::Off, &[])).run(&mut context)
}

#[test]
fn the_cases_are_those_of_the_contract() {
    let names: Vec<_> = Case::all().iter().map(Case::name).collect();
    assert_eq!(names[0], "micro_batch");
    assert_eq!(
        (names[1].as_str(), names[23].as_str()),
        ("nexmark_q0", "nexmark_q22")
    );
    let rest = "ysb_alone ysb_json_alone ysb_beside_batch_fifo ysb_beside_batch_fair ysb_beside_batch_static \
                ysb_beside_batch_priority ysb_beside_batch_kill ysb_beside_batch_neptune";
    assert_eq!(names[24..].join(" "), rest);
    let error = findings(&["nexmark_q99"], 1.0).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("unknown case `nexmark_q99`"));
}

#[test]
fn what_needs_no_state_has_figures() {
    let found = findings(&["micro_batch", "nexmark_q2", "nexmark_q14"], 0.4).unwrap();
    let case = |name: &str| &found.report.case(name).unwrap().fields;
    let ticks = case("micro_batch");
    assert!(ticks["micro_batches"].as_u64().unwrap() > 5, "{ticks:?}");
    let percentile = |name: &str| ticks["commit_ms"][name].as_f64().unwrap();
    assert!(percentile("p50") > 0.0 && percentile("p99") >= percentile("p50"));
    for name in ["nexmark_q2", "nexmark_q14"] {
        let case = case(name);
        let figure = |name: &str| case[name].as_f64().unwrap();
        assert!(figure("events_per_s") > 1_000.0, "{name}: {case:?}");
        assert!(
            figure("events_per_s_per_core") > 1_000.0,
            "{name}: {case:?}"
        );
    }
}

#[test]
fn what_the_engine_refuses_is_told_and_ends_nothing() {
    // Processing time is no event time: this one is refused whatever else the engine can do.
    let found = findings(&["nexmark_q12", "nexmark_q0"], 0.2).unwrap();
    let refused = &found.report.case("nexmark_q12").unwrap().fields;
    assert!(
        refused["error"].as_str().unwrap().contains("bench.sql"),
        "{refused:?}"
    );
    assert!(!refused.contains_key("events_per_s"));
    assert!(
        found
            .report
            .case("nexmark_q0")
            .unwrap()
            .fields
            .contains_key("events_per_s")
    );
}
