//! Random tables, interrupted inputs, and the comparison of a stock plan with its rewritten form.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float64Array,
    Int32Array, Int64Array, RecordBatch, StringArray, StringViewArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::datasource::MemTable;
use datafusion::execution::memory_pool::{FairSpillPool, GreedyMemoryPool, MemoryPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, collect, displayable,
};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::{Stream, StreamExt};
use neptune_exec::operators::{ShortPollOptions, ShortPolls, SplitLimits};

/// A small generator of our own: a test is described by one number.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % bound
    }

    fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(10) > 0).then(|| value(self))
    }
}

/// Columns: `i` 64-bit integer, `j` 32-bit integer (few values), `f` float, `v` string view, `s` string, `d` decimal, `b` boolean,
/// `t` timestamp, `a` date, `y` dictionary (only if asked for), all with nulls; `n` numbers the rows.
pub(crate) fn schema(dictionary: bool) -> SchemaRef {
    let mut fields = vec![
        Field::new("n", DataType::Int64, false),
        Field::new("i", DataType::Int64, true),
        Field::new("j", DataType::Int32, true),
        Field::new("f", DataType::Float64, true),
        Field::new("v", DataType::Utf8View, true),
        Field::new("s", DataType::Utf8, true),
        Field::new("d", DataType::Decimal128(20, 2), true),
        Field::new("b", DataType::Boolean, true),
        Field::new(
            "t",
            DataType::Timestamp(datafusion::arrow::datatypes::TimeUnit::Microsecond, None),
            true,
        ),
        Field::new("a", DataType::Date32, true),
    ];
    if dictionary {
        fields.push(Field::new(
            "y",
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            true,
        ));
    }
    Arc::new(Schema::new(fields))
}

/// A table of about `rows` rows in `partitions` of batches of differing sizes, some of them empty; keys have
/// up to `values` values.
pub(crate) fn table(
    random: &mut Random,
    rows: usize,
    partitions: usize,
    most_rows: u64,
    values: u64,
    dictionary: bool,
) -> MemTable {
    let schema = schema(dictionary);
    let mut parts = vec![Vec::new(); partitions];
    let mut number = 0;
    while number < rows {
        let len = (random.below(most_rows + 1) as usize).min(rows - number);
        let first = number as i64;
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(first..first + len as i64)),
            Arc::new(Int64Array::from_iter((0..len).map(|_| {
                random.maybe(|r| r.below(values) as i64 - values as i64 / 2)
            }))),
            Arc::new(Int32Array::from_iter(
                (0..len).map(|_| random.maybe(|r| r.below(5) as i32)),
            )),
            Arc::new(Float64Array::from_iter((0..len).map(|_| {
                random.maybe(|r| match r.below(20) {
                    0 => f64::NAN,
                    1 => -0.0,
                    2 => f64::INFINITY,
                    _ => r.below(values) as f64 / 4.0 - 3.0,
                })
            }))),
            Arc::new(StringViewArray::from_iter((0..len).map(|_| {
                random.maybe(|r| match r.below(2) {
                    0 => format!("k{}", r.below(values)),
                    _ => format!("a value that is not inlined {}", r.below(values)),
                })
            }))),
            Arc::new(StringArray::from_iter((0..len).map(|_| {
                random.maybe(|r| format!("{}é{}", r.below(3), r.below(values)))
            }))),
            Arc::new(
                Decimal128Array::from_iter(
                    (0..len).map(|_| random.maybe(|r| i128::from(r.below(values)))),
                )
                .with_precision_and_scale(20, 2)
                .unwrap(),
            ),
            Arc::new(BooleanArray::from_iter(
                (0..len).map(|_| random.maybe(|r| r.below(2) == 0)),
            )),
            Arc::new(TimestampMicrosecondArray::from_iter(
                (0..len).map(|_| random.maybe(|r| r.below(values) as i64 * 1_000_003)),
            )),
            Arc::new(Date32Array::from_iter(
                (0..len).map(|_| random.maybe(|r| r.below(4000) as i32)),
            )),
        ];
        if dictionary {
            let keys: Vec<Option<String>> = (0..len)
                .map(|_| random.maybe(|r| format!("y{}", r.below(values.min(50)))))
                .collect();
            columns.push(Arc::new(DictionaryArray::<Int32Type>::from_iter(
                keys.iter().map(|k| k.as_deref()),
            )));
        }
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
        parts[random.below(partitions as u64) as usize].push(batch);
        number += len;
    }
    MemTable::try_new(schema, parts).unwrap()
}

/// What a case runs in.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) seed: u64,
    pub(crate) partitions: usize,
    pub(crate) batch_size: usize,
    /// Bytes of the memory pool; `None` for no limit.
    pub(crate) memory: Option<usize>,
    pub(crate) options: ShortPollOptions,
}

impl Setting {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5E77);
        Self {
            seed,
            partitions: 1 + random.below(4) as usize,
            batch_size: [7, 64, 500, 8192][random.below(4) as usize],
            memory: None,
            options: ShortPollOptions {
                partitions: [1, 8, 64][random.below(3) as usize],
                limits: SplitLimits {
                    table_bytes: [1 << 10, 20 << 10, 4 << 20][random.below(3) as usize],
                    rows: [10, 300, 5000][random.below(3) as usize],
                },
                ..ShortPollOptions::default()
            },
        }
    }

    pub(crate) fn session(&self, tables: Vec<(&str, MemTable)>) -> SessionContext {
        let mut config = SessionConfig::new()
            .with_target_partitions(self.partitions)
            .with_batch_size(self.batch_size);
        let options = config.options_mut();
        options.execution.sort_spill_reservation_bytes = 32 << 10;
        options
            .execution
            .skip_partial_aggregation_probe_rows_threshold = 200;
        options.optimizer.hash_join_single_partition_threshold = 0;
        options.optimizer.hash_join_single_partition_threshold_rows = 0;
        let mut runtime = RuntimeEnvBuilder::new();
        if let Some(bytes) = self.memory {
            // A fair pool gives each partition of an exchange its share: too little with very many.
            runtime = runtime.with_memory_pool(match self.options.partitions {
                1 => Arc::new(FairSpillPool::new(bytes)) as Arc<dyn MemoryPool>,
                _ => Arc::new(GreedyMemoryPool::new(bytes)),
            });
        }
        let session = SessionContext::new_with_config_rt(config, runtime.build_arc().unwrap());
        for (name, table) in tables {
            session.register_table(name, Arc::new(table)).unwrap();
        }
        session
    }

    /// The plan that DataFusion makes of `sql`.
    pub(crate) async fn stock(
        &self,
        session: &SessionContext,
        sql: &str,
    ) -> Arc<dyn ExecutionPlan> {
        session
            .sql(sql)
            .await
            .unwrap()
            .create_physical_plan()
            .await
            .unwrap()
    }

    /// `plan` with our operators and with inputs that are interrupted at random.
    pub(crate) fn rewritten(
        &self,
        session: &SessionContext,
        plan: Arc<dyn ExecutionPlan>,
    ) -> Arc<dyn ExecutionPlan> {
        let rule = ShortPolls::new(self.options);
        let plan = rule
            .optimize(plan, session.copied_config().options())
            .unwrap();
        interrupted(plan, self.seed)
    }
}

pub(crate) fn shown(plan: &Arc<dyn ExecutionPlan>) -> String {
    displayable(plan.as_ref()).indent(false).to_string()
}

/// The rows of `batches` as text, each with its column values.
pub(crate) fn rows(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("∅");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap())
            .collect();
        rows.extend((0..batch.num_rows()).map(|row| {
            columns
                .iter()
                .map(|column| column.value(row).to_string())
                .collect::<Vec<_>>()
        }));
    }
    rows
}

/// Runs `sql` as DataFusion plans it and in our form; returns the rows of both, in their order, and our plan.
pub(crate) async fn both(
    setting: &Setting,
    session: &SessionContext,
    sql: &str,
) -> (Vec<Vec<String>>, Vec<Vec<String>>, Arc<dyn ExecutionPlan>) {
    eprintln!("{setting:?} {sql}");
    let stock = setting.stock(session, sql).await;
    let ours = setting.rewritten(session, setting.stock(session, sql).await);
    assert_eq!(stock.schema(), ours.schema(), "{setting:?} {sql}");
    let expected = collect(stock, unlimited(session)).await.unwrap();
    let limit = Duration::from_secs(120);
    let found = tokio::time::timeout(limit, collect(Arc::clone(&ours), session.task_ctx()))
        .await
        .unwrap_or_else(|_| panic!("no end: {setting:?} {sql}\n{}", shown(&ours)))
        .unwrap_or_else(|error| panic!("{setting:?} {sql}\n{}\n{error}", shown(&ours)));
    // A plan with joins keeps their build sides as long as it lives.
    if !shown(&ours).contains("JoinExec") {
        assert_eq!(pool(session).reserved(), 0, "{setting:?} {sql}");
    }
    (rows(&expected), rows(&found), ours)
}

/// The stock plan is only there for its answer: it gets all the memory it wants.
fn unlimited(session: &SessionContext) -> Arc<TaskContext> {
    SessionContext::new_with_config(session.copied_config()).task_ctx()
}

/// Both give the same rows, in any order.
pub(crate) async fn same_rows(
    setting: &Setting,
    session: &SessionContext,
    sql: &str,
) -> Arc<dyn ExecutionPlan> {
    let (mut expected, mut found, plan) = both(setting, session, sql).await;
    expected.sort();
    found.sort();
    assert!(
        expected == found,
        "{setting:?} {sql}\n{}",
        difference(&expected, &found, &plan)
    );
    plan
}

pub(crate) fn difference(
    expected: &[Vec<String>],
    found: &[Vec<String>],
    plan: &Arc<dyn ExecutionPlan>,
) -> String {
    let at = expected.iter().zip(found).position(|(a, b)| a != b);
    format!(
        "{} rows expected, {} found; first difference at {at:?}: {:?} and {:?}\n{}",
        expected.len(),
        found.len(),
        at.map(|at| &expected[at]),
        at.map(|at| &found[at]),
        shown(plan),
    )
}

/// The sum of a metric over the operators of a plan with a name.
pub(crate) fn metric(plan: &Arc<dyn ExecutionPlan>, operator: &str, name: &str) -> usize {
    let own = match plan.metrics() {
        Some(metrics) if plan.name() == operator => match name {
            "spill_count" => metrics.spill_count().unwrap_or(0),
            name => metrics
                .sum_by_name(name)
                .map_or(0, |value| value.as_usize()),
        },
        _ => 0,
    };
    own + plan
        .children()
        .into_iter()
        .map(|child| metric(child, operator, name))
        .sum::<usize>()
}

/// Puts an interrupted stream above each leaf of `plan`.
fn interrupted(plan: Arc<dyn ExecutionPlan>, seed: u64) -> Arc<dyn ExecutionPlan> {
    plan.transform_up(|plan| {
        Ok(if plan.children().is_empty() {
            Transformed::yes(Arc::new(InterruptedExec { input: plan, seed }) as _)
        } else {
            Transformed::no(plan)
        })
    })
    .unwrap()
    .data
}

/// Passes its input on, `Pending` with a wake-up at random, as a task that is suspended at a yield point sees it.
#[derive(Debug)]
struct InterruptedExec {
    input: Arc<dyn ExecutionPlan>,
    seed: u64,
}

impl DisplayAs for InterruptedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InterruptedExec")
    }
}

impl ExecutionPlan for InterruptedExec {
    fn name(&self) -> &str {
        "InterruptedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self {
            input: children.remove(0),
            seed: self.seed,
        }))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(
            children,
            ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
        )
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        Ok(Box::pin(InterruptedStream {
            input: self.input.execute(partition, context)?,
            random: Random::new(self.seed + partition as u64),
        }))
    }
}

struct InterruptedStream {
    input: SendableRecordBatchStream,
    random: Random,
}

impl Stream for InterruptedStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.random.below(3) == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.input.poll_next_unpin(cx)
    }
}

impl RecordBatchStream for InterruptedStream {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}

/// The memory pool of a session.
pub(crate) fn pool(session: &SessionContext) -> Arc<dyn MemoryPool> {
    Arc::clone(session.task_ctx().memory_pool())
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}
