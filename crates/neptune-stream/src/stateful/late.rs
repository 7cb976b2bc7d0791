//! Drops, and counts, rows of what has been closed already.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;

use super::bound::TimeBound;
use super::codec::over_at;
use super::operator::Operator;
use super::step::{Part, Run, Step};
use crate::event_time::START_OF_TIME;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct DropLate {
    pub(crate) operator: Arc<Operator>,
    pub(crate) schema: SchemaRef,
    /// The bounded column or expression, over the input.
    pub(crate) time: Arc<dyn PhysicalExpr>,
    pub(crate) bound: TimeBound,
}

impl Step for DropLate {
    fn name(&self) -> &'static str {
        "DropLateExec"
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "by {}", self.time)
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn start(self: Arc<Self>, _: Part) -> Result<Box<dyn Run>> {
        Ok(Box::new(DropLateRun(self)))
    }
}

struct DropLateRun(Arc<DropLate>);

impl Run for DropLateRun {
    fn batch(&mut self, batch: RecordBatch) -> Result<Vec<RecordBatch>> {
        let closed = self.0.operator.watermarks().late();
        if closed == START_OF_TIME {
            return Ok(vec![batch]);
        }
        let times = self.0.time.evaluate(&batch)?;
        let over = over_at(&times.into_array(batch.num_rows())?, self.0.bound)?;
        let kept: BooleanArray = over.values().iter().map(|at| Some(*at > closed)).collect();
        let late = batch.num_rows() - kept.true_count();
        if late == 0 {
            return Ok(vec![batch]);
        }
        self.0.operator.late(late);
        Ok(vec![filter_record_batch(&batch, &kept)?])
    }
}
