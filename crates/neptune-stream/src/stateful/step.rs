//! A plan node from one step over batches: what it does per batch and at the end, without the machinery of a node.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{Distribution, EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::distribution_requirements::InputDistributionRequirements;
use datafusion::physical_plan::execution_plan::{
    ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::{StreamExt, stream};
use neptune_exec::yielding::poll_yield;

use super::ahead::Ahead;

/// What a node does; shared by its partitions and micro-batches.
pub(crate) trait Step: fmt::Debug + Send + Sync + 'static {
    /// The node's name in plans.
    fn name(&self) -> &'static str;

    /// What is shown after it.
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;

    /// The columns it gives.
    fn schema(&self) -> SchemaRef;

    /// How rows must come to its partitions.
    fn distribution(&self) -> Distribution {
        Distribution::UnspecifiedDistribution
    }

    /// Whether it changes state, and so has to see all of its input, whoever reads its rows.
    fn changes_state(&self) -> bool {
        false
    }

    /// Begins one partition of a micro-batch.
    ///
    /// # Errors
    /// Whatever keeps it from beginning.
    fn start(self: Arc<Self>, part: Part) -> Result<Box<dyn Run>>;
}

/// Which part of a micro-batch a run is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) partition: usize,
    pub(crate) partitions: usize,
}

/// One partition of a step in one micro-batch.
pub(crate) trait Run: Send {
    /// Takes a batch; gives what follows from it at once.
    ///
    /// # Errors
    /// Those of the step.
    fn batch(&mut self, batch: RecordBatch) -> Result<Vec<RecordBatch>>;

    /// The input has ended: gives what is left, batch by batch, then `None`.
    ///
    /// # Errors
    /// Those of the step.
    fn finish(&mut self) -> Result<Option<RecordBatch>> {
        Ok(None)
    }
}

/// A [`Step`] as a plan node.
#[derive(Debug)]
pub(crate) struct StepExec {
    step: Arc<dyn Step>,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
    pub(super) ahead: Ahead,
}

impl StepExec {
    pub(crate) fn new(step: Arc<dyn Step>, input: Arc<dyn ExecutionPlan>) -> Self {
        let partitions = input.output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(step.schema()),
            // By a hash of our own, if at all: DataFusion must not take it for its own.
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Both,
            input.boundedness(),
        );
        Self {
            step,
            input,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
            ahead: Ahead::default(),
        }
    }

    pub(crate) fn changes_state(&self) -> bool {
        self.step.changes_state()
    }

    /// Runs a partition, whether or not it was run ahead.
    pub(super) fn run(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let part = Part {
            partition,
            partitions: self.input.output_partitioning().partition_count(),
        };
        let run = Arc::clone(&self.step).start(part)?;
        let input = self.input.execute(partition, context)?;
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let state = (run, Some(input), baseline);
        let batches = stream::try_unfold(state, |(mut run, mut input, baseline)| async move {
            while let Some(rows) = &mut input {
                let ready = match rows.next().await {
                    Some(batch) => {
                        let _timer = baseline.elapsed_compute().timer();
                        run.batch(batch?)?
                    }
                    None => {
                        input = None;
                        break;
                    }
                };
                if !ready.is_empty() {
                    return Ok(Some((ready, (run, input, baseline))));
                }
            }
            poll_fn(poll_yield).await;
            let last = {
                let _timer = baseline.elapsed_compute().timer();
                run.finish()?
            };
            Ok::<_, datafusion::common::DataFusionError>(
                last.map(|batch| (vec![batch], (run, input, baseline))),
            )
        });
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let batches = batches.flat_map(move |ready| {
            let each: Vec<Result<RecordBatch>> = match ready {
                Ok(batches) => batches
                    .into_iter()
                    .filter(|batch| batch.num_rows() > 0)
                    .map(|batch| Ok(batch.record_output(&baseline)))
                    .collect(),
                Err(error) => vec![Err(error)],
            };
            stream::iter(each)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.step.schema(),
            batches,
        )))
    }
}

impl DisplayAs for StepExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.step.name())?;
        self.step.describe(f)
    }
}

impl ExecutionPlan for StepExec {
    fn name(&self) -> &str {
        self.step.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![self.step.distribution()])
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![self.step.distribution()]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![!matches!(
            self.step.distribution(),
            Distribution::UnspecifiedDistribution
        )]
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
            (Some(input), true) => Ok(Arc::new(Self::new(Arc::clone(&self.step), input))),
            _ => internal_err!("{} has one input", self.step.name()),
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
        match self.ahead.take(partition, &self.step.schema()) {
            Some(rows) => Ok(rows),
            None => self.run(partition, context),
        }
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
