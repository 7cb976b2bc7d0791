//! `SplitAggregateExec` against `AggregateExec`.

use neptune_exec::operators::SplitLimits;
use proptest::prelude::*;

use crate::support::{Random, Setting, block_on, metric, same_rows, shown, table};

const GROUPS: [&str; 10] = [
    "i", "j", "v", "s", "d", "b, a", "i, v", "t, j, s", "i % 7", "f",
];

/// Sums of floating-point numbers depend on their order, and so does, with NaN, DataFusion's minimum: neither is here.
const FUNCTIONS: [&str; 6] = [
    "count(*)",
    "sum(n), min(s), max(v)",
    "avg(d), count(i)",
    "sum(d) FILTER (WHERE j > 1), bool_or(b)",
    "count(DISTINCT j), max(t)",
    "min(a), max(t), bit_xor(n)",
];

fn check(seed: u64, rows: usize, memory: Option<usize>) {
    eprintln!("seed {seed}, {rows} rows, memory {memory:?}");
    let mut random = Random::new(seed);
    let mut setting = Setting::new(seed);
    setting.memory = memory;
    if memory.is_some() {
        // With tiny batches a spilling exchange of DataFusion 55.2 can hang (its issue 24883), our operators or not.
        setting.batch_size = 1000;
    }
    let dictionary = random.below(8) == 0;
    let values = [3, 500, 1 << 40][random.below(3) as usize];
    let most = [50, 1000][random.below(2) as usize];
    let data = table(
        &mut random,
        rows,
        1 + setting.partitions,
        most,
        values,
        dictionary,
    );
    let group = GROUPS[random.below(GROUPS.len() as u64) as usize];
    let functions = FUNCTIONS[random.below(FUNCTIONS.len() as u64) as usize];
    let sql = match random.below(8) {
        0 => format!("SELECT DISTINCT {group} FROM t"),
        1 => format!("SELECT {group}, {functions} FROM t GROUP BY ROLLUP ({group})"),
        2 => format!(
            "SELECT {group}, {functions} FROM t WHERE n % 3 = 0 GROUP BY {group} HAVING count(*) > 1"
        ),
        _ => format!("SELECT {group}, {functions} FROM t GROUP BY {group}"),
    };
    block_on(async {
        let session = setting.session(vec![("t", data)]);
        same_rows(&setting, &session, &sql).await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn aggregates_as_the_stock_operator(seed: u64, rows in 0usize..4000) {
        check(seed, rows, None);
    }

    #[test]
    fn aggregates_in_little_memory(seed: u64, rows in 1000usize..4000) {
        check(seed, rows, Some(6 << 20));
    }
}

/// One case of each way through the operator.
fn splits(
    partitions: usize,
    most_partitions: usize,
    limits: SplitLimits,
    sql: &str,
) -> (usize, String) {
    let mut setting = Setting::new(11);
    setting.partitions = partitions;
    setting.batch_size = 200;
    setting.options.partitions = most_partitions;
    setting.options.limits = limits;
    let data = table(&mut Random::new(11), 6000, partitions, 200, 150, false);
    block_on(async {
        let session = setting.session(vec![("t", data)]);
        let plan = same_rows(&setting, &session, sql).await;
        (metric(&plan, "SplitAggregateExec", "splits"), shown(&plan))
    })
}

const LARGE: usize = 1 << 40;

#[test]
fn few_groups_stay_in_one_table() {
    let limits = SplitLimits {
        table_bytes: LARGE,
        rows: LARGE,
    };
    let (splits, plan) = splits(2, 8, limits, "SELECT i, sum(n) FROM t GROUP BY i");
    assert!(plan.contains("SplitAggregateExec: mode=Partial"), "{plan}");
    assert_eq!(splits, 0, "{plan}");
}

#[test]
fn a_first_stage_closes_tables_that_grow() {
    let limits = SplitLimits {
        table_bytes: 1 << 10,
        rows: LARGE,
    };
    // Rows of a group next to each other, and far apart.
    let (near, plan) = splits(2, 8, limits, "SELECT n / 9, sum(n) FROM t GROUP BY n / 9");
    assert!(near > 10, "{near} {plan}");
    let (far, plan) = splits(2, 8, limits, "SELECT i, sum(n) FROM t GROUP BY i");
    assert!(far == 4, "{far} {plan}");
}

#[test]
fn a_last_stage_takes_the_parts_of_its_exchange() {
    let limits = SplitLimits {
        table_bytes: LARGE,
        rows: 100,
    };
    let (splits, plan) = splits(2, 16, limits, "SELECT i, sum(n) FROM t GROUP BY i");
    assert!(plan.contains("partitioning=Hash([i@0], 16)"), "{plan}");
    assert_eq!(splits, 2, "{plan}");
}

#[test]
fn a_last_stage_without_parts_distributes() {
    let limits = SplitLimits {
        table_bytes: LARGE,
        rows: 100,
    };
    let (splits, plan) = splits(3, 1, limits, "SELECT i, sum(n) FROM t GROUP BY i");
    assert!(plan.contains("partitioning=Hash([i@0], 3)"), "{plan}");
    assert_eq!(splits, 3, "{plan}");
}
