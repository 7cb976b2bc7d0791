//! Runs one partition of an aggregation, in one hash table or in many.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::Count;
use futures::{Stream, StreamExt};

use super::queue::Fed;
use super::scatter::Scatter;
use super::watch::WatchedPool;
use crate::operators::points::yield_point;

/// Hash tables of an aggregation that distributes its rows itself.
const PARTS: usize = 64;

/// A hash table of a first stage is closed when it holds more than so many bytes.
const TABLE_BYTES: usize = 4 << 20;

/// A first stage goes on with one hash table at a time as long as each turns so many rows into one.
const WORTHWHILE: usize = 3;

/// A later stage uses many hash tables when its input has more than so many rows.
const SPLIT_ROWS: usize = 32 * 1024;

/// Batches and the part of the partition that each belongs to.
pub(super) type Input = Pin<Box<dyn Stream<Item = (usize, Result<RecordBatch>)> + Send>>;

/// One partition of an aggregation.
pub(super) struct SplitAggregation {
    aggregate: Arc<dyn ExecutionPlan>,
    key: Vec<Arc<dyn PhysicalExpr>>,
    context: Arc<TaskContext>,
    input: Option<Input>,
    /// Parts that the input comes in; 1 when it is not divided.
    parts: usize,
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
        rows: usize,
        may_close: bool,
    },
    /// The table has been closed after so many rows; what it gives out tells how to go on.
    Judging { rows: usize },
    /// Waits whether there are few rows.
    Gathering {
        batches: Vec<(usize, RecordBatch)>,
        rows: usize,
    },
    /// Distributes the rows.
    Scattering { tables: Vec<Fed>, scatter: Scatter },
    /// The rows come in parts.
    Parted { tables: Vec<Fed> },
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
        input: Input,
        parts: usize,
        partition: usize,
        context: Arc<TaskContext>,
        splits: Count,
    ) -> Result<Self> {
        let reservation = MemoryConsumer::new(format!("SplitAggregate[{partition}]"))
            .register(context.memory_pool());
        let mut aggregation = Self {
            aggregate,
            key,
            context,
            input: Some(input),
            parts,
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
            aggregation.stage = aggregation.whole()?;
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
        if let Stage::Judging { rows } = self.stage {
            self.stage = if rows >= WORTHWHILE * self.emitted {
                self.whole()?
            } else {
                self.scattering()?
            };
        }
        match &mut self.stage {
            Stage::Whole {
                table,
                watch,
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
                if *may_close && !probing && watch.held() > TABLE_BYTES {
                    self.splits.add(1);
                    self.emitted = 0;
                    let judging = Stage::Judging { rows: *rows };
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
                let bytes = batch.get_array_memory_size();
                batches.push((part, batch));
                if *rows > SPLIT_ROWS || self.reservation.try_grow(bytes).is_err() {
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
                let table = &mut tables[part];
                table.push(batch);
                poll_fn(|cx| table.poll_consume(cx, &mut self.early)).await?;
            }
            Stage::Judging { .. } | Stage::Done => {}
        }
        Ok(())
    }

    fn whole(&self) -> Result<Stage> {
        let (watch, context) = WatchedPool::over(&self.context);
        Ok(match Fed::run(&self.aggregate, 1, &context)?.pop() {
            Some(table) => Stage::Whole {
                table,
                watch,
                rows: 0,
                may_close: true,
            },
            None => Stage::Done,
        })
    }

    fn scattering(&self) -> Result<Stage> {
        Ok(Stage::Scattering {
            tables: Fed::run(&self.aggregate, PARTS, &self.context)?,
            scatter: Scatter::new(self.key.clone(), PARTS),
        })
    }

    /// There are many rows: what has been gathered goes to many hash tables.
    async fn distribute(&mut self) -> Result<()> {
        let many = if self.parts > 1 {
            Stage::Parted {
                tables: Fed::run(&self.aggregate, self.parts, &self.context)?,
            }
        } else {
            self.scattering()?
        };
        if let Stage::Gathering { batches, .. } = std::mem::replace(&mut self.stage, many) {
            for (part, batch) in batches {
                match &mut self.stage {
                    Stage::Parted { tables } => {
                        let table = &mut tables[part];
                        table.push(batch);
                        poll_fn(|cx| table.poll_consume(cx, &mut self.early)).await?;
                    }
                    Stage::Scattering { scatter, .. } => scatter.push(batch)?,
                    _ => {}
                }
                yield_point().await;
            }
        }
        self.hand_out().await?;
        self.reservation.free();
        Ok(())
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
                let mut tables = Fed::run(&self.aggregate, 1, &self.context)?;
                for (_, batch) in batches {
                    tables.iter_mut().for_each(|table| table.push(batch.clone()));
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
