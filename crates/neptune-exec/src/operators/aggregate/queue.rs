//! The input of an aggregation that is fed by hand: a leaf whose partitions are queues.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{Stream, StreamExt};
use parking_lot::Mutex;

#[derive(Debug, Default)]
struct Queue {
    batches: VecDeque<RecordBatch>,
    closed: bool,
}

type Shared = Arc<Mutex<Queue>>;

/// One running instance of an operator and the queue that is its input.
pub(super) struct Fed {
    queue: Shared,
    output: SendableRecordBatchStream,
}

impl Fed {
    /// Runs `count` partitions of `operator`, which has one input, over queues.
    pub(super) fn run(
        operator: &Arc<dyn ExecutionPlan>,
        count: usize,
        context: &Arc<TaskContext>,
    ) -> Result<Vec<Self>> {
        let [input] = operator.children()[..] else {
            return internal_err!("{} has more than one input", operator.name());
        };
        let queues: Vec<Shared> = (0..count).map(|_| Shared::default()).collect();
        let source = QueueExec::new(input.schema(), queues.clone());
        let operator = Arc::clone(operator).replace_children(
            vec![Arc::new(source)],
            ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep),
        )?;
        queues
            .into_iter()
            .enumerate()
            .map(|(partition, queue)| {
                let output = operator.execute(partition, Arc::clone(context))?;
                Ok(Self { queue, output })
            })
            .collect()
    }

    pub(super) fn push(&mut self, batch: RecordBatch) {
        self.queue.lock().batches.push_back(batch);
    }

    /// No more input will come.
    pub(super) fn close(&mut self) {
        self.queue.lock().closed = true;
    }

    /// Lets the operator work until it has taken its input; what it already gives out goes to `output`.
    pub(super) fn poll_consume(
        &mut self,
        cx: &mut Context<'_>,
        output: &mut VecDeque<RecordBatch>,
    ) -> Poll<Result<()>> {
        loop {
            match self.output.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(batch))) => output.push_back(batch),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending if self.queue.lock().batches.is_empty() => {
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The next batch of a [closed](Self::close) operator.
    pub(super) async fn next(&mut self) -> Option<Result<RecordBatch>> {
        self.output.next().await
    }
}

/// A leaf that reads the queues. Its owner polls the operator above by hand: an empty queue wakes nobody.
#[derive(Debug)]
struct QueueExec {
    queues: Vec<Shared>,
    properties: Arc<PlanProperties>,
}

impl QueueExec {
    fn new(schema: SchemaRef, queues: Vec<Shared>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(queues.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self {
            queues,
            properties: Arc::new(properties),
        }
    }
}

impl DisplayAs for QueueExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QueueExec: partitions={}", self.queues.len())
    }
}

impl ExecutionPlan for QueueExec {
    fn name(&self) -> &str {
        "QueueExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        match self.queues.get(partition) {
            Some(queue) => Ok(Box::pin(QueueStream {
                schema: self.schema(),
                queue: Arc::clone(queue),
            })),
            None => internal_err!("QueueExec has no partition {partition}"),
        }
    }
}

struct QueueStream {
    schema: SchemaRef,
    queue: Shared,
}

impl Stream for QueueStream {
    type Item = Result<RecordBatch>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut queue = self.queue.lock();
        match queue.batches.pop_front() {
            Some(batch) => Poll::Ready(Some(Ok(batch))),
            None if queue.closed => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

impl RecordBatchStream for QueueStream {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
