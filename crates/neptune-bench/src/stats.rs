//! Figures drawn from measurements: percentiles of latencies, medians with their spread, ratios of
//! interleaved pairs, geometric means.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Smallest latency told apart from zero, in nanoseconds.
const LOWEST_NS: u64 = 100;
/// Largest latency that can be recorded; anything longer counts as this much.
const HIGHEST_NS: u64 = 600_000_000_000;

/// A histogram of durations, kept in nanoseconds to three significant digits.
#[derive(Debug, Clone)]
pub struct Latencies {
    histogram: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

impl Latencies {
    /// An empty histogram for 100 ns to 10 minutes.
    pub fn new() -> Self {
        match Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, 3) {
            Ok(histogram) => Self { histogram },
            Err(error) => unreachable!("constant bounds are valid: {error}"),
        }
    }

    /// Adds one duration; longer than 10 minutes counts as 10 minutes.
    pub fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(HIGHEST_NS);
        self.histogram.saturating_record(nanos.min(HIGHEST_NS));
    }

    /// Adds everything that `other` holds.
    pub fn merge(&mut self, other: &Self) {
        // Both have the same bounds, which is the only thing that `add` can refuse.
        let added = self.histogram.add(&other.histogram);
        debug_assert!(added.is_ok(), "histograms of equal bounds add up");
    }

    /// How many durations were recorded.
    pub fn len(&self) -> u64 {
        self.histogram.len()
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.histogram.is_empty()
    }

    /// The latency in milliseconds that the share `quantile` (0 to 1) of all does not exceed.
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        to_ms(self.histogram.value_at_quantile(quantile))
    }

    /// The usual percentiles, or none when nothing was recorded.
    pub fn percentiles(&self) -> Option<Percentiles> {
        (!self.is_empty()).then(|| Percentiles {
            p50: self.quantile_ms(0.50),
            p90: self.quantile_ms(0.90),
            p99: self.quantile_ms(0.99),
            p999: self.quantile_ms(0.999),
            max: to_ms(self.histogram.max()),
        })
    }

    /// The cumulative distribution as (latency in milliseconds, share at or below it), rising.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        let total = self.len() as f64;
        let mut seen = 0;
        self.histogram
            .iter_recorded()
            .map(|bucket| {
                seen += bucket.count_at_value();
                (to_ms(bucket.value_iterated_to()), seen as f64 / total)
            })
            .collect()
    }
}

impl Extend<Duration> for Latencies {
    fn extend<I: IntoIterator<Item = Duration>>(&mut self, durations: I) {
        for duration in durations {
            self.record(duration);
        }
    }
}

fn to_ms(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

/// Percentiles of a latency, in milliseconds.
///
/// A percentile needs several samples above it to mean anything: p99.9 of fewer than some
/// thousands of samples is little more than the maximum.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half of all are at or below this.
    pub p50: f64,
    /// 90 % are at or below this.
    pub p90: f64,
    /// 99 % are at or below this.
    pub p99: f64,
    /// 99.9 % are at or below this.
    pub p999: f64,
    /// The longest seen.
    pub max: f64,
}

/// The middle of repeated measurements and how far they spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Half of the samples are on either side of this.
    pub median: f64,
    /// The smallest sample.
    pub min: f64,
    /// The largest sample.
    pub max: f64,
    /// How many samples there were.
    pub samples: usize,
}

impl Spread {
    /// The spread of `samples`, or none when there are none. Samples that are not finite are left out.
    pub fn of(samples: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = samples.into_iter().filter(|x| x.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Self {
            median,
            min,
            max,
            samples: sorted.len(),
        })
    }
}

/// Bounds between which the true median lies with about 95 % certainty, whatever the distribution: the
/// samples whose ranks are 0.98 times the root of their number from the middle. None without samples.
pub fn median_bounds(samples: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    let mut sorted: Vec<f64> = samples.into_iter().filter(|x| x.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let middle = last as f64 / 2.0;
    let reach = 0.98 * (sorted.len() as f64).sqrt();
    let low = (middle - reach).floor().max(0.0) as usize;
    let high = ((middle + reach).ceil() as usize).min(last);
    Some((sorted[low], sorted[high]))
}

/// The spread of `measured / base` over interleaved pairs `(base, measured)`.
///
/// Each pair is measured side by side in time, so that a drift of the machine hits both halves and
/// cancels out; a ratio of two medians would keep it. Pairs with a base of zero are left out.
pub fn pair_ratios(pairs: &[(f64, f64)]) -> Option<Spread> {
    Spread::of(pairs.iter().map(|(base, measured)| measured / base))
}

/// The geometric mean of positive numbers, or none when there are none or one is not positive.
pub fn geometric_mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut logs = 0.0;
    let mut count = 0_u32;
    for value in values {
        if !(value > 0.0 && value.is_finite()) {
            return None;
        }
        logs += value.ln();
        count += 1;
    }
    (count > 0).then(|| (logs / f64::from(count)).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(values: impl IntoIterator<Item = u64>) -> Latencies {
        let mut latencies = Latencies::new();
        latencies.extend(values.into_iter().map(Duration::from_millis));
        latencies
    }

    fn near(left: f64, right: f64) -> bool {
        (left - right).abs() <= right.abs() * 2e-3
    }

    #[test]
    fn percentiles_of_one_to_a_thousand() {
        let found = millis(1..=1000).percentiles().unwrap();
        let expected = [
            (found.p50, 500.0),
            (found.p90, 900.0),
            (found.p99, 990.0),
            (found.p999, 999.0),
            (found.max, 1000.0),
        ];
        for (left, right) in expected {
            assert!(near(left, right), "{left} is not near {right}");
        }
    }

    #[test]
    fn no_samples_have_no_percentiles() {
        assert_eq!(Latencies::new().percentiles(), None);
        assert!(Latencies::new().curve().is_empty());
    }

    #[test]
    fn a_latency_beyond_the_bound_is_kept_as_the_bound() {
        let mut latencies = Latencies::new();
        latencies.record(Duration::MAX);
        assert!(near(latencies.percentiles().unwrap().max, 600_000.0));
    }

    #[test]
    fn merged_histograms_hold_both() {
        let mut low = millis([1; 99]);
        low.merge(&millis([50]));
        assert_eq!(low.len(), 100);
        assert!(near(low.percentiles().unwrap().max, 50.0));
        assert!(near(low.quantile_ms(0.5), 1.0));
    }

    #[test]
    fn the_curve_rises_to_one() {
        let curve = millis([5, 1, 3, 3]).curve();
        let shares: Vec<f64> = curve.iter().map(|point| point.1).collect();
        assert_eq!(shares, [0.25, 0.75, 1.0]);
        assert!(curve.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn spread_takes_the_middle_of_odd_and_even_counts() {
        let cases = [
            (vec![], None),
            (vec![f64::NAN, f64::INFINITY], None),
            (vec![2.0], Some((2.0, 2.0, 2.0, 1))),
            (vec![3.0, 1.0, 2.0], Some((2.0, 1.0, 3.0, 3))),
            (vec![4.0, 1.0, f64::NAN, 2.0, 3.0], Some((2.5, 1.0, 4.0, 4))),
        ];
        for (samples, expected) in cases {
            let found = Spread::of(samples.iter().copied());
            let found = found.map(|s| (s.median, s.min, s.max, s.samples));
            assert_eq!(found, expected, "{samples:?}");
        }
    }

    #[test]
    fn median_bounds_close_in_with_more_samples() {
        let bounds = |count: u32| median_bounds((0..count).map(f64::from)).unwrap();
        assert_eq!(bounds(1), (0.0, 0.0));
        assert_eq!(bounds(5), (0.0, 4.0), "few samples bound it by all of them");
        assert_eq!(bounds(101), (40.0, 60.0));
        assert_eq!(median_bounds([f64::NAN]), None);
    }

    #[test]
    fn pair_ratios_cancel_a_drift_that_hits_both_halves() {
        // The machine becomes three times slower; every pair still says "2 % more".
        let pairs = [(1.0, 1.02), (2.0, 2.04), (3.0, 3.06)];
        let found = pair_ratios(&pairs).unwrap();
        assert!((found.median - 1.02).abs() < 1e-12 && (found.max - found.min) < 1e-12);
        assert_eq!(pair_ratios(&[(0.0, 1.0)]), None);
    }

    #[test]
    fn geometric_mean_of_inverse_ratios_is_one() {
        let found = geometric_mean([2.0, 0.5, 4.0, 0.25]).unwrap();
        assert!((found - 1.0).abs() < 1e-12);
        for bad in [vec![], vec![1.0, 0.0], vec![-1.0], vec![f64::NAN]] {
            assert_eq!(geometric_mean(bad), None);
        }
    }
}
