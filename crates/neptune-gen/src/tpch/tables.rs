//! The eight tables: how the rows of the published generator become columns.
//!
//! One function a table names its columns; the schema is that of the function's answer for no rows.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::csv::Writer as CsvWriter;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::json::LineDelimitedWriter;
use tpchgen::decimal::TPCHDecimal;
use tpchgen::generators::{
    Customer, CustomerGenerator, LineItem, LineItemGenerator, Nation, NationGenerator, Order,
    OrderGenerator, Part, PartGenerator, PartSupp, PartSuppGenerator, Region, RegionGenerator,
    Supplier, SupplierGenerator,
};

use super::TEXT_ROWS_MAX;
use super::columns::Columns;
use crate::{GenError, Result};

const ROWS_PER_BATCH: usize = 8192;

/// Batches of one table.
type Batches = Box<dyn Iterator<Item = Result<RecordBatch>>>;

/// A TPC-H table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Region,
    Nation,
    Supplier,
    Customer,
    Part,
    PartSupp,
    Orders,
    LineItem,
}

impl Table {
    /// All tables, in the order of [`super::TABLES`].
    pub(super) const ALL: [Self; 8] = [
        Self::Region,
        Self::Nation,
        Self::Supplier,
        Self::Customer,
        Self::Part,
        Self::PartSupp,
        Self::Orders,
        Self::LineItem,
    ];

    /// The table's name in SQL.
    pub(super) fn name(self) -> &'static str {
        super::TABLES[self as usize]
    }

    /// The names and types of the table's columns.
    pub(super) fn schema(self) -> SchemaRef {
        let columns = match self {
            Self::Region => region(&[]),
            Self::Nation => nation(&[]),
            Self::Supplier => supplier(&[]),
            Self::Customer => customer(&[]),
            Self::Part => part(&[]),
            Self::PartSupp => partsupp(&[]),
            Self::Orders => orders(&[]),
            Self::LineItem => lineitem(&[]),
        };
        Arc::new(columns.schema())
    }

    /// All rows of the table at scale factor `scale`.
    pub(super) fn batches(self, scale: f64) -> Batches {
        match self {
            Self::Region => batches(RegionGenerator::new(scale, 1, 1).iter(), region),
            Self::Nation => batches(NationGenerator::new(scale, 1, 1).iter(), nation),
            Self::Supplier => batches(SupplierGenerator::new(scale, 1, 1).iter(), supplier),
            Self::Customer => batches(CustomerGenerator::new(scale, 1, 1).iter(), customer),
            Self::Part => batches(PartGenerator::new(scale, 1, 1).iter(), part),
            Self::PartSupp => batches(PartSuppGenerator::new(scale, 1, 1).iter(), partsupp),
            Self::Orders => batches(OrderGenerator::new(scale, 1, 1).iter(), orders),
            Self::LineItem => batches(LineItemGenerator::new(scale, 1, 1).iter(), lineitem),
        }
    }
}

fn batches<R: 'static>(
    mut rows: impl Iterator<Item = R> + 'static,
    columns: fn(&[R]) -> Columns,
) -> Batches {
    let mut chunk = Vec::with_capacity(ROWS_PER_BATCH);
    Box::new(std::iter::from_fn(move || {
        chunk.clear();
        chunk.extend(rows.by_ref().take(ROWS_PER_BATCH));
        (!chunk.is_empty()).then(|| columns(&chunk).finish())
    }))
}

fn region(rows: &[Region<'static>]) -> Columns {
    Columns::default()
        .int64("r_regionkey", rows.iter().map(|r| r.r_regionkey))
        .text("r_name", rows.iter().map(|r| r.r_name))
        .text("r_comment", rows.iter().map(|r| r.r_comment))
}

fn nation(rows: &[Nation<'static>]) -> Columns {
    Columns::default()
        .int64("n_nationkey", rows.iter().map(|r| r.n_nationkey))
        .text("n_name", rows.iter().map(|r| r.n_name))
        .int64("n_regionkey", rows.iter().map(|r| r.n_regionkey))
        .text("n_comment", rows.iter().map(|r| r.n_comment))
}

fn supplier(rows: &[Supplier]) -> Columns {
    Columns::default()
        .int64("s_suppkey", rows.iter().map(|r| r.s_suppkey))
        .shown("s_name", rows.iter().map(|r| r.s_name))
        .shown("s_address", rows.iter().map(|r| &r.s_address))
        .int64("s_nationkey", rows.iter().map(|r| r.s_nationkey))
        .shown("s_phone", rows.iter().map(|r| &r.s_phone))
        .money("s_acctbal", rows.iter().map(|r| r.s_acctbal))
        .text("s_comment", rows.iter().map(|r| &r.s_comment))
}

fn customer(rows: &[Customer<'static>]) -> Columns {
    Columns::default()
        .int64("c_custkey", rows.iter().map(|r| r.c_custkey))
        .shown("c_name", rows.iter().map(|r| r.c_name))
        .shown("c_address", rows.iter().map(|r| &r.c_address))
        .int64("c_nationkey", rows.iter().map(|r| r.c_nationkey))
        .shown("c_phone", rows.iter().map(|r| &r.c_phone))
        .money("c_acctbal", rows.iter().map(|r| r.c_acctbal))
        .text("c_mktsegment", rows.iter().map(|r| r.c_mktsegment))
        .text("c_comment", rows.iter().map(|r| r.c_comment))
}

fn part(rows: &[Part<'static>]) -> Columns {
    Columns::default()
        .int64("p_partkey", rows.iter().map(|r| r.p_partkey))
        .shown("p_name", rows.iter().map(|r| &r.p_name))
        .shown("p_mfgr", rows.iter().map(|r| r.p_mfgr))
        .shown("p_brand", rows.iter().map(|r| r.p_brand))
        .text("p_type", rows.iter().map(|r| r.p_type))
        .int32("p_size", rows.iter().map(|r| r.p_size))
        .text("p_container", rows.iter().map(|r| r.p_container))
        .money("p_retailprice", rows.iter().map(|r| r.p_retailprice))
        .text("p_comment", rows.iter().map(|r| r.p_comment))
}

fn partsupp(rows: &[PartSupp<'static>]) -> Columns {
    Columns::default()
        .int64("ps_partkey", rows.iter().map(|r| r.ps_partkey))
        .int64("ps_suppkey", rows.iter().map(|r| r.ps_suppkey))
        .int32("ps_availqty", rows.iter().map(|r| r.ps_availqty))
        .money("ps_supplycost", rows.iter().map(|r| r.ps_supplycost))
        .text("ps_comment", rows.iter().map(|r| r.ps_comment))
}

fn orders(rows: &[Order<'static>]) -> Columns {
    Columns::default()
        .int64("o_orderkey", rows.iter().map(|r| r.o_orderkey))
        .int64("o_custkey", rows.iter().map(|r| r.o_custkey))
        .text(
            "o_orderstatus",
            rows.iter().map(|r| r.o_orderstatus.as_str()),
        )
        .money("o_totalprice", rows.iter().map(|r| r.o_totalprice))
        .date("o_orderdate", rows.iter().map(|r| r.o_orderdate))
        .text("o_orderpriority", rows.iter().map(|r| r.o_orderpriority))
        .shown("o_clerk", rows.iter().map(|r| r.o_clerk))
        .int32("o_shippriority", rows.iter().map(|r| r.o_shippriority))
        .text("o_comment", rows.iter().map(|r| r.o_comment))
}

fn lineitem(rows: &[LineItem<'static>]) -> Columns {
    // The generator gives whole units; the column is a decimal, as the specification says.
    let hundredths = |units: i64| TPCHDecimal::new(units * 100);
    Columns::default()
        .int64("l_orderkey", rows.iter().map(|r| r.l_orderkey))
        .int64("l_partkey", rows.iter().map(|r| r.l_partkey))
        .int64("l_suppkey", rows.iter().map(|r| r.l_suppkey))
        .int32("l_linenumber", rows.iter().map(|r| r.l_linenumber))
        .money("l_quantity", rows.iter().map(|r| hundredths(r.l_quantity)))
        .money("l_extendedprice", rows.iter().map(|r| r.l_extendedprice))
        .money("l_discount", rows.iter().map(|r| r.l_discount))
        .money("l_tax", rows.iter().map(|r| r.l_tax))
        .text("l_returnflag", rows.iter().map(|r| r.l_returnflag))
        .text("l_linestatus", rows.iter().map(|r| r.l_linestatus))
        .date("l_shipdate", rows.iter().map(|r| r.l_shipdate))
        .date("l_commitdate", rows.iter().map(|r| r.l_commitdate))
        .date("l_receiptdate", rows.iter().map(|r| r.l_receiptdate))
        .text("l_shipinstruct", rows.iter().map(|r| r.l_shipinstruct))
        .text("l_shipmode", rows.iter().map(|r| r.l_shipmode))
        .text("l_comment", rows.iter().map(|r| r.l_comment))
}

/// Writes the first orders as CSV with a header line.
pub(super) fn write_orders_csv(path: &Path, scale: f64) -> Result<()> {
    let mut writer = CsvWriter::new(create(path)?);
    for batch in first_orders(scale) {
        writer.write(&batch?)?;
    }
    flush(writer.into_inner(), path)
}

/// Writes the first orders as one JSON object a line.
pub(super) fn write_orders_json(path: &Path, scale: f64) -> Result<()> {
    let mut writer = LineDelimitedWriter::new(create(path)?);
    for batch in first_orders(scale) {
        writer.write(&batch?)?;
    }
    writer.finish()?;
    flush(writer.into_inner(), path)
}

fn first_orders(scale: f64) -> Batches {
    batches(
        OrderGenerator::new(scale, 1, 1).iter().take(TEXT_ROWS_MAX),
        orders,
    )
}

fn create(path: &Path) -> Result<BufWriter<File>> {
    Ok(BufWriter::new(
        File::create(path).map_err(GenError::io("create", path))?,
    ))
}

fn flush(mut file: BufWriter<File>, path: &Path) -> Result<()> {
    file.flush().map_err(GenError::io("write", path))
}
