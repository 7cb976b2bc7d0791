//! What a suite hands back: one JSON object for machines, aligned tables for people.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{BenchError, Result};
use crate::machine::{Machine, Versions};

/// The machine-readable report of one suite.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Name of the suite.
    pub suite: String,
    /// Seed of everything random in it.
    pub seed: u64,
    /// Where it ran.
    pub machine: Machine,
    /// With what.
    pub versions: Versions,
    /// How it was set up: the settings of the command line that shape the figures.
    pub settings: BTreeMap<String, Value>,
    /// Figures about the suite as a whole.
    #[serde(flatten)]
    pub totals: BTreeMap<String, Value>,
    /// One entry per measured case.
    pub cases: Vec<Case>,
}

impl Report {
    /// Writes the report as one line of JSON.
    ///
    /// # Errors
    /// When a figure cannot be written as JSON or the writer fails.
    pub fn write_line(&self, out: &mut dyn Write) -> Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        writeln!(out).map_err(|source| BenchError::io("write", "standard output", source))
    }

    /// Writes the report to a file, indented.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_file(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(path, text).map_err(|source| BenchError::io("write", path, source))
    }

    /// The case of that name.
    pub fn case(&self, name: &str) -> Option<&Case> {
        self.cases.iter().find(|case| case.name == name)
    }
}

/// The figures of one case.
#[derive(Debug, Clone, Serialize)]
pub struct Case {
    /// Name of the case, as `--only` takes it.
    pub name: String,
    /// Its figures by name.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

impl Case {
    /// A case without figures yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            fields: Map::new(),
        }
    }

    /// Adds a figure; a value that is none, or not a finite number, is left out.
    ///
    /// # Errors
    /// When the value cannot be written as JSON.
    pub fn set(&mut self, field: &str, value: impl Serialize) -> Result<()> {
        let value = serde_json::to_value(value)?;
        if !value.is_null() {
            self.fields.insert(field.to_owned(), value);
        }
        Ok(())
    }
}

/// A table of text for a terminal: the first column to the left, the others to the right.
#[derive(Debug, Clone)]
pub struct Table {
    title: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these column heads.
    pub fn new(title: impl Into<String>, head: &[&str]) -> Self {
        Self {
            title: title.into(),
            head: head.iter().map(|&cell| cell.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; a row too short is filled up with empty cells.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Writes title, heads, a rule and the rows.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns.max(self.head.len()))
            .map(|column| {
                let rows = self.rows.iter().chain([&self.head]);
                rows.filter_map(|row| row.get(column))
                    .map(|cell| cell.chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        writeln!(out, "{}", self.title)?;
        write_cells(out, &widths, &self.head)?;
        let rule = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
        writeln!(out, "{}", "-".repeat(rule))?;
        for row in &self.rows {
            write_cells(out, &widths, row)?;
        }
        Ok(())
    }
}

fn write_cells(out: &mut dyn Write, widths: &[usize], cells: &[String]) -> io::Result<()> {
    let mut line = String::new();
    for (column, width) in widths.iter().enumerate() {
        let cell = cells.get(column).map_or("", String::as_str);
        if column == 0 {
            line += &format!("{cell:<width$}");
        } else {
            line += &format!("  {cell:>width$}");
        }
    }
    writeln!(out, "{}", line.trim_end())
}

/// A figure with about three significant digits, for a table; a dash for none.
pub fn figure(value: impl Into<Option<f64>>) -> String {
    match value.into() {
        None => "-".to_owned(),
        Some(value) if !value.is_finite() => "-".to_owned(),
        Some(value) if value != 0.0 && value.abs() < 0.1 => format!("{value:.4}"),
        Some(value) if value.abs() < 10.0 => format!("{value:.2}"),
        Some(value) if value.abs() < 100.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.0}"),
    }
}

/// A share as a percentage with one decimal, for a table; a dash for none.
pub fn percent(share: impl Into<Option<f64>>) -> String {
    let share = share.into().filter(|share| share.is_finite());
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Percentiles;

    fn report() -> Report {
        let mut case = Case::new("shared_runtime");
        let probe = Percentiles {
            p50: 1.5,
            p90: 2.0,
            p99: 33.0,
            p999: 100.0,
            max: 724.0,
        };
        case.set("probe_ms", probe).unwrap();
        case.set("batch_per_s", 4.2).unwrap();
        case.set("realtime", false).unwrap();
        case.set("absent", None::<f64>).unwrap();
        case.set("infinite", f64::INFINITY).unwrap();
        Report {
            suite: "preempt".to_owned(),
            seed: 42,
            machine: Machine::detect(),
            versions: Versions::built_with("system"),
            settings: BTreeMap::from([("secs".to_owned(), 30.into())]),
            totals: BTreeMap::from([("geomean".to_owned(), 1.002.into())]),
            cases: vec![case],
        }
    }

    #[test]
    fn the_json_has_the_documented_shape() {
        let mut line = Vec::new();
        report().write_line(&mut line).unwrap();
        let text = String::from_utf8(line).unwrap();
        assert_eq!(text.matches('\n').count(), 1, "one line");
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["suite"], "preempt");
        assert_eq!(json["seed"], 42);
        assert_eq!(json["geomean"], 1.002);
        for key in ["cpu", "cores", "memory_bytes", "kernel"] {
            assert!(!json["machine"][key].is_null(), "machine.{key}");
        }
        for key in ["neptune", "datafusion", "arrow", "rustc", "allocator"] {
            assert!(json["versions"][key].is_string(), "versions.{key}");
        }
        let expected = serde_json::json!({
            "name": "shared_runtime",
            "probe_ms": {"p50": 1.5, "p90": 2.0, "p99": 33.0, "p999": 100.0, "max": 724.0},
            "batch_per_s": 4.2,
            "realtime": false,
        });
        assert_eq!(json["cases"], serde_json::json!([expected]));
    }

    #[test]
    fn a_report_is_written_to_a_file_or_the_path_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.json");
        report().write_file(&path).unwrap();
        let json: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(json["cases"][0]["name"], "shared_runtime");
        let missing = dir.path().join("no/such/dir.json");
        let error = report().write_file(&missing).unwrap_err().to_string();
        assert!(error.contains("no/such/dir.json"), "{error}");
    }

    #[test]
    fn tables_align_their_columns() {
        let mut table = Table::new("Probe latency", &["design", "p50 µs", "p99"]);
        table.row(["alone".to_owned(), figure(1.5), figure(2.0)]);
        table.row(["shared_runtime".to_owned(), figure(161.2)]);
        let mut text = Vec::new();
        table.write(&mut text).unwrap();
        let expected = "\
Probe latency
design          p50 µs   p99
----------------------------
alone             1.50  2.00
shared_runtime     161
";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn figures_keep_about_three_digits() {
        let cases = [
            (0.0, "0.00"),
            (0.014, "0.0140"),
            (1.5, "1.50"),
            (33.04, "33.0"),
            (724.3, "724"),
            (f64::NAN, "-"),
        ];
        for (value, expected) in cases {
            assert_eq!(figure(value), expected);
        }
        assert_eq!(figure(None), "-");
        assert_eq!(percent(0.974), "97.4 %");
    }
}
