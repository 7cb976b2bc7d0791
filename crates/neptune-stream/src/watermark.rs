//! How far event time has come in a job: the least of its sources, which moves between micro-batches.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::event_time::{END_OF_TIME, START_OF_TIME};
use crate::source::StreamTable;

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
    pub(crate) fn done(&mut self, sources: &[Arc<StreamTable>], read: &[bool], ended: &[bool], now: Instant) {
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
        let open = || each.clone().filter(|(_, ended)| !**ended).map(|(source, _)| source);
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
    use super::*;
    use crate::event_time::WatermarkRule;
    use crate::source::{GeneratorSource, RateGenerator};

    fn source(watermark: Option<i64>) -> Arc<StreamTable> {
        let generator = Arc::new(RateGenerator::new());
        let source = Arc::new(GeneratorSource::new("s", generator, 1));
        let schema = crate::source::Source::schema(source.as_ref());
        let rule = watermark.map(|_| WatermarkRule {
            column: 0,
            expression: datafusion::physical_expr::expressions::col("timestamp", &schema).unwrap(),
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
}
