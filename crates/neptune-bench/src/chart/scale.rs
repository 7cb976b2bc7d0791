//! From figures to pixels, and the round figures worth a label.

/// A logarithmic or linear scale along a stretch of pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    logarithmic: bool,
    low: f64,
    high: f64,
    first_pixel: f64,
    last_pixel: f64,
}

impl Scale {
    /// A logarithmic scale that holds all positive `values`; none when there are none.
    pub(super) fn logarithmic(
        values: impl IntoIterator<Item = f64>,
        pixels: (i32, i32),
    ) -> Option<Self> {
        let positive = |value: &f64| value.is_finite() && *value > 0.0;
        let (low, high) = bounds(values.into_iter().filter(positive))?;
        // At least a factor of four, so that a scale never degenerates to a point.
        let (low, high) = (round_down(low * 0.8), round_up((high * 1.1).max(low * 4.0)));
        Some(Self::over(true, (low, high), pixels))
    }

    /// A linear scale that holds all `values`; none when there are none.
    pub(super) fn linear(
        values: impl IntoIterator<Item = f64>,
        pixels: (i32, i32),
    ) -> Option<Self> {
        let (low, high) = bounds(values.into_iter().filter(|value| value.is_finite()))?;
        let step = linear_step(low, high.max(low + 1e-9));
        let (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
        Some(Self::over(false, (low, high.max(low + step)), pixels))
    }

    /// A linear scale of exactly this extent.
    pub(super) fn exactly(extent: (f64, f64), pixels: (i32, i32)) -> Self {
        Self::over(false, extent, pixels)
    }

    fn over(logarithmic: bool, (low, high): (f64, f64), (first, last): (i32, i32)) -> Self {
        Self {
            logarithmic,
            low,
            high,
            first_pixel: f64::from(first),
            last_pixel: f64::from(last),
        }
    }

    /// The pixel of a figure; figures outside the scale are moved to its nearer end.
    pub(super) fn pixel(&self, value: f64) -> i32 {
        let value = value.clamp(self.low, self.high);
        let share = if self.logarithmic {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        (self.first_pixel + share * (self.last_pixel - self.first_pixel)).round() as i32
    }

    /// Round figures on the scale, rising: steps of 1, 2 and 5 (only 1 over many decades).
    pub(super) fn ticks(&self) -> Vec<f64> {
        let mut ticks = Vec::new();
        if self.logarithmic {
            let decades = (self.high / self.low).log10();
            let steps: &[f64] = if decades > 4.5 {
                &[1.0]
            } else {
                &[1.0, 2.0, 5.0]
            };
            let exponents = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
            for exponent in exponents {
                ticks.extend(steps.iter().map(|step| step * 10_f64.powi(exponent)));
            }
        } else {
            let step = linear_step(self.low, self.high);
            let first = (self.low / step).round() as i64;
            let last = (self.high / step).round() as i64;
            ticks.extend((first..=last).map(|index| index as f64 * step));
        }
        let slack = 1e-9;
        let (low, high) = if self.logarithmic {
            (self.low * (1.0 - slack), self.high * (1.0 + slack))
        } else {
            let slack = (self.high - self.low) * slack;
            (self.low - slack, self.high + slack)
        };
        ticks.retain(|tick| (low..=high).contains(tick));
        ticks
    }
}

fn bounds(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |bounds, value| match bounds {
        None => Some((value, value)),
        Some((low, high)) => Some((f64::min(low, value), f64::max(high, value))),
    })
}

/// A step of 1, 2 or 5 times a power of ten that cuts the extent into four to ten parts.
fn linear_step(low: f64, high: f64) -> f64 {
    let rough = (high - low) / 8.0;
    let power = 10_f64.powf(rough.log10().floor());
    let factor = match rough / power {
        ..=1.0 => 1.0,
        ..=2.0 => 2.0,
        ..=5.0 => 5.0,
        _ => 10.0,
    };
    factor * power
}

const ROUND: [f64; 4] = [1.0, 2.0, 5.0, 10.0];

fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let factor = ROUND.into_iter().find(|factor| factor * power >= value);
    factor.unwrap_or(10.0) * power
}

fn round_down(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let factor = ROUND
        .into_iter()
        .rev()
        .find(|factor| factor * power <= value);
    factor.unwrap_or(1.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logarithmic_scale_is_even_in_factors() {
        let scale = Scale::logarithmic([1.4, 724.0], (100, 700)).unwrap();
        assert_eq!((scale.low, scale.high), (1.0, 1000.0));
        let pixels = [1.0, 10.0, 100.0, 1000.0].map(|value| scale.pixel(value));
        assert_eq!(pixels, [100, 300, 500, 700]);
        let ticks = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];
        let found = scale.ticks();
        assert_eq!(found.len(), ticks.len(), "{found:?}");
        for (left, right) in found.iter().zip(ticks) {
            assert!((left / right - 1.0).abs() < 1e-9, "{found:?}");
        }
    }

    #[test]
    fn values_outside_land_on_the_ends() {
        let scale = Scale::logarithmic([1.5, 9.0], (0, 100)).unwrap();
        assert_eq!((scale.pixel(0.0), scale.pixel(1e9)), (0, 100));
    }

    #[test]
    fn a_linear_scale_has_round_ends_and_ticks() {
        let scale = Scale::linear([-0.4, 2.1], (0, 600)).unwrap();
        assert_eq!((scale.low, scale.high), (-0.5, 2.5));
        let found = scale.ticks();
        assert_eq!(found.len(), 7, "{found:?}");
        assert!(
            found.iter().any(|tick| tick.abs() < 1e-12),
            "zero is a tick: {found:?}"
        );
    }

    #[test]
    fn degenerate_values_still_make_a_scale_or_none() {
        assert!(Scale::logarithmic([], (0, 1)).is_none());
        assert!(Scale::logarithmic([0.0, -1.0, f64::NAN], (0, 1)).is_none());
        assert!(Scale::linear([f64::NAN], (0, 1)).is_none());
        for scale in [
            Scale::logarithmic([3.0], (0, 100)).unwrap(),
            Scale::linear([3.0], (0, 100)).unwrap(),
            Scale::linear([0.0, 0.0], (0, 100)).unwrap(),
        ] {
            assert!(
                scale.high > scale.low && !scale.ticks().is_empty(),
                "{scale:?}"
            );
        }
    }
}
