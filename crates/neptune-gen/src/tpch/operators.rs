//! One query for every kind of physical operator, over the TPC-H tables.
//!
//! They serve two purposes: results must be the same with and without suspension, and suspension
//! must be quick wherever it strikes. Hence every query has one answer, as a multiset of rows of
//! exact types (integers, decimals, dates, texts; no floating-point sums, no LIMIT without a total
//! order), and works through enough rows at scale factor 1 to be suspended in the middle.

use super::{ORDERS_CSV, ORDERS_JSON, TABLES};

/// A query that exercises one kind of operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorCase {
    /// A stable name, used in reports and to pick cases.
    pub name: &'static str,
    /// The query.
    pub sql: String,
    /// Session settings it needs, as key and value for `SET key = value`.
    pub settings: Vec<(String, String)>,
    /// What the text of its physical plan contains: the operator that the case is about.
    pub operator: &'static str,
    /// Whether it calls the function of [`super::sleep_row_udf`], which has to be registered.
    pub needs_sleep_row: bool,
}

impl OperatorCase {
    /// The tables of [`super::TpchPaths::register`] that the query reads.
    pub fn tables(&self) -> Vec<&'static str> {
        let words: Vec<&str> = self
            .sql
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .collect();
        let tables = TABLES.into_iter().chain([ORDERS_CSV, ORDERS_JSON]);
        tables.filter(|table| words.contains(table)).collect()
    }
}

/// Keeps DataFusion from swapping a join's sides, which turns left joins into right ones.
const AS_WRITTEN: &[(&str, &str)] = &[("datafusion.optimizer.join_reordering", "false")];

/// Merge joins are planned only for more than one partition.
const MERGE_JOIN: &[(&str, &str)] = &[
    ("datafusion.optimizer.prefer_hash_join", "false"),
    ("datafusion.execution.target_partitions", "2"),
];

/// Name, operator in the plan, settings, query.
type Row = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
);

const JOINS: &[Row] = &[
    (
        "inner_hash_join",
        "join_type=Inner",
        &[],
        "SELECT o_orderpriority, count(*) AS n, sum(l_quantity) AS quantity
         FROM lineitem JOIN orders ON l_orderkey = o_orderkey
         GROUP BY o_orderpriority",
    ),
    (
        "left_join",
        "join_type=Left,",
        AS_WRITTEN,
        "SELECT c_mktsegment, count(*) AS n, count(o_orderkey) AS orders, sum(o_totalprice) AS total
         FROM customer LEFT JOIN orders ON c_custkey = o_custkey AND o_orderstatus = 'F'
         GROUP BY c_mktsegment",
    ),
    (
        "right_join",
        "join_type=Right,",
        AS_WRITTEN,
        "SELECT o_orderpriority, count(*) AS n, count(c_custkey) AS customers
         FROM (SELECT c_custkey FROM customer WHERE c_acctbal > 5000) AS rich
         RIGHT JOIN orders ON c_custkey = o_custkey
         GROUP BY o_orderpriority",
    ),
    (
        "full_join",
        "join_type=Full",
        &[],
        "SELECT count(*) AS n, count(ps_partkey) AS offers, count(l_partkey) AS sold,
                sum(ps_availqty) AS available
         FROM (SELECT * FROM partsupp WHERE ps_availqty > 5000) AS offer
         FULL JOIN (SELECT * FROM lineitem WHERE l_quantity > 40) AS sale
           ON ps_partkey = l_partkey AND ps_suppkey = l_suppkey",
    ),
    (
        "left_semi_join",
        "join_type=LeftSemi",
        AS_WRITTEN,
        "SELECT o_orderpriority, count(*) AS n
         FROM orders LEFT SEMI JOIN lineitem ON o_orderkey = l_orderkey AND l_quantity > 45
         GROUP BY o_orderpriority",
    ),
    (
        "left_anti_join",
        "join_type=LeftAnti",
        AS_WRITTEN,
        "SELECT o_orderpriority, count(*) AS n
         FROM orders LEFT ANTI JOIN lineitem ON o_orderkey = l_orderkey AND l_quantity > 45
         GROUP BY o_orderpriority",
    ),
    (
        "right_semi_join",
        "join_type=RightSemi",
        AS_WRITTEN,
        "SELECT l_returnflag, count(*) AS n, sum(l_quantity) AS quantity
         FROM (SELECT p_partkey FROM part WHERE p_size < 10) AS small
         RIGHT SEMI JOIN lineitem ON p_partkey = l_partkey
         GROUP BY l_returnflag",
    ),
    (
        "right_anti_join",
        "join_type=RightAnti",
        AS_WRITTEN,
        "SELECT l_returnflag, count(*) AS n, sum(l_quantity) AS quantity
         FROM (SELECT p_partkey FROM part WHERE p_size < 10) AS small
         RIGHT ANTI JOIN lineitem ON p_partkey = l_partkey
         GROUP BY l_returnflag",
    ),
    (
        "nested_loop_join",
        "NestedLoopJoinExec",
        &[],
        "SELECT count(*) AS n, sum(rich.s_suppkey % 7) AS a, sum(poor.s_suppkey % 11) AS b
         FROM supplier AS rich JOIN supplier AS poor ON rich.s_acctbal > poor.s_acctbal + 10",
    ),
    (
        "sort_merge_join",
        "SortMergeJoinExec",
        MERGE_JOIN,
        "SELECT o_orderstatus, count(*) AS n, sum(l_extendedprice) AS price
         FROM orders JOIN lineitem ON o_orderkey = l_orderkey
         GROUP BY o_orderstatus",
    ),
    (
        "cross_join",
        "CrossJoinExec",
        &[],
        "SELECT count(*) AS n, sum((c_custkey + s_suppkey) % 13) AS sum
         FROM (SELECT c_custkey FROM customer WHERE c_custkey % 15 = 0) AS some
         CROSS JOIN supplier",
    ),
];

const SORTS: &[Row] = &[
    (
        "sort",
        "SortExec: expr=",
        &[],
        "SELECT l_orderkey, l_linenumber, l_extendedprice, l_shipdate, l_shipmode
         FROM lineitem
         ORDER BY l_extendedprice, l_orderkey, l_linenumber",
    ),
    (
        "top_k",
        "SortExec: TopK(fetch=100)",
        &[],
        "SELECT l_orderkey, l_linenumber, l_extendedprice, l_comment
         FROM lineitem
         ORDER BY l_extendedprice DESC, l_orderkey, l_linenumber
         LIMIT 100",
    ),
    (
        "window_partitioned",
        "BoundedWindowAggExec",
        &[],
        "SELECT l_suppkey, l_orderkey, l_linenumber, l_extendedprice
         FROM (SELECT *, row_number() OVER (PARTITION BY l_suppkey
                                            ORDER BY l_extendedprice DESC, l_orderkey, l_linenumber)
                         AS place
               FROM lineitem) AS ranked
         WHERE place <= 3",
    ),
    (
        "window_whole_partition",
        "WindowAggExec",
        &[],
        "SELECT count(*) AS n, sum(l_quantity) AS quantity
         FROM (SELECT l_quantity, max(l_quantity) OVER (PARTITION BY l_partkey) AS most
               FROM lineitem) AS compared
         WHERE l_quantity = most",
    ),
    (
        "window_running_sum",
        "BoundedWindowAggExec",
        &[],
        "SELECT max(total) AS total, max(place) AS place, sum(place % 1000) AS places
         FROM (SELECT sum(o_totalprice) OVER (ORDER BY o_orderdate, o_orderkey) AS total,
                      rank() OVER (ORDER BY o_orderdate) AS place
               FROM orders) AS running",
    ),
    (
        "recursive_cte",
        "RecursiveQueryExec",
        &[],
        "WITH RECURSIVE walk (start, step, place) AS (
             SELECT n_nationkey, CAST(0 AS BIGINT), n_nationkey * 37 + 11 FROM nation
             UNION ALL
             SELECT start, step + 1, (place * 1103 + 12345) % 65536 FROM walk WHERE step < 1000
         )
         SELECT start, count(*) AS steps, sum(place) AS places, max(place) AS furthest
         FROM walk GROUP BY start",
    ),
];

const AGGREGATIONS: &[Row] = &[
    (
        "grouping_sets",
        "AggregateExec",
        &[],
        "SELECT l_returnflag, l_shipmode, l_linestatus, count(*) AS n, sum(l_quantity) AS quantity
         FROM lineitem
         GROUP BY GROUPING SETS ((l_returnflag, l_shipmode), (l_linestatus), ())",
    ),
    (
        "rollup",
        "AggregateExec",
        &[],
        "SELECT l_suppkey, l_shipmode, count(*) AS n, sum(l_extendedprice) AS price
         FROM lineitem
         GROUP BY ROLLUP (l_suppkey, l_shipmode)",
    ),
    (
        "cube",
        "AggregateExec",
        &[],
        "SELECT l_returnflag, l_shipmode, l_shipinstruct, count(*) AS n, max(l_tax) AS tax
         FROM lineitem
         GROUP BY CUBE (l_returnflag, l_shipmode, l_shipinstruct)",
    ),
    (
        "high_cardinality_aggregation",
        "AggregateExec",
        &[],
        "SELECT l_partkey, l_suppkey, l_shipdate, count(*) AS n, sum(l_extendedprice) AS price
         FROM lineitem
         GROUP BY l_partkey, l_suppkey, l_shipdate
         HAVING count(*) > 1 OR sum(l_quantity) = 50",
    ),
    (
        "count_distinct",
        "AggregateExec",
        &[],
        "SELECT l_returnflag, count(DISTINCT l_partkey) AS parts, count(DISTINCT l_orderkey) AS orders
         FROM lineitem
         GROUP BY l_returnflag",
    ),
    (
        "distinct",
        "AggregateExec",
        &[],
        "SELECT DISTINCT l_suppkey, l_shipmode, l_returnflag FROM lineitem",
    ),
    (
        "union_all",
        "UnionExec",
        &[],
        "SELECT kind, count(*) AS n, sum(money) AS money
         FROM (SELECT 'order' AS kind, o_totalprice AS money FROM orders
               UNION ALL SELECT 'line', l_extendedprice FROM lineitem
               UNION ALL SELECT 'offer', ps_supplycost FROM partsupp) AS everything
         GROUP BY kind",
    ),
    (
        "union_distinct",
        "UnionExec",
        &[],
        "SELECT l_partkey AS part, l_suppkey AS supplier FROM lineitem WHERE l_discount > 0.08
         UNION
         SELECT ps_partkey, ps_suppkey FROM partsupp WHERE ps_availqty < 1000",
    ),
];

const SCANS: &[Row] = &[
    (
        "parquet_scan",
        "file_type=parquet",
        &[],
        "SELECT l_orderkey, l_linenumber, l_comment
         FROM lineitem
         WHERE l_comment LIKE '%furiously%express%'",
    ),
    (
        "csv_scan",
        "file_type=csv",
        &[],
        "SELECT o_orderstatus, count(*) AS n, sum(o_totalprice) AS total, max(o_comment) AS comment
         FROM orders_csv
         GROUP BY o_orderstatus",
    ),
    (
        "json_scan",
        "file_type=json",
        &[],
        "SELECT o_orderstatus, count(*) AS n, sum(o_totalprice) AS total, max(o_comment) AS comment
         FROM orders_json
         GROUP BY o_orderstatus",
    ),
    (
        // Eight of each 32 order keys are in use: 2,000 rows at 1 ms, from scale factor 0.01 on.
        "slow_udf",
        "sleep_row",
        &[],
        "SELECT count(*) AS n, sum(sleep_row(o_orderkey)) AS keys FROM orders WHERE o_orderkey <= 8000",
    ),
    (
        // 30,000 rows that become texts of 10,000 characters each.
        "repeat_like",
        "repeat",
        &[],
        "SELECT o_orderstatus, count(*) AS n
         FROM orders
         WHERE o_orderkey <= 120000 AND repeat(right(o_comment, 1), 10000) LIKE '%y'
         GROUP BY o_orderstatus",
    ),
];

/// The queries, one for every kind of operator; names and order are stable.
pub fn operators() -> Vec<OperatorCase> {
    [JOINS, SORTS, AGGREGATIONS, SCANS]
        .into_iter()
        .flatten()
        .map(case)
        .collect()
}

fn case(&(name, operator, settings, sql): &Row) -> OperatorCase {
    OperatorCase {
        name,
        sql: sql.to_owned(),
        settings: settings
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()))
            .collect(),
        operator,
        needs_sleep_row: sql.contains("sleep_row("),
    }
}
