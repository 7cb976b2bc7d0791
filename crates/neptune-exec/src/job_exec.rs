//! The root of a plan that runs as a job, whoever executes it.
//!
//! Executed outside any task, it makes a job, runs each of its partitions as a task of it on the runtime of the
//! job's class, and hands the batches over a short channel. Executed inside a task, that task's job owns the work
//! already, and the node passes its input through. So a program that only knows `SessionContext` gets classes and suspension too.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, Statistics, internal_err};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{
    CardinalityEffect, ChildrenPropertiesMode, ReplaceChildrenOptions,
};
use datafusion::physical_plan::{
    ChildStats, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, StatisticsArgs,
};
use futures::{FutureExt, Stream, StreamExt};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::executor::Executor;
use crate::job::{Job, JobSettings};
use crate::task::current_task;
use crate::task_handle::{TaskError, TaskHandle};

/// Batches that may wait for the consumer.
const BUFFERED: usize = 2;

/// The root of a plan that runs as a job. See the module's text.
#[derive(Debug)]
pub struct JobExec {
    input: Arc<dyn ExecutionPlan>,
    executor: Executor,
    settings: JobSettings,
    /// The job of the partitions executed so far; gone when all of them are over.
    job: Mutex<Weak<Job>>,
}

impl JobExec {
    /// Runs `input` as a job of `executor`.
    pub fn new(input: Arc<dyn ExecutionPlan>, executor: Executor, settings: JobSettings) -> Self {
        Self {
            input,
            executor,
            settings,
            job: Mutex::new(Weak::new()),
        }
    }

    fn job(&self) -> Arc<Job> {
        let mut job = self.job.lock();
        job.upgrade().unwrap_or_else(|| {
            let new = self.executor.job(&self.settings);
            *job = Arc::downgrade(&new);
            new
        })
    }
}

impl DisplayAs for JobExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobExec: class={}", self.settings.class)
    }
}

impl ExecutionPlan for JobExec {
    fn name(&self) -> &str {
        "JobExec"
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
                self.executor.clone(),
                self.settings.clone(),
            ))),
            _ => internal_err!("JobExec has exactly one input"),
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
        if current_task().is_some() {
            return self.input.execute(partition, context);
        }
        let (sender, receiver) = mpsc::channel(BUFFERED);
        let input = Arc::clone(&self.input);
        let task = self.executor.spawn(&self.job(), async move {
            let mut stream = input.execute(partition, context)?;
            while let Some(batch) = stream.next().await {
                if sender.send(batch?).await.is_err() {
                    break; // Nobody wants the rest.
                }
            }
            Ok(())
        });
        Ok(Box::pin(JobStream {
            schema: self.schema(),
            receiver,
            task: Some(task),
        }))
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
            _ => internal_err!("JobExec has exactly one input"),
        }
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }
}

struct JobStream {
    schema: SchemaRef,
    receiver: mpsc::Receiver<RecordBatch>,
    task: Option<TaskHandle<Result<()>>>,
}

impl Stream for JobStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(batch) = std::task::ready!(self.receiver.poll_recv(cx)) {
            return Poll::Ready(Some(Ok(batch)));
        }
        let Some(task) = self.task.as_mut() else {
            return Poll::Ready(None);
        };
        let ended = std::task::ready!(task.poll_unpin(cx));
        let interrupted = task.interrupted();
        self.task = None;
        Poll::Ready(match ended {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Err(interrupted.map_or(error, Into::into))),
            Err(error) => Some(Err(error.into())),
        })
    }
}

impl RecordBatchStream for JobStream {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

impl From<TaskError> for DataFusionError {
    fn from(error: TaskError) -> Self {
        Self::External(Box::new(error))
    }
}
