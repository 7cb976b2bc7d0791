//! The leaf of every plan this crate makes: a bounded set of partitions that knows its statistics.
//!
//! Generators, row-format files and in-memory tables all give [`ScanPartition`]s; [`ScanExec`] adds
//! what DataFusion wants of a leaf: properties, exact statistics where they are known, a limit and metrics.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions, SchedulingType,
};
use datafusion::physical_plan::limit::LimitStream;
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet, RecordOutput,
};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::StreamExt;

/// One partition of a scan: gives a stream of batches of the scan's projected schema.
pub(crate) trait ScanPartition: fmt::Debug + Send + Sync {
    /// Starts reading; called once per execution, any number of executions.
    fn open(&self, cx: &ScanContext) -> Result<SendableRecordBatchStream>;

    /// What is known of the partition's rows; exact where it says so.
    fn statistics(&self) -> Statistics;
}

/// What a partition is told when it starts.
#[derive(Debug)]
pub(crate) struct ScanContext {
    /// Most rows in one batch.
    pub(crate) batch_size: usize,
    /// Counts records that were skipped or set aside.
    pub(crate) malformed: Count,
}

/// A bounded leaf over [`ScanPartition`]s.
#[derive(Debug, Clone)]
pub(crate) struct ScanExec {
    /// Shown by `EXPLAIN`: the source and what of it is read.
    label: String,
    partitions: Vec<Arc<dyn ScanPartition>>,
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl ScanExec {
    /// A plan over `partitions`, all of which give `schema`; an empty plan when there are none.
    pub(crate) fn plan(
        label: String,
        schema: SchemaRef,
        partitions: Vec<Arc<dyn ScanPartition>>,
        limit: Option<usize>,
    ) -> Arc<dyn ExecutionPlan> {
        if partitions.is_empty() {
            return Arc::new(EmptyExec::new(schema));
        }
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Arc::new(Self {
            label,
            partitions,
            limit,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }
}

impl DisplayAs for ScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ScanExec: {}, partitions={}",
            self.label,
            self.partitions.len()
        )?;
        if let Some(limit) = self.limit {
            write!(f, ", fetch={limit}")?;
        }
        Ok(())
    }
}

impl ExecutionPlan for ScanExec {
    fn name(&self) -> &str {
        "ScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !children.is_empty() {
            return internal_err!("ScanExec is a leaf");
        }
        Ok(self)
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
        let Some(scan) = self.partitions.get(partition) else {
            return internal_err!("ScanExec has no partition {partition}");
        };
        let stream = scan.open(&ScanContext {
            batch_size: context.session_config().batch_size().max(1),
            malformed: MetricBuilder::new(&self.metrics).counter("malformed_records", partition),
        })?;
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        if self.limit.is_some() {
            let limited = LimitStream::new(stream, 0, self.limit, baseline);
            return Ok(make_cooperative(Box::pin(limited)));
        }
        let counted = stream.map(move |batch| batch.map(|batch| batch.record_output(&baseline)));
        Ok(make_cooperative(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            counted,
        ))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        // Every partition stops at the limit by itself.
        let of = |partition: &Arc<dyn ScanPartition>| {
            partition.statistics().with_fetch(self.limit, 0, 1)
        };
        let statistics = match args.partition() {
            Some(index) => match self.partitions.get(index) {
                Some(partition) => of(partition)?,
                None => return internal_err!("ScanExec has no partition {index}"),
            },
            None => {
                let each = self.partitions.iter().map(of).collect::<Result<Vec<_>>>()?;
                Statistics::try_merge_iter(&each, &self.schema())?
            }
        };
        Ok(Arc::new(statistics))
    }

    fn fetch(&self) -> Option<usize> {
        self.limit
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(Arc::new(Self {
            limit,
            ..self.clone()
        }))
    }
}

/// Statistics that know the number of rows and nothing else.
pub(crate) fn row_statistics(schema: &SchemaRef, rows: Precision<usize>) -> Statistics {
    Statistics::new_unknown(schema).with_num_rows(rows)
}

/// The columns of `schema` that `projection` asks for, in its order; all of them without one.
pub(crate) fn project(schema: &SchemaRef, projection: Option<&Vec<usize>>) -> Result<SchemaRef> {
    Ok(match projection {
        Some(columns) => Arc::new(schema.project(columns)?),
        None => Arc::clone(schema),
    })
}
