//! Latencies as a histogram that costs nothing until the first one is recorded.

use hdrhistogram::Histogram;
use neptune_sched::Nanos;
use serde::Serialize;

/// A histogram of latencies with three significant digits.
#[derive(Debug, Clone, Default)]
pub struct Latencies(Option<Histogram<u64>>);

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half are below.
    pub p50: f64,
    /// 99 % are below.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

impl Latencies {
    /// Adds one.
    pub fn record(&mut self, latency: Nanos) {
        if self.0.is_none() {
            self.0 = Histogram::new(3).ok();
        }
        if let Some(histogram) = &mut self.0 {
            // Grows as needed; beyond what fits into 64 bits there are no latencies.
            let _ = histogram.record(latency.0.max(1));
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        match (&mut self.0, &other.0) {
            (Some(mine), Some(theirs)) => {
                // Auto-resizing histograms of the same precision can always be added.
                let _ = mine.add(theirs);
            }
            (mine @ None, Some(theirs)) => *mine = Some(theirs.clone()),
            (_, None) => {}
        }
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// The value below which the share `quantile` (0..=1) lies, in milliseconds; 0 when empty.
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        self.0
            .as_ref()
            .map_or(0.0, |h| h.value_at_quantile(quantile) as f64 / 1e6)
    }

    /// The largest in milliseconds; 0 when empty.
    pub fn max_ms(&self) -> f64 {
        self.0.as_ref().map_or(0.0, |h| h.max() as f64 / 1e6)
    }

    /// Median, 99th percentile and maximum.
    pub fn percentiles(&self) -> Percentiles {
        Percentiles {
            p50: self.quantile_ms(0.5),
            p99: self.quantile_ms(0.99),
            max: self.max_ms(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_of_any_size_keep_three_digits() {
        let mut latencies = Latencies::default();
        for ms in [1, 20, 3_000_000] {
            latencies.record(Nanos::from_millis(ms));
        }
        let near = |a: f64, b: f64| (a / b - 1.0).abs() < 0.001;
        assert!(near(latencies.quantile_ms(0.5), 20.0), "{latencies:?}");
        assert!(near(latencies.max_ms(), 3_000_000.0));
        let mut twice = latencies.clone();
        twice.merge(&latencies);
        assert_eq!(twice.count(), 6);
        assert_eq!(Latencies::default().percentiles(), Percentiles::default());
    }
}
