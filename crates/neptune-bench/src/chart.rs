//! Charts as SVG files: percentiles per case, latency distributions, ratios against a target.
//!
//! Bars lie on their side so that the names of the cases stand upright and never overlap. Latencies
//! span four orders of magnitude, so their axis is logarithmic. Colours are told apart with any kind
//! of colour vision: percentiles are steps of one hue from light to dark, cases differ in hue,
//! brightness and dash.

use std::fs;
use std::path::{Path, PathBuf};

mod bars;
mod canvas;
mod cdf;
mod ratios;
mod scale;

pub use bars::{BarChart, BarGroup};
pub use cdf::{CdfChart, Curve};
pub use ratios::{Ratio, RatioChart, Target};

use crate::error::{BenchError, Result};

/// A chart of one of the three kinds.
#[derive(Debug, Clone)]
pub enum Chart {
    /// Bars of several figures for each case.
    Bars(BarChart),
    /// Distributions of latencies.
    Cdf(CdfChart),
    /// Ratios to a base, with a target.
    Ratios(RatioChart),
}

impl Chart {
    /// Name of its file, without the ending.
    pub fn name(&self) -> &str {
        match self {
            Self::Bars(chart) => &chart.name,
            Self::Cdf(chart) => &chart.name,
            Self::Ratios(chart) => &chart.name,
        }
    }

    /// Draws it as the text of an SVG file.
    ///
    /// # Errors
    /// When it has nothing to show.
    pub fn svg(&self) -> Result<String> {
        let drawn = match self {
            Self::Bars(chart) => chart.draw(),
            Self::Cdf(chart) => chart.draw(),
            Self::Ratios(chart) => chart.draw(),
        };
        drawn.map_err(|reason| BenchError::Chart {
            name: self.name().to_owned(),
            reason,
        })
    }

    /// Writes it into a directory, which is made if missing, and says where.
    ///
    /// # Errors
    /// When it cannot be drawn or written.
    pub fn write(&self, dir: &Path) -> Result<PathBuf> {
        let text = self.svg()?;
        fs::create_dir_all(dir).map_err(|source| BenchError::io("create", dir, source))?;
        let path = dir.join(format!("{}.svg", self.name()));
        fs::write(&path, text).map_err(|source| BenchError::io("write", &path, source))?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests;
