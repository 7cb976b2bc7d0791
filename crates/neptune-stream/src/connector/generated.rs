//! Declared tables whose rows are computed: `rate`, `nexmark`, and those of other crates' generators.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;

use super::TableSpec;
use super::options::Options;
use crate::error::StreamError;
use crate::source::{
    Clock, DEFAULT_EVENTS_PER_SECOND, DEFAULT_START_NANOS, GeneratorSource, GeneratorTable,
    NexmarkGenerator, NexmarkStart, NexmarkTable, RateGenerator, RowGenerator, RowTimes,
    SystemClock,
};

/// A generator with how much of it there is, and when.
pub(super) struct Generated {
    pub(super) generator: Arc<dyn RowGenerator>,
    rows_per_second: u64,
    /// Rows until the end, if it has one.
    pub(super) rows: Option<u64>,
    paced: bool,
}

impl fmt::Debug for Generated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generated")
            .field("rows_per_second", &self.rows_per_second)
            .field("rows", &self.rows)
            .field("paced", &self.paced)
            .finish_non_exhaustive()
    }
}

impl Generated {
    /// `generator` with options `rows_per_second`, `rows` and `paced`.
    pub(super) fn new(
        generator: Arc<dyn RowGenerator>,
        options: &mut Options<'_>,
    ) -> Result<Self, StreamError> {
        let rows = options.number("rows", 0)?;
        options.kind(true, false)?;
        Ok(Self {
            generator,
            rows_per_second: options.number("rows_per_second", 1)?.unwrap_or(1),
            rows,
            paced: paced(options, rows.is_some(), "rows")?,
        })
    }

    /// Connector `rate`.
    pub(super) fn rate(options: &mut Options<'_>) -> Result<Self, StreamError> {
        Self::new(Arc::new(RateGenerator::new()), options)
    }

    /// Connector `nexmark`; the names with dots are those that RisingWave has for the same.
    pub(super) fn nexmark(options: &mut Options<'_>) -> Result<Self, StreamError> {
        let key = options.either("table", "nexmark.table.type")?;
        let Some(table) = options.choice(key, &NexmarkTable::NAMES)? else {
            let help = "write table = 'person', 'auction' or 'bid'";
            return Err(options.missing("table", help));
        };
        let key = options.either("events", "nexmark.event.num")?;
        let events = options.number(key, 0)?;
        let rate = options.number("events_per_second", 1)?;
        let paced = paced(options, events.is_some(), "events")?;
        let start = start(options)?;
        if start == NexmarkStart::Now && !paced {
            let help = "leave out paced = 'false', or give the time of the first event";
            return Err(options.wrong(
                "start",
                "no time for events that are all there already",
                help.to_owned(),
            ));
        }
        options.kind(true, false)?;
        Ok(Self {
            generator: Arc::new(NexmarkGenerator::new(table, start)),
            rows_per_second: rate.unwrap_or(DEFAULT_EVENTS_PER_SECOND),
            rows: events.map(|events| table.rows_among(events)),
            paced,
        })
    }

    /// Checks a column list, if there is one, against the generator's columns.
    pub(super) fn check_columns(&self, spec: &TableSpec) -> Result<(), StreamError> {
        let Some(given) = &spec.schema else {
            return Ok(());
        };
        let own = self.generator.schema();
        let fits = own.fields().len() == given.fields().len()
            && own
                .fields()
                .iter()
                .zip(given.fields())
                .all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type());
        if fits {
            return Ok(());
        }
        let columns: Vec<_> = own
            .fields()
            .iter()
            .map(|f| format!("{} {}", f.name(), f.data_type()))
            .collect();
        Err(StreamError::Schema {
            table: spec.name.clone(),
            reason: format!(
                "connector '{}' has the columns ({})",
                spec.connector,
                columns.join(", ")
            ),
            help: "declare the same, or leave the column list out".to_owned(),
        })
    }

    /// A source of its own for one job.
    pub(super) fn source(&self, name: &str) -> GeneratorSource {
        let generator = Arc::clone(&self.generator);
        GeneratorSource::new(name, generator, self.rows_per_second)
            .with_rows(self.rows)
            .with_pace(self.paced)
    }

    /// The first `rows` rows, as a batch job reads them.
    pub(super) fn table(&self, name: &str, rows: u64) -> GeneratorTable {
        let times = RowTimes {
            start_micros: SystemClock::new().now_micros(),
            rows_per_second: self.rows_per_second,
        };
        GeneratorTable::new(name, Arc::clone(&self.generator), rows, times)
    }
}

/// Option `paced`: whether rows come at their rate, or all at once, which takes an end.
fn paced(options: &mut Options<'_>, has_end: bool, end: &'static str) -> Result<bool, StreamError> {
    let paced = options.flag("paced")?.unwrap_or(true);
    match paced || has_end {
        true => Ok(paced),
        false => Err(options.missing(
            end,
            "paced = 'false' has all rows at once, so there must be an end to them",
        )),
    }
}

/// Option `start`: when event 0 happens.
fn start(options: &mut Options<'_>) -> Result<NexmarkStart, StreamError> {
    let Some(text) = options.text("start") else {
        return Ok(NexmarkStart::At(DEFAULT_START_NANOS));
    };
    if text.eq_ignore_ascii_case("now") {
        return Ok(NexmarkStart::Now);
    }
    string_to_timestamp_nanos(text)
        .map(NexmarkStart::At)
        .map_err(|_| {
            let help = "write 'now' or a time such as '2026-01-01 00:00:00'";
            options.wrong("start", "not a time", help.to_owned())
        })
}
