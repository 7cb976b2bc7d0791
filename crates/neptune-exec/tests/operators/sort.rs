//! `RunSortExec` against `SortExec`.

use proptest::prelude::*;

use crate::support::{Random, Setting, block_on, both, difference, metric, shown, table};

/// Sorts by random keys; the columns of the keys must be equal row by row, the rows equal as a set.
fn check(seed: u64, rows: usize, memory: Option<usize>) {
    let mut random = Random::new(seed);
    let mut setting = Setting::new(seed);
    setting.memory = memory;
    if memory.is_some() {
        // One consumer of memory, in batches that fit.
        setting.partitions = 1;
        setting.batch_size = 200;
    }
    let dictionary = random.below(3) == 0;
    let most = if memory.is_some() {
        300
    } else {
        [40, 1000, 9000][random.below(3) as usize]
    };
    let values = [3, 200, 1 << 40][random.below(3) as usize];
    let inputs = if memory.is_some() {
        1
    } else {
        1 + setting.partitions
    };
    let data = table(&mut random, rows, inputs, most, values, dictionary);
    let mut columns = vec!["i", "j", "f", "v", "s", "d", "b", "t", "a"];
    if dictionary {
        columns.push("y");
    }
    let count = 1 + random.below(3) as usize;
    let keys: Vec<_> = (0..count)
        .map(|_| {
            let key = columns[random.below(columns.len() as u64) as usize];
            let direction = ["ASC", "DESC"][random.below(2) as usize];
            let nulls = ["FIRST", "LAST"][random.below(2) as usize];
            (key, format!("{key} {direction} NULLS {nulls}"))
        })
        .collect();
    let order: Vec<_> = keys.iter().map(|(_, order)| order.as_str()).collect();
    let names: Vec<_> = keys
        .iter()
        .enumerate()
        .map(|(i, (key, _))| format!("{key} AS k{i}"))
        .collect();
    let sql = format!(
        "SELECT {}, * FROM t ORDER BY {}",
        names.join(", "),
        order.join(", ")
    );

    block_on(async {
        let session = setting.session(vec![("t", data)]);
        let (mut expected, mut found, plan) = both(&setting, &session, &sql).await;
        assert!(shown(&plan).contains("RunSortExec"), "{}", shown(&plan));
        let key = |rows: &[Vec<String>]| -> Vec<_> {
            rows.iter().map(|row| row[..count].to_vec()).collect()
        };
        assert!(
            key(&expected) == key(&found),
            "{setting:?} {sql}\n{}",
            difference(&key(&expected), &key(&found), &plan)
        );
        expected.sort();
        found.sort();
        assert!(
            expected == found,
            "{setting:?} {sql}\n{}",
            difference(&expected, &found, &plan)
        );
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sorts_as_the_stock_operator(seed: u64, rows in 0usize..6000) {
        check(seed, rows, None);
    }

    #[test]
    fn sorts_in_little_memory(seed: u64, rows in 1000usize..6000) {
        check(seed, rows, Some(600 << 10));
    }
}

#[test]
fn nothing_sorts_to_nothing() {
    check(7, 0, None);
}

#[test]
fn more_runs_than_are_merged_at_once() {
    let mut setting = Setting::new(3);
    setting.partitions = 1;
    // A batch with a dictionary is a run of its own.
    let data = table(&mut Random::new(3), 12_000, 1, 30, 5000, true);
    block_on(async {
        let session = setting.session(vec![("t", data)]);
        let sql = "SELECT i, n FROM (SELECT i, n, y FROM t) ORDER BY i, y, n";
        let (expected, found, plan) = both(&setting, &session, sql).await;
        assert!(metric(&plan, "RunSortExec", "runs") > 600);
        assert!(
            expected == found,
            "{}",
            difference(&expected, &found, &plan)
        );
    });
}

#[test]
fn what_does_not_fit_is_spilled() {
    let mut setting = Setting::new(5);
    setting.partitions = 1;
    setting.batch_size = 500;
    setting.memory = Some(1 << 20);
    let data = table(&mut Random::new(5), 20_000, 1, 500, 1 << 40, false);
    block_on(async {
        let session = setting.session(vec![("t", data)]);
        let sql = "SELECT * FROM t ORDER BY s, n";
        let (expected, found, plan) = both(&setting, &session, sql).await;
        let files = metric(&plan, "RunSortExec", "spill_count");
        assert!(files >= 4, "{files} {:?}", plan.metrics());
        assert!(
            expected == found,
            "{}",
            difference(&expected, &found, &plan)
        );
    });
}
