//! How latencies are distributed, one curve per case, with the tail stretched so that it can be seen.
//!
//! The vertical axis counts nines: 90 %, 99 % and 99.9 % are equally far apart, since a plain axis
//! would press everything that matters for a tail into its topmost pixel.

use plotters::style::RGBColor;

use super::canvas::{Align, Canvas, FOOT, GRID, HEAD, INK, duration_label, text_width};
use super::scale::Scale;

/// Hues by Okabe and Ito without yellow, which is too light for a line on white, and without black,
/// which is for emphasis.
const HUES: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
/// Dash and gap of the second and third time round the hues; the first is solid.
const DASHES: [(i32, i32); 2] = [(9, 5), (3, 4)];
const WIDTH: i32 = 960;
const PLOT_HEIGHT: i32 = 400;
const LEFT: i32 = 84;

/// Distributions of latencies.
#[derive(Debug, Clone)]
pub struct CdfChart {
    /// Name of the file, without ending.
    pub name: String,
    /// Headline.
    pub title: String,
    /// What the reader must know: the settings of the run.
    pub subtitle: String,
    /// The cases, in the order of the legend.
    pub curves: Vec<Curve>,
}

/// The distribution of one case.
#[derive(Debug, Clone)]
pub struct Curve {
    /// Name of the case.
    pub name: String,
    /// Latency in milliseconds and the share at or below it, rising, as
    /// [`Latencies::curve`](crate::stats::Latencies::curve) gives it.
    pub points: Vec<(f64, f64)>,
    /// How many samples it was drawn from, which bounds how many nines it can tell of.
    pub samples: u64,
    /// Drawn last, in black and thicker: the case that the chart is about.
    pub emphasis: bool,
}

impl CdfChart {
    pub(super) fn draw(&self) -> Result<String, String> {
        let names = self.curves.iter().map(|curve| text_width(&curve.name));
        let legend = names.max().ok_or("there are no cases")? + 58;
        let (right, bottom) = (
            WIDTH - legend - 20,
            HEAD + PLOT_HEIGHT.max(self.legend_height()),
        );
        let values = self
            .curves
            .iter()
            .flat_map(|curve| curve.points.iter().map(|p| p.0));
        let x = Scale::logarithmic(values, (LEFT, right)).ok_or("there are no figures")?;
        let most = self
            .curves
            .iter()
            .map(|curve| curve.samples)
            .max()
            .unwrap_or(1);
        let y = Scale::exactly((0.0, top_nines(most)), (bottom, HEAD));

        let mut out = String::new();
        let canvas = Canvas::new(&mut out, WIDTH, bottom + FOOT)?;
        canvas.titles(&self.title, &self.subtitle)?;
        canvas.small(
            "share of probes at or below",
            (16, HEAD - 14),
            Align::Left,
            INK,
        )?;
        draw_grid(&canvas, &x, &y, (right, bottom), top_nines(most))?;
        let mut styles = Style::in_turn();
        let mut last = Vec::new();
        for (index, curve) in self.curves.iter().enumerate() {
            let plain = if curve.emphasis { None } else { styles.next() };
            let style = plain.unwrap_or(Style::EMPHASIS);
            let points = curve_pixels(curve, &x, &y);
            if curve.emphasis {
                last.push(points);
            } else {
                style.draw(&canvas, points)?;
            }
            let row = HEAD + 10 + 22 * index as i32;
            style.draw(&canvas, vec![(right + 22, row), (right + 56, row)])?;
            canvas.text(&curve.name, (right + 64, row), Align::Left)?;
        }
        for points in last {
            Style::EMPHASIS.draw(&canvas, points)?;
        }
        canvas.finish()?;
        Ok(out)
    }

    fn legend_height(&self) -> i32 {
        22 * self.curves.len() as i32
    }
}

/// Nines of a share: 0 for none, 1 for 90 %, 3 for 99.9 %.
fn nines(share: f64) -> f64 {
    -(1.0 - share).max(f64::MIN_POSITIVE).log10()
}

/// Where the axis ends: where one sample in all is left over, but within 99 % and 99.999 %.
fn top_nines(samples: u64) -> f64 {
    (samples.max(1) as f64).log10().clamp(2.0, 5.0)
}

fn draw_grid(
    canvas: &Canvas<'_>,
    x: &Scale,
    y: &Scale,
    (right, bottom): (i32, i32),
    top: f64,
) -> Result<(), String> {
    for tick in x.ticks() {
        let at = x.pixel(tick);
        canvas.line(vec![(at, HEAD), (at, bottom)], GRID, 1)?;
        canvas.small(&duration_label(tick), (at, bottom + 14), Align::Centre, INK)?;
    }
    let shares = [
        (0.0, "0 %"),
        (0.5, "50 %"),
        (0.9, "90 %"),
        (0.99, "99 %"),
        (0.999, "99.9 %"),
        (0.9999, "99.99 %"),
        (0.99999, "99.999 %"),
    ];
    for (share, label) in shares {
        if nines(share) <= top + 1e-9 {
            let at = y.pixel(nines(share));
            canvas.line(vec![(LEFT, at), (right, at)], GRID, 1)?;
            canvas.small(label, (LEFT - 8, at), Align::Right, INK)?;
        }
    }
    canvas.line(vec![(LEFT, HEAD), (LEFT, bottom), (right, bottom)], INK, 1)?;
    let middle = i32::midpoint(LEFT, right);
    canvas.text(
        "latency (logarithmic)",
        (middle, bottom + 38),
        Align::Centre,
    )
}

/// A staircase, as a distribution of samples is: at each latency straight up to its share.
fn curve_pixels(curve: &Curve, x: &Scale, y: &Scale) -> Vec<(i32, i32)> {
    let mut pixels: Vec<(i32, i32)> = Vec::new();
    let mut share = 0.0;
    for &(latency, next_share) in &curve.points {
        let at = x.pixel(latency);
        pixels.extend([
            (at, y.pixel(nines(share))),
            (at, y.pixel(nines(next_share))),
        ]);
        share = next_share;
    }
    pixels.dedup();
    pixels
}

/// How a curve is told from the others.
#[derive(Debug, Clone, Copy)]
struct Style {
    colour: RGBColor,
    width: u32,
    dash: Option<(i32, i32)>,
}

impl Style {
    const EMPHASIS: Self = Self {
        colour: RGBColor(0, 0, 0),
        width: 3,
        dash: None,
    };

    /// All hues solid, then all dashed, and so on.
    fn in_turn() -> impl Iterator<Item = Self> {
        let dashes = [None]
            .into_iter()
            .chain(DASHES.into_iter().map(Some))
            .cycle();
        dashes.flat_map(|dash| {
            HUES.map(|colour| Self {
                colour,
                width: 2,
                dash,
            })
        })
    }

    fn draw(self, canvas: &Canvas<'_>, points: Vec<(i32, i32)>) -> Result<(), String> {
        match self.dash {
            None => canvas.line(points, self.colour, self.width),
            Some(dash) => canvas.dashed(points, self.colour, self.width, dash),
        }
    }
}
