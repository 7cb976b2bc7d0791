//! What something costs relative to a base, one bar per case, with the target drawn in.

use plotters::style::RGBColor;

use super::canvas::{ALARM, Align, Canvas, FAINT_INK, FOOT, GRID, HEAD, INK, text_width};
use super::scale::Scale;

const WITHIN: RGBColor = RGBColor(0, 114, 178);
const ROW: i32 = 20;
const WIDTH: i32 = 960;

/// Ratios to a base, shown as what is over one, in percent.
#[derive(Debug, Clone)]
pub struct RatioChart {
    /// Name of the file, without ending.
    pub name: String,
    /// Headline.
    pub title: String,
    /// What the reader must know: the settings of the run.
    pub subtitle: String,
    /// What the axis shows, such as `time over plain DataFusion`.
    pub axis: String,
    /// The cases, top to bottom.
    pub ratios: Vec<Ratio>,
    /// The limit for each case, if there is one; bars beyond it change colour.
    pub target: Option<Target>,
}

/// The ratio of one case.
#[derive(Debug, Clone)]
pub struct Ratio {
    /// Name of the case.
    pub name: String,
    /// Middle of the measured ratios.
    pub median: f64,
    /// Smallest and largest of them, or what else shows how sure the median is.
    pub range: (f64, f64),
}

/// The largest ratio wanted.
#[derive(Debug, Clone)]
pub struct Target {
    /// The ratio.
    pub ratio: f64,
    /// What it says beside the line.
    pub label: String,
}

impl RatioChart {
    pub(super) fn draw(&self) -> Result<String, String> {
        let names = self.ratios.iter().map(|ratio| text_width(&ratio.name));
        let left = names.max().ok_or("there are no cases")?.max(40) + 30;
        let right = WIDTH - 80;
        let bottom = HEAD + ROW * self.ratios.len() as i32 + 8;
        let target = self.target.as_ref().map(|target| over(target.ratio));
        let shown = self.ratios.iter();
        let shown = shown
            .flat_map(|r| [r.median, r.range.0, r.range.1])
            .map(over);
        let scale = Scale::linear(shown.chain([0.0]).chain(target), (left, right));
        let scale = scale.ok_or("there are no figures")?;

        let mut out = String::new();
        let canvas = Canvas::new(&mut out, WIDTH, bottom + FOOT)?;
        canvas.titles(&self.title, &self.subtitle)?;
        for tick in scale.ticks() {
            let x = scale.pixel(tick);
            canvas.line(vec![(x, HEAD), (x, bottom)], GRID, 1)?;
            canvas.small(&percent_label(tick), (x, bottom + 14), Align::Centre, INK)?;
        }
        let middle = i32::midpoint(left, right);
        canvas.text(&self.axis, (middle, bottom + 38), Align::Centre)?;
        for (index, ratio) in self.ratios.iter().enumerate() {
            let missed = self.target.as_ref().is_some_and(|t| ratio.median > t.ratio);
            let top = HEAD + 4 + ROW * index as i32;
            self.draw_row(&canvas, &scale, ratio, (left, right), (top, missed))?;
        }
        let zero = scale.pixel(0.0);
        canvas.line(vec![(zero, HEAD), (zero, bottom)], INK, 1)?;
        if let Some((target, over)) = self.target.as_ref().zip(target) {
            let x = scale.pixel(over);
            canvas.dashed(vec![(x, HEAD - 6), (x, bottom)], ALARM, 2, (6, 4))?;
            canvas.small(&target.label, (x, HEAD - 16), Align::Centre, ALARM)?;
        }
        canvas.finish()?;
        Ok(out)
    }

    fn draw_row(
        &self,
        canvas: &Canvas<'_>,
        scale: &Scale,
        ratio: &Ratio,
        (left, right): (i32, i32),
        (top, missed): (i32, bool),
    ) -> Result<(), String> {
        let middle = top + ROW / 2 - 1;
        canvas.text(&ratio.name, (left - 12, middle), Align::Right)?;
        if !ratio.median.is_finite() {
            return Ok(());
        }
        let (zero, end) = (scale.pixel(0.0), scale.pixel(over(ratio.median)));
        let colour = if missed { ALARM } else { WITHIN };
        let (from, to) = (zero.min(end), zero.max(end).max(zero.min(end) + 1));
        canvas.bar((from, top + 2), (to, top + ROW - 5), colour)?;
        let (low, high) = ratio.range;
        if low.is_finite() && high.is_finite() {
            let (low, high) = (scale.pixel(over(low)), scale.pixel(over(high)));
            canvas.line(vec![(low, middle), (high, middle)], INK, 1)?;
            for x in [low, high] {
                canvas.line(vec![(x, middle - 3), (x, middle + 3)], INK, 1)?;
            }
            canvas.dot((end, middle), 3, INK)?;
        }
        let label = percent_label(over(ratio.median));
        canvas.small(&label, (right + 10, middle), Align::Left, FAINT_INK)
    }
}

/// What is over one, in percent.
fn over(ratio: f64) -> f64 {
    (ratio - 1.0) * 100.0
}

fn percent_label(percent: f64) -> String {
    if percent.abs() < 5e-3 {
        return "0 %".to_owned();
    }
    let text = format!("{percent:+.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{} %", text.replace('-', "−"))
}
