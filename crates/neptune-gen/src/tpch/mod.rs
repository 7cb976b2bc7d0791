//! TPC-H: tables as Parquet files, the 22 queries, and queries for every kind of operator.
//!
//! The rows are those of the published generator `tpchgen`; the columns are built here, with the
//! arrow version that DataFusion uses. Keys are BIGINT, counts INTEGER, money DECIMAL(15, 2), dates
//! DATE and texts Utf8View. The files have row groups of 128 Ki rows, so that even a small scale can
//! be scanned in parallel, and are compressed with Snappy, as most Parquet files that users bring:
//! it decodes fast enough that a benchmark measures operators and not decompression.

mod columns;
mod operators;
mod queries;
mod tables;
mod udf;

use std::path::{Path, PathBuf};

use datafusion::parquet::basic::Compression;
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::parquet::schema::types::ColumnPath;
use datafusion::prelude::{CsvReadOptions, JsonReadOptions, ParquetReadOptions, SessionContext};
use serde::Serialize;

pub use self::operators::{OperatorCase, operators};
pub use self::queries::{queries, queries_at};
use self::tables::Table;
pub use self::udf::sleep_row_udf;
use crate::dataset::{DataSet, write_parquet};
use crate::{GenError, Result};

/// The names of the eight TPC-H tables.
pub const TABLES: [&str; 8] = [
    "region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem",
];

/// The table of the first orders as a CSV file, for scans of that format.
pub const ORDERS_CSV: &str = "orders_csv";

/// The table of the first orders as newline-delimited JSON, for scans of that format.
pub const ORDERS_JSON: &str = "orders_json";

/// The most rows that `orders_csv` and `orders_json` have: enough for a scan of a second.
pub const TEXT_ROWS_MAX: usize = 300_000;

const ROWS_PER_GROUP: usize = 128 * 1024;

/// Raised whenever the files made for the same scale change.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Manifest<'a> {
    generator: &'static str,
    version: u32,
    scale: f64,
    files: &'a [String],
}

/// Where the files of a TPC-H data set are.
#[derive(Debug, Clone)]
pub struct TpchPaths {
    /// The data set's directory.
    pub dir: PathBuf,
    /// The scale factor of the data.
    pub scale: f64,
}

impl TpchPaths {
    /// The Parquet file of one of [`TABLES`].
    pub fn parquet(&self, table: &str) -> PathBuf {
        self.dir.join(format!("{table}.parquet"))
    }

    /// The file of [`ORDERS_CSV`], with a header line.
    pub fn orders_csv(&self) -> PathBuf {
        self.dir.join("orders.csv")
    }

    /// The file of [`ORDERS_JSON`], one object a line.
    pub fn orders_json(&self) -> PathBuf {
        self.dir.join("orders.json")
    }

    /// Registers all tables, [`ORDERS_CSV`] and [`ORDERS_JSON`] included, with a session.
    pub async fn register(&self, session: &SessionContext) -> Result<()> {
        for table in TABLES {
            let path = self.parquet(table).to_string_lossy().into_owned();
            session
                .register_parquet(table, path, ParquetReadOptions::default())
                .await?;
        }
        // Schemas are given, since inferred ones have inexact numbers and sample the file.
        let schema = Table::Orders.schema();
        let csv = CsvReadOptions::new().schema(&schema);
        session
            .register_csv(ORDERS_CSV, self.orders_csv().to_string_lossy(), csv)
            .await?;
        let json = JsonReadOptions::default().schema(&schema);
        session
            .register_json(ORDERS_JSON, self.orders_json().to_string_lossy(), json)
            .await?;
        Ok(())
    }
}

/// Makes the TPC-H data of scale factor `scale` in `dir`, or only what is missing of it.
///
/// Data of another scale in `dir` is replaced. Two processes may call this at once: the second
/// waits for the first.
///
/// # Errors
/// A scale outside 0.001..=1000, a directory with files of others, or a failed write.
pub fn ensure_tpch(dir: &Path, scale: f64) -> Result<TpchPaths> {
    if !(0.001..=1000.0).contains(&scale) {
        return Err(GenError::BadScale { scale });
    }
    let paths = TpchPaths {
        dir: dir.to_path_buf(),
        scale,
    };
    let name = |path: PathBuf| {
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let parquet = Table::ALL.map(|table| name(paths.parquet(table.name())));
    let (csv, json) = (name(paths.orders_csv()), name(paths.orders_json()));
    let files = [parquet.as_slice(), &[csv.clone(), json.clone()]].concat();
    let manifest = Manifest {
        generator: "tpch",
        version: VERSION,
        scale,
        files: &files,
    };
    let data_set = DataSet::open(dir, &manifest)?;

    for (table, file) in Table::ALL.into_iter().zip(&parquet) {
        if data_set.is_missing(file) {
            data_set.write(file, |temporary| {
                let batches = table.batches(scale);
                write_parquet(temporary, &table.schema(), properties(table), batches)
            })?;
        }
    }
    if data_set.is_missing(&csv) {
        data_set.write(&csv, |temporary| tables::write_orders_csv(temporary, scale))?;
    }
    if data_set.is_missing(&json) {
        data_set.write(&json, |temporary| {
            tables::write_orders_json(temporary, scale)
        })?;
    }
    Ok(paths)
}

fn properties(table: Table) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(ROWS_PER_GROUP));
    for field in table.schema().fields() {
        // A dictionary of comments or names is given up half-way: most values are different.
        let name = field.name();
        if ["_comment", "_address", "_name", "_phone"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            let column = ColumnPath::from(name.as_str());
            properties = properties.set_column_dictionary_enabled(column, false);
        }
    }
    properties.build()
}
