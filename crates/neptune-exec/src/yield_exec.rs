//! The yield node: passes batches through, and is a place where a task can be suspended.
//!
//! It looks at the task's flag when it is polled and again when its input answered, so that both the work of the
//! operator above and that of the operator below end at a yield point. It measures the time since the last yield
//! point of the same poll: the longest of these stretches, per operator, is what bounds the time to suspend.
//! Where the operator above is slow per row, it is given smaller slices ([`AdaptiveSlicer`]).

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{
    CardinalityEffect, ChildrenPropertiesMode, ReplaceChildrenOptions,
};
use datafusion::physical_plan::metrics::{
    Count, ExecutionPlanMetricsSet, Gauge, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::{
    ChildStats, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, StatisticsArgs,
};
use futures::{Stream, StreamExt};
use neptune_sched::Class;

use crate::operators::{AdaptiveSlicer, SLOW_START_ROWS};
use crate::task::{Task, current_task, lap};
use crate::yielding::poll_yield;

/// Whether a yield node cuts batches into [slices](AdaptiveSlicer).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slices {
    /// No.
    Never,
    /// When the operator above showed that it is slow: its first batch is whole.
    WhenSlow,
    /// From its first row, which shows whether it is slow.
    FromFirstRow,
}

/// The yield node. See the module's text.
#[derive(Debug, Clone)]
pub struct YieldExec {
    input: Arc<dyn ExecutionPlan>,
    /// Name of the operator above.
    consumer: Arc<str>,
    target: Duration,
    slices: Slices,
    metrics: ExecutionPlanMetricsSet,
}

impl YieldExec {
    /// A yield node between `input` and the operator named `consumer`, which aims at `target` between two yield
    /// points; `slices` says whether it cuts batches for that.
    pub fn new(
        input: Arc<dyn ExecutionPlan>,
        consumer: impl Into<Arc<str>>,
        target: Duration,
        slices: Slices,
    ) -> Self {
        Self {
            input,
            consumer: consumer.into(),
            target,
            slices,
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    /// The operator below.
    pub fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }
}

impl DisplayAs for YieldExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "YieldExec: of={}, to={}",
            self.input.name(),
            self.consumer
        )
    }
}

impl ExecutionPlan for YieldExec {
    fn name(&self) -> &str {
        "YieldExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
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
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(Self::new(
                input,
                Arc::clone(&self.consumer),
                self.target,
                self.slices,
            ))),
            _ => internal_err!("YieldExec has exactly one input"),
        }
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
        Ok(Box::pin(YieldStream {
            input: self.input.execute(partition, context)?,
            producer: self.input.name().to_owned(),
            consumer: Arc::clone(&self.consumer),
            slicer: AdaptiveSlicer::new(
                self.target,
                match self.slices {
                    Slices::FromFirstRow => SLOW_START_ROWS,
                    Slices::WhenSlow | Slices::Never => usize::MAX,
                },
            ),
            slices: self.slices != Slices::Never,
            longest: [Duration::ZERO; 2],
            task: None,
            yields: MetricBuilder::new(&self.metrics).counter("yields", partition),
            longest_poll: MetricBuilder::new(&self.metrics).gauge("longest_poll_us", partition),
        }))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        input_stats: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        match input_stats {
            [input] => Ok(Arc::clone(input)),
            _ => internal_err!("YieldExec has exactly one input"),
        }
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }
}

/// Whose work a stretch was.
#[derive(Clone, Copy)]
enum Side {
    Producer = 0,
    Consumer = 1,
}

struct YieldStream {
    input: SendableRecordBatchStream,
    producer: String,
    consumer: Arc<str>,
    slicer: AdaptiveSlicer,
    slices: bool,
    /// Longest stretch of the operator below and of the one above.
    longest: [Duration; 2],
    /// The task of the first stretch, to be told the longest at the end.
    task: Option<Arc<Task>>,
    yields: Count,
    longest_poll: Gauge,
}

impl YieldStream {
    /// Books the time since the last yield point; `None` outside tasks.
    fn book(&mut self, side: Side, now: Instant) -> Option<Duration> {
        let stretch = lap(now)?;
        let longest = &mut self.longest[side as usize];
        if stretch > *longest {
            *longest = stretch;
            if self.task.is_none() {
                self.task = current_task();
            }
        }
        Some(stretch)
    }

    fn yield_now(&self) -> Poll<Option<Result<RecordBatch>>> {
        self.yields.add(1);
        Poll::Pending
    }
}

impl Stream for YieldStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let now = Instant::now();
        if let Some(stretch) = this.book(Side::Consumer, now)
            && this.slices
        {
            this.slicer.consumed_in(stretch);
        }
        if poll_yield(cx).is_pending() {
            return this.yield_now();
        }
        if this.slicer.is_empty() {
            let polled = this.input.poll_next_unpin(cx);
            this.book(Side::Producer, Instant::now());
            match polled {
                Poll::Ready(Some(Ok(batch))) => this.slicer.push(batch),
                other => return other,
            }
            if poll_yield(cx).is_pending() {
                return this.yield_now();
            }
        }
        Poll::Ready(this.slicer.next_slice().map(Ok))
    }
}

impl RecordBatchStream for YieldStream {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}

impl Drop for YieldStream {
    fn drop(&mut self) {
        self.longest_poll
            .set_max(self.longest[Side::Producer as usize].as_micros() as usize);
        if let Some(task) = self.task.take()
            && task.job().class() == Class::Batch
        {
            task.job()
                .record_stretch(&self.producer, self.longest[Side::Producer as usize]);
            task.job()
                .record_stretch(&self.consumer, self.longest[Side::Consumer as usize]);
        }
    }
}
