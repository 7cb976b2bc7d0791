//! Several latencies for each case, as groups of bars on a logarithmic axis.

use plotters::style::RGBColor;

use super::canvas::{Align, Canvas, FAINT_INK, FOOT, GRID, HEAD, INK, duration_label, text_width};
use super::scale::Scale;

/// From light to dark: the further out the percentile, the darker.
const STEPS: [RGBColor; 5] = [
    RGBColor(166, 206, 227),
    RGBColor(107, 174, 214),
    RGBColor(49, 130, 189),
    RGBColor(8, 81, 156),
    RGBColor(8, 40, 92),
];
const BAR: i32 = 12;
const GAP: i32 = 14;
const WIDTH: i32 = 960;
/// Room on the right for the label of a bar that spans the whole axis.
const LABEL_ROOM: i32 = 70;

/// Figures in milliseconds for each of several cases.
#[derive(Debug, Clone)]
pub struct BarChart {
    /// Name of the file, without ending.
    pub name: String,
    /// Headline.
    pub title: String,
    /// What the reader must know: the settings of the run.
    pub subtitle: String,
    /// What each bar of a group is, such as `p50`; at most five.
    pub series: Vec<String>,
    /// The cases, top to bottom.
    pub groups: Vec<BarGroup>,
}

/// The bars of one case.
#[derive(Debug, Clone)]
pub struct BarGroup {
    /// Name of the case.
    pub name: String,
    /// One figure in milliseconds per series; one that is not positive is left out.
    pub values: Vec<f64>,
}

impl BarChart {
    pub(super) fn draw(&self) -> Result<String, String> {
        let series = self.series.len().min(STEPS.len());
        let names = self.groups.iter().map(|group| text_width(&group.name));
        let left = names.max().ok_or("there are no cases")?.max(60) + 30;
        let right = WIDTH - LABEL_ROOM;
        let group_height = BAR * series as i32 + GAP;
        let bottom = HEAD + group_height * self.groups.len() as i32;
        let values = self
            .groups
            .iter()
            .flat_map(|group| group.values.iter().copied());
        let scale = Scale::logarithmic(values, (left, right)).ok_or("there are no figures")?;

        let mut out = String::new();
        let canvas = Canvas::new(&mut out, WIDTH, bottom + FOOT)?;
        canvas.titles(&self.title, &self.subtitle)?;
        self.draw_legend(&canvas, left)?;
        draw_axis(&canvas, &scale, bottom)?;
        for (index, group) in self.groups.iter().enumerate() {
            let top = HEAD + group_height * index as i32 + GAP / 2;
            let middle = top + BAR * series as i32 / 2;
            canvas.text(&group.name, (left - 12, middle), Align::Right)?;
            for (step, &value) in group.values.iter().take(series).enumerate() {
                if !(value.is_finite() && value > 0.0) {
                    continue;
                }
                let y = top + BAR * step as i32;
                let end = scale.pixel(value).max(left + 1);
                canvas.bar((left, y), (end, y + BAR - 2), STEPS[shade(step, series)])?;
                let label = duration_label(value);
                canvas.small(&label, (end + 5, y + BAR / 2), Align::Left, FAINT_INK)?;
            }
        }
        canvas.line(vec![(left, HEAD), (left, bottom)], INK, 1)?;
        canvas.finish()?;
        Ok(out)
    }

    fn draw_legend(&self, canvas: &Canvas<'_>, left: i32) -> Result<(), String> {
        let mut x = left;
        let series = self.series.len().min(STEPS.len());
        for (step, name) in self.series.iter().take(series).enumerate() {
            canvas.bar((x, 68), (x + 14, 80), STEPS[shade(step, series)])?;
            canvas.text(name, (x + 20, 74), Align::Left)?;
            x += 20 + text_width(name) + 22;
        }
        Ok(())
    }
}

/// Spreads few series over all shades, so that two of them are not neighbours in brightness.
fn shade(step: usize, series: usize) -> usize {
    if series < 2 {
        return STEPS.len() / 2;
    }
    step * (STEPS.len() - 1) / (series - 1)
}

fn draw_axis(canvas: &Canvas<'_>, scale: &Scale, bottom: i32) -> Result<(), String> {
    let ticks = scale.ticks();
    for &tick in &ticks {
        let x = scale.pixel(tick);
        canvas.line(vec![(x, HEAD), (x, bottom)], GRID, 1)?;
        canvas.small(&duration_label(tick), (x, bottom + 14), Align::Centre, INK)?;
    }
    let middle = ticks.first().zip(ticks.last());
    let middle = middle.map_or(WIDTH / 2, |(first, last)| {
        i32::midpoint(scale.pixel(*first), scale.pixel(*last))
    });
    canvas.text(
        "latency (logarithmic)",
        (middle, bottom + 38),
        Align::Centre,
    )
}
