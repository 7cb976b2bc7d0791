//! The strokes that every chart is made of, in pixels on an SVG drawing.

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, DashedPathElement, EmptyElement, PathElement, Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontStyle, IntoFont, RGBColor, ShapeStyle, TextStyle};

pub(super) const WHITE: RGBColor = RGBColor(255, 255, 255);
pub(super) const INK: RGBColor = RGBColor(34, 34, 34);
pub(super) const FAINT_INK: RGBColor = RGBColor(102, 102, 102);
pub(super) const GRID: RGBColor = RGBColor(226, 226, 226);
/// Vermilion, the colour of targets and of what misses them.
pub(super) const ALARM: RGBColor = RGBColor(213, 94, 0);

/// Size of ordinary text. The drawing library divides sizes by 1.24, so that this gives 13 pixels.
const TEXT: f64 = 13.0 * 1.24;
const SMALL_TEXT: f64 = 11.5 * 1.24;
const TITLE: f64 = 18.0 * 1.24;

/// Height of the part above a plot that holds title, subtitle and legend.
pub(super) const HEAD: i32 = 92;
/// Height of the part below a plot that holds the labels and name of its axis.
pub(super) const FOOT: i32 = 58;

pub(super) type Drawn = Result<(), String>;

/// Where a text stands relative to its point.
#[derive(Debug, Clone, Copy)]
pub(super) enum Align {
    Left,
    Centre,
    Right,
}

/// A drawing under way.
pub(super) struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
}

impl<'a> Canvas<'a> {
    pub(super) fn new(out: &'a mut String, width: i32, height: i32) -> Result<Self, String> {
        let size = (width.unsigned_abs(), height.unsigned_abs());
        let area = SVGBackend::with_string(out, size).into_drawing_area();
        area.fill(&WHITE).map_err(|error| error.to_string())?;
        Ok(Self { area })
    }

    pub(super) fn finish(self) -> Drawn {
        self.area.present().map_err(|error| error.to_string())
    }

    pub(super) fn titles(&self, title: &str, subtitle: &str) -> Drawn {
        self.styled(title, (16, 24), Align::Left, (TITLE, FontStyle::Bold), INK)?;
        self.styled(
            subtitle,
            (16, 48),
            Align::Left,
            (TEXT, FontStyle::Normal),
            FAINT_INK,
        )
    }

    pub(super) fn text(&self, text: &str, at: (i32, i32), align: Align) -> Drawn {
        self.styled(text, at, align, (TEXT, FontStyle::Normal), INK)
    }

    pub(super) fn small(&self, text: &str, at: (i32, i32), align: Align, ink: RGBColor) -> Drawn {
        self.styled(text, at, align, (SMALL_TEXT, FontStyle::Normal), ink)
    }

    fn styled(
        &self,
        text: &str,
        at: (i32, i32),
        align: Align,
        (size, style): (f64, FontStyle),
        ink: RGBColor,
    ) -> Drawn {
        let horizontal = match align {
            Align::Left => HPos::Left,
            Align::Centre => HPos::Center,
            Align::Right => HPos::Right,
        };
        let style = TextStyle::from(("sans-serif", size, style).into_font())
            .color(&ink)
            .pos(Pos::new(horizontal, VPos::Center));
        self.draw(&Text::new(text.to_owned(), at, style))
    }

    pub(super) fn bar(&self, from: (i32, i32), to: (i32, i32), colour: RGBColor) -> Drawn {
        self.draw(&Rectangle::new([from, to], colour.filled()))
    }

    pub(super) fn line(&self, points: Vec<(i32, i32)>, colour: RGBColor, width: u32) -> Drawn {
        self.draw(&PathElement::new(points, stroke(colour, width)))
    }

    pub(super) fn dashed(
        &self,
        points: Vec<(i32, i32)>,
        colour: RGBColor,
        width: u32,
        (dash, gap): (i32, i32),
    ) -> Drawn {
        self.draw(&DashedPathElement::new(
            points,
            dash,
            gap,
            stroke(colour, width),
        ))
    }

    pub(super) fn dot(&self, at: (i32, i32), radius: i32, colour: RGBColor) -> Drawn {
        self.draw(&(EmptyElement::at(at) + Circle::new((0, 0), radius, colour.filled())))
    }

    fn draw<'e, E, B>(&self, element: &'e E) -> Drawn
    where
        B: plotters::element::CoordMapper,
        &'e E: plotters::element::PointCollection<'e, (i32, i32), B>,
        E: plotters::element::Drawable<SVGBackend<'a>, B>,
    {
        self.area.draw(element).map_err(|error| error.to_string())
    }
}

fn stroke(colour: RGBColor, width: u32) -> ShapeStyle {
    colour.stroke_width(width)
}

/// Width that a text takes, near enough to keep clear of it. The drawing library does not know the
/// reader's font; half an em and a bit is what common sans-serif fonts need on average.
pub(super) fn text_width(text: &str) -> i32 {
    (text.chars().count() as f64 * 7.4).ceil() as i32
}

/// A duration in milliseconds with its unit, as short as it goes: `800 µs`, `1.5 ms`, `12 s`.
pub(super) fn duration_label(ms: f64) -> String {
    let (value, unit) = match ms {
        ..0.9995 => (ms * 1e3, "µs"),
        ..999.5 => (ms, "ms"),
        _ => (ms / 1e3, "s"),
    };
    let digits = match value {
        ..9.95 => 1,
        _ => 0,
    };
    let number = format!("{value:.digits$}");
    let number = number.strip_suffix(".0").unwrap_or(&number);
    format!("{number} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short_and_have_a_unit() {
        let cases = [
            (0.05, "50 µs"),
            (0.9, "900 µs"),
            (1.0, "1 ms"),
            (1.53, "1.5 ms"),
            (33.4, "33 ms"),
            (724.0, "724 ms"),
            (1000.0, "1 s"),
            (2500.0, "2.5 s"),
        ];
        for (ms, expected) in cases {
            assert_eq!(duration_label(ms), expected);
        }
    }
}
