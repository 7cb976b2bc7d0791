//! Gives a planned query its inputs: streams where it reads streams, one snapshot of each shared table.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::{LogicalPlan, TableScan};
use neptune_sched::Class;
use neptune_stream::connector::ConnectorTable;
use neptune_stream::shared::PinnedTable;
use neptune_stream::source::{StreamTable, StreamTableProvider};

use crate::dialect::{DialectError, Statement};
use crate::table::DeclaredTable;

/// A query with its inputs.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) plan: LogicalPlan,
    pub(crate) sources: Vec<Arc<StreamTable>>,
    pub(crate) pinned: Vec<Arc<PinnedTable>>,
    /// Whether it reads any table besides these.
    pub(crate) reads_tables: bool,
    /// The other declared tables, read as they are when a pass or a micro-batch is planned.
    pub(crate) tables: Vec<DeclaredTable>,
}

/// The declared table that a scan reads, if it is one.
fn declared(scan: &TableScan) -> Option<DeclaredTable> {
    let provider = source_as_provider(&scan.source).ok()?;
    provider.downcast_ref::<DeclaredTable>().cloned()
}

/// Whether a scan of the bound plan reads a stream.
pub(crate) fn is_stream(scan: &TableScan) -> bool {
    source_as_provider(&scan.source)
        .is_ok_and(|provider| provider.downcast_ref::<StreamTableProvider>().is_some())
}

/// Which of the tables that a query reads are streams to it.
///
/// A table without an end is one in every job. In a job of class stream so is a directory, whose files keep coming; where all
/// tables end, those declared with `type = 'source'` are, and the rest are plain tables.
fn streams(tables: &BTreeMap<String, DeclaredTable>, class: Class) -> Vec<String> {
    let endless = |table: &ConnectorTable| {
        let can = table.capabilities();
        can.source && (!can.table || (class == Class::Stream && !can.bounded))
    };
    let only_source = |table: &ConnectorTable| {
        let can = table.capabilities();
        class == Class::Stream && can.source && !can.sink
    };
    let named = |wanted: &dyn Fn(&ConnectorTable) -> bool| -> Vec<String> {
        tables
            .iter()
            .filter(|(_, table)| wanted(table.connector()))
            .map(|(name, _)| name.clone())
            .collect()
    };
    let found = named(&endless);
    if found.is_empty() {
        named(&only_source)
    } else {
        found
    }
}

/// Binds the scans of a statement's plan for a job of `class`.
///
/// # Errors
/// For a table that cannot be read, or not yet.
pub(crate) fn bind(
    statement: &Statement,
    state: &SessionState,
    plan: LogicalPlan,
    class: Class,
) -> Result<Bound, DialectError> {
    let mut tables = BTreeMap::new();
    let walked = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(table) = declared(scan)
        {
            tables.insert(table.connector().name().to_owned(), table);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.map_err(|error| statement.locate(&error))?;
    let streams = streams(&tables, class);
    let (mut sources, mut pinned, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    let mut inputs: BTreeMap<String, Arc<dyn TableProvider>> = BTreeMap::new();
    for (name, table) in tables {
        let connector = table.connector();
        if streams.contains(&name) {
            table.prepare().map_err(|error| table.fault(error))?;
            let source = connector
                .open_source()
                .map_err(|error| table.fault(error))?;
            let rule = table.watermark_rule(state)?;
            let source = Arc::new(StreamTable::new(source, rule));
            sources.push(Arc::clone(&source));
            inputs.insert(name, source.provider());
        } else if let Some(shared) = connector.shared() {
            let snapshot = PinnedTable::new(Arc::clone(shared));
            let snapshot = Arc::new(snapshot.map_err(|error| statement.locate(&error.into()))?);
            pinned.push(Arc::clone(&snapshot));
            inputs.insert(name, snapshot);
        } else {
            plain.push(table);
        }
    }
    let plan = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::TableScan(scan) = &node else {
            return Ok(Transformed::no(node));
        };
        let input = declared(scan).and_then(|table| inputs.get(table.connector().name()).cloned());
        Ok(match input {
            None => Transformed::no(node),
            Some(input) => Transformed::yes(LogicalPlan::TableScan(TableScan {
                source: provider_as_source(input),
                ..scan.clone()
            })),
        })
    });
    let plan = plan.map_err(|error| statement.locate(&error))?.data;
    Ok(Bound {
        reads_tables: reads_tables(&plan),
        plan,
        sources,
        pinned,
        tables: plain,
    })
}

fn reads_tables(plan: &LogicalPlan) -> bool {
    let mut found = false;
    // An infallible walk: the closure always says to go on.
    let _ = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            found |= !is_stream(scan) && !is_pinned(scan);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

fn is_pinned(scan: &TableScan) -> bool {
    source_as_provider(&scan.source)
        .is_ok_and(|provider| provider.downcast_ref::<PinnedTable>().is_some())
}
