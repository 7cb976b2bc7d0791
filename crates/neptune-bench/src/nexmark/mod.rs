//! The queries of Nexmark over the tables of connector `nexmark`, in Neptune's dialect.
//!
//! Each is a `SELECT` over tables `person`, `auction` and `bid` (and `side_input`), the same for a stream job and for a
//! batch job. They ask what the benchmark's descriptions say, in words of ours; where a description leaves a tie open, a
//! query decides it, so that its answer is one.

mod count_char;

use datafusion::prelude::SessionContext;

use crate::error::{BenchError, Result};

pub use count_char::count_char_udf;

/// What a query asks of an engine, beyond filters and projections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Need {
    /// Groups that do not end with a window.
    Groups,
    /// Windows of fixed length, one after the other.
    Tumble,
    /// Windows that overlap.
    Hop,
    /// Windows that end when nothing has come for a while.
    Session,
    /// Windows by the clock on the wall, not by event time.
    ProcessingTime,
    /// A join of two streams.
    Join,
    /// The first rows of each group in an order.
    TopN,
    /// A frame of rows around each row.
    Frame,
    /// A table that is joined and does not change.
    SideInput,
    /// A function of the user's.
    Udf,
    /// Regular expressions.
    Regex,
}

impl Need {
    /// Its name in a report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Groups => "groups",
            Self::Tumble => "tumble",
            Self::Hop => "hop",
            Self::Session => "session",
            Self::ProcessingTime => "processing_time",
            Self::Join => "join",
            Self::TopN => "top_n",
            Self::Frame => "frame",
            Self::SideInput => "side_input",
            Self::Udf => "udf",
            Self::Regex => "regex",
        }
    }

    /// Whether a stream job has to keep something from one micro-batch to the next for it.
    pub fn is_state(self) -> bool {
        !matches!(self, Self::SideInput | Self::Udf | Self::Regex)
    }
}

/// A query of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NexmarkQuery {
    /// Its name, `q0` to `q22`.
    pub name: &'static str,
    /// Its text: one `SELECT`.
    pub sql: &'static str,
    /// The streams it reads.
    pub tables: &'static [&'static str],
    /// What it asks of an engine.
    pub needs: &'static [Need],
}

impl NexmarkQuery {
    /// The query of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        QUERIES.iter().find(|query| query.name == name)
    }

    /// Whether its micro-batches have nothing to remember.
    pub fn is_stateless(&self) -> bool {
        !self.needs.iter().any(|need| need.is_state())
    }

    /// Whether it has windows, whose functions DataFusion does not have.
    pub fn has_windows(&self) -> bool {
        let windows = [Need::Tumble, Need::Hop, Need::Session];
        self.needs.iter().any(|need| windows.contains(need))
    }
}

macro_rules! queries {
    ($($name:literal: [$($table:literal),*] [$($need:ident),*];)*) => {
        &[$(NexmarkQuery {
            name: $name,
            sql: include_str!(concat!("queries/", $name, ".sql")),
            tables: &[$($table),*],
            needs: &[$(Need::$need),*],
        }),*]
    };
}

/// All queries, in the order of their numbers.
pub const QUERIES: &[NexmarkQuery] = queries! {
    "q0": ["bid"] [];
    "q1": ["bid"] [];
    "q2": ["bid"] [];
    "q3": ["auction", "person"] [Join];
    "q4": ["auction", "bid"] [Join, Groups];
    "q5": ["bid"] [Hop, TopN];
    "q6": ["auction", "bid"] [Join, TopN, Frame];
    "q7": ["bid"] [Tumble, Join];
    "q8": ["person", "auction"] [Tumble, Join];
    "q9": ["auction", "bid"] [Join, TopN];
    "q10": ["bid"] [];
    "q11": ["bid"] [Session];
    "q12": ["bid"] [Tumble, ProcessingTime];
    "q13": ["bid"] [SideInput];
    "q14": ["bid"] [Udf];
    "q15": ["bid"] [Groups];
    "q16": ["bid"] [Groups];
    "q17": ["bid"] [Groups];
    "q18": ["bid"] [TopN];
    "q19": ["bid"] [TopN];
    "q20": ["bid", "auction"] [Join];
    "q21": ["bid"] [Regex];
    "q22": ["bid"] [];
};

/// Statements that declare the streams that `query` reads, each with those of its rows that are among `events` events of
/// all kinds, all there at once; and the side input, if it reads that.
///
/// The event times do not depend on the number of events. `watermarks` declares `date_time` as the event time.
pub fn declare(query: &NexmarkQuery, events: u64, watermarks: bool) -> String {
    let mut sql = String::new();
    let columns = if watermarks {
        "(WATERMARK FOR date_time) "
    } else {
        ""
    };
    for table in query.tables {
        sql += &format!(
            "CREATE TABLE {table} {columns}WITH (connector = 'nexmark', table = '{table}', \
             events = {events}, paced = 'false');\n"
        );
    }
    if query.needs.contains(&Need::SideInput) {
        sql += "CREATE TABLE side_input AS SELECT value AS key, 'value ' || value AS value \
                FROM generate_series(0, 9999);\n";
    }
    sql
}

/// Makes the functions of the queries known to a session.
pub fn register(context: &SessionContext) {
    context.register_udf(count_char_udf());
}

/// The query of a case `nexmark_qN`.
///
/// # Errors
/// When there is none of that name.
pub fn query_of_case(case: &str) -> Result<&'static NexmarkQuery> {
    let name = case.strip_prefix("nexmark_").unwrap_or(case);
    NexmarkQuery::named(name).ok_or_else(|| BenchError::Unknown {
        kind: "query",
        name: case.to_owned(),
        known: "nexmark_q0 to nexmark_q22".to_owned(),
    })
}

#[cfg(test)]
mod tests;
