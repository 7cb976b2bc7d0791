//! Hash joins over more partitions, folded, against the joins they were.

use proptest::prelude::*;

use crate::support::{Random, Setting, block_on, same_rows, shown, table};

const JOINS: [&str; 5] = ["INNER", "LEFT", "RIGHT", "FULL", "CROSS-CHECK"];
const KEYS: [&str; 5] = [
    "l.v = r.v",
    "l.s = r.s AND l.j = r.j",
    "l.i = r.i AND l.b = r.b",
    "l.d = r.d",
    "l.i = r.i",
];

fn check(seed: u64) {
    let mut random = Random::new(seed);
    let setting = Setting::new(seed);
    let values = [20, 500][random.below(2) as usize];
    let (left, right) = (random.below(800) as usize, random.below(1500) as usize);
    let left = table(&mut random, left, 2, 100, values, false);
    let right = table(&mut random, right, 3, 200, values, false);
    let key = KEYS[random.below(KEYS.len() as u64) as usize];
    let sql = match JOINS[random.below(JOINS.len() as u64) as usize] {
        "CROSS-CHECK" => format!(
            "SELECT n FROM t l WHERE EXISTS (SELECT 1 FROM u r WHERE {key} AND r.n > l.n) \
             AND NOT EXISTS (SELECT 1 FROM u r WHERE {key} AND r.n % 7 = 0)"
        ),
        join => format!("SELECT l.n, r.n, l.v, r.s FROM t l {join} JOIN u r ON {key}"),
    };
    let sql = match random.below(3) {
        0 => format!(
            "SELECT x.v, count(*), sum(x.n) FROM ({}) x GROUP BY x.v",
            renamed(&sql)
        ),
        _ => sql,
    };
    block_on(async {
        let session = setting.session(vec![("t", left), ("u", right)]);
        same_rows(&setting, &session, &sql).await;
    });
}

/// As a subquery: column names must differ, and there must be a `v`.
fn renamed(sql: &str) -> String {
    sql.replace(
        "SELECT l.n, r.n, l.v, r.s",
        "SELECT l.n, r.n AS m, l.v, r.s",
    )
    .replace("SELECT n FROM t l", "SELECT n, v FROM t l")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn joins_as_the_stock_operator(seed: u64) {
        check(seed);
    }
}

fn plan(sql: &str) -> String {
    let mut setting = Setting::new(2);
    setting.partitions = 2;
    setting.options.partitions = 16;
    setting.options.limits.rows = 20;
    let mut random = Random::new(2);
    let (left, right) = (
        table(&mut random, 700, 2, 99, 300, false),
        table(&mut random, 900, 2, 99, 300, false),
    );
    block_on(async {
        let session = setting.session(vec![("t", left), ("u", right)]);
        shown(&same_rows(&setting, &session, sql).await)
    })
}

#[test]
fn a_join_of_strings_is_divided_and_folded() {
    let plan = plan("SELECT l.n, r.n FROM t l JOIN u r ON l.s = r.s");
    assert!(plan.contains("FoldExec: factor=8"), "{plan}");
    assert_eq!(plan.matches(", 16), input_partitions").count(), 2, "{plan}");
}

#[test]
fn joins_on_the_same_key_are_folded_once() {
    let plan = plan("SELECT l.n, r.n, x.n FROM t l JOIN u r ON l.s = r.s JOIN t x ON x.s = l.s");
    assert_eq!(plan.matches("FoldExec").count(), 1, "{plan}");
    assert_eq!(plan.matches("HashJoinExec").count(), 2, "{plan}");
}

#[test]
fn a_join_whose_keys_may_be_an_index_keeps_its_partitions() {
    let plan = plan("SELECT l.n, r.n FROM t l JOIN u r ON l.i = r.i");
    assert!(!plan.contains("FoldExec"), "{plan}");
}
