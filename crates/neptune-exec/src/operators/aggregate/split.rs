//! Runs one partition of an aggregation, in one hash table or in many.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryReservation};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::Count;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::{Stream, StreamExt};

use super::queue::Fed;
use super::scatter::Scatter;
use super::watch::WatchedPool;
use crate::operators::batches::slice_bytes;
use crate::operators::points::yield_point;

/// Hash tables of an aggregation that distributes its rows itself.
const PARTS: usize = 64;

/// Where memory is limited, a hash table gets a share of at least so many bytes: it needs some to work at all.
const TABLE_SHARE: usize = 8 << 20;

/// When an aggregation changes from one hash table to several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SplitLimits {
    /// A first stage closes its hash table when it holds more than so many bytes. The default, 4 MiB, gives its groups
    /// out in less than a millisecond. Where rows of a group lie far apart it is four times as much: measured
    /// with 200,000 groups, distributing the rows takes twice the time of one table, whose groups come out in 2.3 ms.
    pub table_bytes: usize,
    /// A later stage uses many hash tables when its input has more than so many rows.
    pub rows: usize,
}

impl Default for SplitLimits {
    fn default() -> Self {
        Self {
            table_bytes: 4 << 20,
            rows: 32 * 1024,
        }
    }
}

/// A first stage goes on with tables of the same size as long as each turns so many rows into one.
const WORTHWHILE: usize = 3;

/// Batches and the part of the partition that each belongs to.
pub(super) type Input = Pin<Box<dyn Stream<Item = (usize, Result<RecordBatch>)> + Send>>;

/// One partition of an aggregation.
pub(super) struct SplitAggregation {
    aggregate: Arc<dyn ExecutionPlan>,
    key: Vec<Arc<dyn PhysicalExpr>>,
    limits: SplitLimits,
    context: Arc<TaskContext>,
    input: Option<Input>,
    /// Parts that the input comes in; 1 when it is not divided.
    parts: usize,
    /// Most hash tables at a time.
    most_tables: usize,
    stage: Stage,
    /// Have all their input and give out their groups.
    emitting: VecDeque<Fed>,
    emitted: usize,
    /// Given out while input was still coming.
    early: VecDeque<RecordBatch>,
    /// Rows that no hash table has yet.
    reservation: MemoryReservation,
    splits: Count,
}

enum Stage {
    /// One hash table, watched while it is small.
    Whole {
        table: Fed,
        watch: Arc<WatchedPool>,
        /// Bytes that it may hold.
        limit: usize,
        rows: usize,
        may_close: bool,
    },
    /// The table has been closed after so many rows; what it gives out tells how to go on.
    Judging {
        limit: usize,
        rows: usize,
    },
    /// Waits whether there are few rows.
    Gathering {
        batches: Vec<(usize, RecordBatch)>,
        rows: usize,
    },
    /// Distributes the rows.
    Scattering {
        tables: Vec<Fed>,
        scatter: Scatter,
    },
    /// The rows come in parts.
    Parted {
        tables: Vec<Fed>,
    },
    Done,
}

impl SplitAggregation {
    /// Starts `aggregate` over `input`, which comes in `parts`. A first stage may give out the same group several
    /// times, so it starts with one hash table; a later stage must know before it starts.
    #[expect(clippy::too_many_arguments)]
    pub(super) fn start(
        aggregate: Arc<dyn ExecutionPlan>,
        key: Vec<Arc<dyn PhysicalExpr>>,
        first_stage: bool,
        limits: SplitLimits,
        input: Input,
        parts: usize,
        partition: usize,
        context: Arc<TaskContext>,
        splits: Count,
    ) -> Result<Self> {
        let reservation = MemoryConsumer::new(format!("SplitAggregate[{partition}]"))
            .register(context.memory_pool());
        let partitions = aggregate.output_partitioning().partition_count() / parts;
        let most_tables = match context.memory_pool().memory_limit() {
            MemoryLimit::Finite(bytes) => (bytes / TABLE_SHARE / partitions.max(1)).max(1),
            MemoryLimit::Infinite | MemoryLimit::Unknown => usize::MAX,
        };
        let mut aggregation = Self {
            aggregate,
            key,
            limits,
            context,
            input: Some(input),
            parts,
            most_tables,
            stage: Stage::Gathering {
                batches: Vec::new(),
                rows: 0,
            },
            emitting: VecDeque::new(),
            emitted: 0,
            early: VecDeque::new(),
            reservation,
            splits,
        };
        if first_stage {
            aggregation.stage = aggregation.whole(limits.table_bytes)?;
        }
        Ok(aggregation)
    }

    /// The next batch of the result.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.early.pop_front() {
                return Ok(Some(batch));
            }
            yield_point().await;
            if let Some(table) = self.emitting.front_mut() {
                let Some(batch) = table.next().await else {
                    self.emitting.pop_front();
                    continue;
                };
                let batch = batch?;
                self.emitted += batch.num_rows();
                return Ok(Some(batch));
            }
            let Some(input) = &mut self.input else {
                return Ok(None);
            };
            match input.next().await {
                Some((part, batch)) => self.take(part, batch?).await?,
                None => {
                    self.input = None;
                    self.end().await?;
                }
            }
        }
    }

    async fn take(&mut self, part: usize, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if let Stage::Judging { limit, rows } = self.stage {
            self.stage = if rows >= WORTHWHILE * self.emitted {
                self.whole(limit)?
            } else if limit == self.limits.table_bytes {
                self.whole(4 * limit)?
            } else {
                self.scattering()?
            };
        }
        match &mut self.stage {
            Stage::Whole {
                table,
                watch,
                limit,
                rows,
                may_close,
            } => {
                *rows += batch.num_rows();
                table.push(batch);
                poll_fn(|cx| table.poll_consume(cx, &mut self.early)).await?;
                // What comes out early shows that it has stopped aggregating, or is short of memory.
                *may_close &= self.early.is_empty();
                let probe = &self.context.session_config().options().execution;
                let probing = probe.skip_partial_aggregation_probe_ratio_threshold < 1.0
                    && *rows < probe.skip_partial_aggregation_probe_rows_threshold;
                if *may_close && !probing && watch.held() > *limit {
                    self.splits.add(1);
                    self.emitted = 0;
                    let judging = Stage::Judging {
                        limit: *limit,
                        rows: *rows,
                    };
                    if let Stage::Whole { mut table, .. } =
                        std::mem::replace(&mut self.stage, judging)
                    {
                        table.close();
                        self.emitting.push_back(table);
                    }
                }
            }
            Stage::Gathering { batches, rows } => {
                *rows += batch.num_rows();
                let bytes = slice_bytes(&batch)?;
                batches.push((part, batch));
                if *rows > self.limits.rows || self.reservation.try_grow(bytes).is_err() {
                    self.splits.add(1);
                    self.distribute().await?;
                }
            }
            Stage::Scattering { scatter, .. } => {
                scatter.push(batch)?;
                if scatter.is_full() {
                    self.hand_out().await?;
                }
            }
            Stage::Parted { tables } => {
                let number = part % tables.len();
                let table = &mut tables[number];
                table.push(batch);
                poll_fn(|cx| table.poll_consume(cx, &mut self.early)).await?;
            }
            Stage::Judging { .. } | Stage::Done => {}
        }
        Ok(())
    }

    fn whole(&self, limit: usize) -> Result<Stage> {
        let (watch, context) = WatchedPool::over(&self.context);
        Ok(match Fed::run(&self.aggregate, 1, &context)?.pop() {
            Some(table) => Stage::Whole {
                table,
                watch,
                limit,
                rows: 0,
                may_close: true,
            },
            None => Stage::Done,
        })
    }

    fn scattering(&self) -> Result<Stage> {
        let parts = PARTS.min(self.most_tables);
        Ok(Stage::Scattering {
            tables: Fed::run(&self.aggregate, parts, &self.context)?,
            scatter: Scatter::new(self.key.clone(), parts),
        })
    }

    /// There are many rows: what has been gathered goes to many hash tables.
    async fn distribute(&mut self) -> Result<()> {
        let many = if self.parts > 1 {
            let tables = self.parts.min(self.most_tables);
            Stage::Parted {
                tables: Fed::run(&self.aggregate, tables, &self.context)?,
            }
        } else {
            self.scattering()?
        };
        self.reservation.free();
        if let Stage::Gathering { batches, .. } = std::mem::replace(&mut self.stage, many) {
            for (part, batch) in batches {
                match &mut self.stage {
                    Stage::Parted { tables } => {
                        let number = part % tables.len();
                        let table = &mut tables[number];
                        table.push(batch);
                        poll_fn(|cx| table.poll_consume(cx, &mut self.early)).await?;
                    }
                    Stage::Scattering { scatter, .. } => scatter.push(batch)?,
                    _ => {}
                }
                yield_point().await;
            }
        }
        self.hand_out().await
    }

    /// Gives the rows that wait to their hash tables.
    async fn hand_out(&mut self) -> Result<()> {
        let Stage::Scattering { tables, scatter } = &mut self.stage else {
            return Ok(());
        };
        for (number, table) in tables.iter_mut().enumerate() {
            if let Some(batch) = scatter.part(number)? {
                table.push(batch);
                poll_fn(|cx| table.poll_consume(cx, &mut self.early)).await?;
                yield_point().await;
            }
        }
        scatter.clear();
        Ok(())
    }

    /// The input has ended.
    async fn end(&mut self) -> Result<()> {
        self.hand_out().await?;
        let tables = match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Whole { table, .. } => vec![table],
            Stage::Scattering { tables, .. } | Stage::Parted { tables } => tables,
            Stage::Gathering { batches, .. } => {
                self.reservation.free();
                let mut tables = Fed::run(&self.aggregate, 1, &self.context)?;
                for (_, batch) in batches {
                    tables
                        .iter_mut()
                        .for_each(|table| table.push(batch.clone()));
                }
                tables
            }
            Stage::Judging { .. } | Stage::Done => Vec::new(),
        };
        for mut table in tables {
            table.close();
            self.emitting.push_back(table);
        }
        Ok(())
    }
}
