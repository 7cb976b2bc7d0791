//! What the suites run: TPC-H tables, the batch queries, the probe, and how many slots share them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::prelude::SessionContext;
use neptune_gen::tpch::{self, TpchPaths};

use crate::batch::Query;
use crate::error::{BenchError, Result};
use crate::probe::{Probe, ProbeShape};

/// The operator cases that the batch loop has besides the 22 queries: one sorts everything, the other
/// aggregates into about as many groups as there are orders. Both are known for long polls.
const HEAVY_OPERATORS: [&str; 2] = ["sort", "high_cardinality_aggregation"];

/// The full sort with its rows consumed inside of the query.
///
/// As it is, its result is all rows of `lineitem`: a design that collects results would be measured on its memory, one
/// that counts rows as they come on nothing. The places come out of the sort and every column goes into the sums, so
/// neither the sort nor its payload can be optimised away.
const SORT_CONSUMED: &str =
    "SELECT count(*) AS n, sum(place % 1000 * l_linenumber) AS places, sum(l_orderkey % 7) AS keys,
            max(l_extendedprice) AS price, max(l_shipdate) AS shipped, max(l_shipmode) AS mode
     FROM (SELECT *, row_number() OVER (ORDER BY l_extendedprice, l_orderkey, l_linenumber) AS place
           FROM lineitem) AS sorted";

/// The tables that batch queries read.
#[derive(Debug, Clone)]
pub enum Tables {
    /// None but the probe's.
    ProbeOnly,
    /// The tables of TPC-H as well.
    Tpch(TpchPaths),
}

/// What every design is given to run. Cloning shares the data.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Threads of each runtime and partitions of each query: the slots of the executor.
    pub slots: usize,
    /// How many batch loops run at once.
    pub loops: usize,
    /// The tables that batch queries read.
    pub tables: Tables,
    /// The batch queries, in the order of a round.
    pub queries: Arc<[Arc<Query>]>,
    /// The stream's query and its table.
    pub probe: Probe,
}

impl Workload {
    /// A workload over TPC-H data of factor `scale` in `dir`, generated there if missing; `batch_queries`
    /// picks the batch queries by name, none meaning the 22 queries, a full sort and an aggregation of
    /// high cardinality.
    ///
    /// # Errors
    /// When the data cannot be made, or a query of that name does not exist.
    pub fn tpch(
        dir: &Path,
        scale: f64,
        slots: usize,
        batch_queries: &[String],
        seed: u64,
    ) -> Result<Self> {
        let paths = tpch::ensure_tpch(dir, scale).map_err(|e| BenchError::Data(e.to_string()))?;
        let queries = match batch_queries {
            [] => standard_queries(scale),
            names => pick(&all_queries(scale), names)?,
        };
        Ok(Self {
            slots,
            loops: 1,
            tables: Tables::Tpch(paths),
            queries: queries.into_iter().map(Arc::new).collect(),
            probe: Probe::new(ProbeShape::standard(slots, seed))?,
        })
    }

    /// Makes the tables, the probe's table and the functions of the queries known to a session.
    ///
    /// # Errors
    /// When a table cannot be registered.
    pub async fn register(&self, context: &SessionContext) -> Result<()> {
        self.probe.register(context)?;
        if let Tables::Tpch(paths) = &self.tables {
            let registered = paths.register(context).await;
            registered.map_err(|error| BenchError::Data(error.to_string()))?;
        }
        context.register_udf(tpch::sleep_row_udf());
        Ok(())
    }
}

/// Where the data of a scale lies unless `--data` says otherwise.
pub fn default_data_dir(scale: f64) -> PathBuf {
    PathBuf::from("data").join(format!("tpch-sf{scale}"))
}

/// The 22 queries, `q01` to `q22`.
pub fn tpch_queries(scale: f64) -> Vec<Query> {
    let queries = tpch::queries_at(scale).into_iter();
    queries
        .map(|(name, sql)| Query {
            name: name.to_owned(),
            sql: sql.into_owned(),
            settings: Vec::new(),
        })
        .collect()
}

/// One query for each kind of operator.
pub fn operator_queries() -> Vec<Query> {
    let operators = tpch::operators().into_iter();
    operators
        .map(|case| Query {
            name: case.name.to_owned(),
            sql: match case.name {
                "sort" => SORT_CONSUMED.to_owned(),
                _ => case.sql,
            },
            settings: case.settings,
        })
        .collect()
}

/// The 22 queries and one for each kind of operator.
pub fn all_queries(scale: f64) -> Vec<Query> {
    let mut queries = tpch_queries(scale);
    queries.extend(operator_queries());
    queries
}

/// The batch loop of `bench preempt`.
fn standard_queries(scale: f64) -> Vec<Query> {
    let mut queries = tpch_queries(scale);
    let heavy = operator_queries().into_iter();
    queries.extend(heavy.filter(|query| HEAVY_OPERATORS.contains(&query.name.as_str())));
    queries
}

/// Those of `queries` that are named, in the order of the names; `q1` stands for `q01`.
///
/// # Errors
/// When a name is not among them.
pub fn pick(queries: &[Query], names: &[String]) -> Result<Vec<Query>> {
    let find = |name: &String| {
        let wanted = padded(name);
        let found = queries.iter().find(|query| query.name == wanted);
        found.cloned().ok_or_else(|| BenchError::Unknown {
            kind: "query",
            name: name.clone(),
            known: queries
                .iter()
                .map(|query| query.name.as_str())
                .collect::<Vec<_>>()
                .join(", "),
        })
    };
    names.iter().map(find).collect()
}

/// `Q1` and `q1` as `q01`, other names as they are.
fn padded(name: &str) -> String {
    let number = name.strip_prefix(['q', 'Q']);
    match number.and_then(|digits| digits.parse::<u8>().ok()) {
        Some(number) => format!("q{number:02}"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    impl Workload {
        /// The same weight for every query.
        pub(crate) fn weights_of(&self, weight: f64) -> Vec<f64> {
            vec![weight; self.queries.len()]
        }
    }

    /// Batch queries of some milliseconds over the probe's own small table.
    pub(crate) fn small_workload() -> Workload {
        let query = |name: &str, sql: &str| {
            Arc::new(Query {
                name: name.to_owned(),
                sql: sql.to_owned(),
                settings: Vec::new(),
            })
        };
        let shape = ProbeShape {
            rows: 2_000,
            groups: 10,
            partitions: 2,
            seed: 1,
        };
        Workload {
            slots: 2,
            loops: 1,
            tables: Tables::ProbeOnly,
            queries: Arc::new([
                query("count", "SELECT count(*) FROM neptune_probe"),
                query("sort", "SELECT * FROM neptune_probe ORDER BY amount"),
            ]),
            probe: Probe::new(shape).unwrap(),
        }
    }

    #[test]
    fn queries_are_picked_by_name_in_order() {
        let names = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        let all = all_queries(1.0);
        let picked = pick(&all, &names(&["q18", "sort", "Q1"])).unwrap();
        let found: Vec<_> = picked.iter().map(|query| query.name.as_str()).collect();
        assert_eq!(found, ["q18", "sort", "q01"]);
        let error = pick(&all, &names(&["q23"])).unwrap_err().to_string();
        assert!(
            error.starts_with("unknown query `q23`; known: q01, q02"),
            "{error}"
        );
    }

    #[test]
    fn the_standard_loop_has_the_queries_and_both_heavy_operators() {
        let names: Vec<_> = standard_queries(1.0)
            .into_iter()
            .map(|query| query.name)
            .collect();
        assert_eq!(names.len(), 22 + HEAVY_OPERATORS.len(), "{names:?}");
        for heavy in HEAVY_OPERATORS {
            assert!(
                names.iter().any(|name| name == heavy),
                "{heavy} in {names:?}"
            );
        }
    }

    #[tokio::test]
    async fn generated_tables_are_registered_and_the_consumed_sort_sorts() {
        let dir = tempfile::tempdir().unwrap();
        let queries = ["q6".to_owned(), "sort".to_owned()];
        let workload = Workload::tpch(dir.path(), 0.001, 2, &queries, 1).unwrap();
        let context = crate::baseline::plain_context(2);
        workload.register(&context).await.unwrap();
        let rows = crate::baseline::run_query(&context, &workload.queries[0]).await;
        assert_eq!(rows.unwrap(), 1);
        let sort = context.sql(&workload.queries[1].sql).await.unwrap();
        let plan = sort.create_physical_plan().await.unwrap();
        let plan = datafusion::physical_plan::displayable(plan.as_ref())
            .indent(false)
            .to_string();
        let sorts: Vec<_> = plan.lines().filter(|l| l.contains("SortExec")).collect();
        assert!(
            sorts.len() == 1 && sorts[0].contains("l_extendedprice@"),
            "{plan}"
        );
        for column in ["l_shipdate", "l_shipmode"] {
            let scan = plan.lines().find(|line| line.contains("DataSourceExec"));
            assert!(scan.is_some_and(|line| line.contains(column)), "{plan}");
        }
    }
}
