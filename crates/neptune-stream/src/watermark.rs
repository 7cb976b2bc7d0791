//! How far event time has come: in a source by its rows, in a job by the least of its sources, between micro-batches.
//!
//! Watermarks are nanoseconds since the Unix epoch.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::compute::{cast, max};
use datafusion::arrow::datatypes::{DataType, TimeUnit, TimestampNanosecondType};
use datafusion::common::Result;
use datafusion::physical_plan::PhysicalExpr;

use crate::event_time::{END_OF_TIME, START_OF_TIME};
use crate::source::StreamTable;

/// How the watermark of a source follows from its rows.
#[derive(Debug, Clone)]
pub struct WatermarkRule {
    /// The event time column, as an index into the source's schema.
    pub column: usize,
    /// Gives each row's watermark, a timestamp; over the source's schema.
    pub expression: Arc<dyn PhysicalExpr>,
}

impl WatermarkRule {
    /// The largest watermark of the rows of `batch`, which has the source's columns.
    ///
    /// # Errors
    /// Those of the expression.
    pub fn highest(&self, batch: &RecordBatch) -> Result<Option<i64>> {
        if batch.num_rows() == 0 {
            return Ok(None);
        }
        let values = self
            .expression
            .evaluate(batch)?
            .into_array(batch.num_rows())?;
        let nanos = DataType::Timestamp(TimeUnit::Nanosecond, None);
        // A time that nanoseconds cannot hold becomes NULL and says nothing.
        let values = match values.data_type() {
            DataType::Timestamp(TimeUnit::Nanosecond, _) => values,
            _ => cast(&values, &nanos)?,
        };
        Ok(max(values.as_primitive::<TimestampNanosecondType>()))
    }
}

/// Follows the watermark of a job.
#[derive(Debug)]
pub(crate) struct WatermarkTracker {
    /// When each source gave rows last.
    busy: Vec<Instant>,
    /// A source that has been without rows for so long holds nobody up.
    idle_after: Option<Duration>,
    /// What the present micro-batch closes.
    over: i64,
    /// What the one before it closed.
    late: i64,
}

impl WatermarkTracker {
    pub(crate) fn new(sources: usize, idle_after: Option<Duration>, now: Instant) -> Self {
        Self {
            busy: vec![now; sources],
            idle_after,
            over: START_OF_TIME,
            late: START_OF_TIME,
        }
    }

    /// Goes on from where an earlier run had closed everything over by `late`, and was to close what is over by `over`.
    pub(crate) fn restore(&mut self, late: i64, over: i64) {
        self.late = late;
        self.over = over;
    }

    /// What has been closed before the next micro-batch, and what that closes.
    pub(crate) fn next(&self) -> (i64, i64) {
        (self.late, self.over)
    }

    /// A micro-batch is done; `read` tells which sources had rows in it.
    pub(crate) fn done(
        &mut self,
        sources: &[Arc<StreamTable>],
        read: &[bool],
        ended: &[bool],
        now: Instant,
    ) {
        for (busy, _) in self.busy.iter_mut().zip(read).filter(|(_, read)| **read) {
            *busy = now;
        }
        self.late = self.over;
        self.look(sources, ended, now);
    }

    /// Looks how far the sources have come.
    pub(crate) fn look(&mut self, sources: &[Arc<StreamTable>], ended: &[bool], now: Instant) {
        let waits = |index: usize| {
            let since = now.saturating_duration_since(self.busy[index]);
            self.idle_after.is_some_and(|patience| since >= patience)
        };
        let each = sources.iter().enumerate().zip(ended);
        let open = || {
            each.clone()
                .filter(|(_, ended)| !**ended)
                .map(|(source, _)| source)
        };
        let reached = if open().next().is_none() {
            // Nothing comes any more, and so everything is over.
            Some(END_OF_TIME)
        } else {
            let of = |wanted: bool| {
                open()
                    .filter(|(index, _)| !wanted || !waits(*index))
                    .filter_map(|(_, source)| source.watermark())
                    .min()
            };
            // Where all sources are idle, none of them says that time goes on.
            of(true).or_else(|| of(false))
        };
        // An ended source holds nobody up; a job of sources without event time stays where it is until they end.
        self.over = self.over.max(reached.unwrap_or(START_OF_TIME));
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::TimestampMillisecondArray;
    use datafusion::arrow::datatypes::{Field, Schema};
    use datafusion::physical_expr::expressions::col;

    use super::*;
    use crate::source::{GeneratorSource, RateGenerator};

    fn source(watermark: Option<i64>) -> Arc<StreamTable> {
        let generator = Arc::new(RateGenerator::new());
        let source = Arc::new(GeneratorSource::new("s", generator, 1));
        let schema = crate::source::Source::schema(source.as_ref());
        let rule = watermark.map(|_| WatermarkRule {
            column: 0,
            expression: col("timestamp", &schema).unwrap(),
        });
        let table = StreamTable::new(source, rule);
        table.restore_watermark(watermark.unwrap_or(0));
        Arc::new(table)
    }

    #[test]
    fn the_slowest_open_source_that_is_not_idle_counts() {
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        let (slow, fast, timeless) = (source(Some(10)), source(Some(20)), source(None));
        let sources = [slow, fast, timeless];
        let patience = Some(Duration::from_secs(5));
        let mut tracker = WatermarkTracker::new(3, patience, start);
        let open = [false, false, false];
        assert_eq!(tracker.next(), (START_OF_TIME, START_OF_TIME));
        tracker.done(&sources, &[true, true, true], &open, later(1));
        assert_eq!(tracker.next(), (START_OF_TIME, 10));
        // The slow one is idle for five seconds; then all are.
        tracker.done(&sources, &[false, true, false], &open, later(6));
        assert_eq!(tracker.next(), (10, 20));
        tracker.look(&sources, &open, later(60));
        assert_eq!(tracker.next(), (10, 20));
        tracker.look(&sources, &[true, true, false], later(60));
        assert_eq!(tracker.next(), (10, 20));
        tracker.look(&sources, &[true; 3], later(60));
        assert_eq!(tracker.next(), (10, END_OF_TIME));
    }

    #[test]
    fn the_watermark_is_the_highest_time_in_nanoseconds_and_ignores_nulls() {
        let time = DataType::Timestamp(TimeUnit::Millisecond, None);
        let schema = Arc::new(Schema::new(vec![Field::new("ts", time, true)]));
        let rule = WatermarkRule {
            column: 0,
            expression: col("ts", &schema).unwrap(),
        };
        for (rows, highest) in [
            (vec![Some(3), None, Some(7), Some(-2)], Some(7_000_000)),
            (vec![None], None),
            (vec![], None),
            (vec![Some(i64::MAX), Some(1)], Some(1_000_000)),
        ] {
            let column = Arc::new(TimestampMillisecondArray::from(rows));
            let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column]).unwrap();
            assert_eq!(rule.highest(&batch).unwrap(), highest);
        }
    }
}
