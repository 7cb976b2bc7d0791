//! Each rewrite can be switched off, and whole queries with several of them give the stock answers.

use neptune_exec::operators::ShortPollOptions;

use crate::support::{Random, Setting, block_on, same_rows, shown, table};

const QUERY: &str = "SELECT x.v, x.c, count(*) OVER (PARTITION BY x.c) AS w \
    FROM (SELECT l.v, count(*) AS c FROM t l JOIN t r ON l.s = r.s GROUP BY l.v) x \
    ORDER BY x.v, x.c";

fn plan(change: impl Fn(&mut ShortPollOptions)) -> String {
    let mut setting = Setting::new(4);
    setting.partitions = 2;
    setting.options = ShortPollOptions::default();
    setting.options.limits.rows = 20;
    change(&mut setting.options);
    let data = table(&mut Random::new(4), 900, 2, 99, 300, false);
    block_on(async {
        let session = setting.session(vec![("t", data)]);
        shown(&same_rows(&setting, &session, QUERY).await)
    })
}

#[test]
fn every_rewrite_can_be_switched_off() {
    type Switch = fn(&mut ShortPollOptions);
    let switches: [(&str, Switch); 4] = [
        ("RunSortExec", |o| o.sort = false),
        ("SplitAggregateExec", |o| o.aggregate = false),
        ("FoldExec", |o| o.join = false),
        ("GroupWindowExec", |o| o.window = false),
    ];
    let all = plan(|_| {});
    for (operator, off) in switches {
        assert!(all.contains(operator), "{operator}\n{all}");
        let without = plan(off);
        assert!(!without.contains(operator), "{operator}\n{without}");
    }
}

#[test]
fn a_recursive_query_and_its_answer_stay_as_they_are() {
    let sql = "WITH RECURSIVE c AS (SELECT 1 AS k UNION ALL SELECT k + 1 FROM c WHERE k < 50) \
        SELECT k % 7 AS g, sum(k) FROM c GROUP BY k % 7 ORDER BY g";
    let setting = Setting::new(9);
    block_on(async {
        let session = setting.session(Vec::new());
        same_rows(&setting, &session, sql).await;
    });
}
