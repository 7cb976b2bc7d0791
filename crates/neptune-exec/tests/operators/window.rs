//! `GroupWindowExec` against `WindowAggExec`.

use proptest::prelude::*;

use crate::support::{Random, Setting, block_on, same_rows, shown, table};

const PARTITIONS: [&str; 5] = ["i", "v", "j, s", "b", "i, v, d"];
const FUNCTIONS: [&str; 5] = [
    "sum(n) OVER (PARTITION BY {} ORDER BY n ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)",
    "count(*) OVER (PARTITION BY {})",
    "last_value(n) OVER (PARTITION BY {} ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)",
    "ntile(3) OVER (PARTITION BY {} ORDER BY n DESC)",
    "percent_rank() OVER (PARTITION BY {} ORDER BY n)",
];

fn check(seed: u64, rows: usize, memory: Option<usize>) -> String {
    let mut random = Random::new(seed);
    let mut setting = Setting::new(seed);
    setting.memory = memory;
    let values = [2, 60, 1 << 40][random.below(3) as usize];
    let most = [20, 700][random.below(2) as usize];
    let data = table(
        &mut random,
        rows,
        1 + setting.partitions,
        most,
        values,
        false,
    );
    let partition = PARTITIONS[random.below(PARTITIONS.len() as u64) as usize];
    let function =
        FUNCTIONS[random.below(FUNCTIONS.len() as u64) as usize].replace("{}", partition);
    let sql =
        format!("SELECT n, {function} AS w, sum(n) OVER (PARTITION BY {partition}) AS x FROM t");
    block_on(async {
        let session = setting.session(vec![("t", data)]);
        shown(&same_rows(&setting, &session, &sql).await)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn computes_as_the_stock_operator(seed: u64, rows in 0usize..3000) {
        let plan = check(seed, rows, None);
        prop_assert!(plan.contains("GroupWindowExec"), "{}", plan);
    }
}

#[test]
fn no_rows_have_no_groups() {
    check(1, 0, None);
}
