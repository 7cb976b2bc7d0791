//! Gives a planned query its inputs: streams where it reads streams, one snapshot of each shared table.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::logical_expr::{LogicalPlan, TableScan};
use neptune_sched::Class;
use neptune_stream::connector::ConnectorTable;
use neptune_stream::shared::PinnedTable;
use neptune_stream::source::StreamTable;

use crate::table::DeclaredTable;

/// A query with its inputs.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) plan: LogicalPlan,
    pub(crate) sources: Vec<Arc<StreamTable>>,
    pub(crate) pinned: Vec<Arc<PinnedTable>>,
}

/// The declared table that a scan reads, if it is one.
fn declared(scan: &TableScan) -> Option<Arc<ConnectorTable>> {
    let provider = source_as_provider(&scan.source).ok()?;
    provider
        .downcast_ref::<DeclaredTable>()
        .map(|table| Arc::clone(table.connector()))
}

/// Whether a scan of the bound plan reads a stream.
pub(crate) fn is_stream(scan: &TableScan) -> bool {
    source_as_provider(&scan.source)
        .is_ok_and(|provider| provider.downcast_ref::<StreamTable>().is_some())
}

/// Which of the tables that a query reads are streams to it.
///
/// A table without an end is one in every job. In a job of class stream so is a directory, whose files keep coming; where all
/// tables end, those declared with `type = 'source'` are, and the rest are plain tables.
fn streams(tables: &BTreeMap<String, Arc<ConnectorTable>>, class: Class) -> Vec<String> {
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
            .filter(|(_, t)| wanted(t))
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

/// Binds the scans of `plan` for a job of `class`.
pub(crate) fn bind(plan: LogicalPlan, class: Class) -> Result<Bound> {
    let mut tables = BTreeMap::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(table) = declared(scan)
        {
            tables.insert(table.name().to_owned(), table);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let streams = streams(&tables, class);
    let (mut sources, mut pinned) = (Vec::new(), Vec::new());
    let mut inputs: BTreeMap<String, Arc<dyn TableProvider>> = BTreeMap::new();
    for (name, table) in tables {
        if streams.contains(&name) {
            let source = Arc::new(StreamTable::new(table.open_source()?));
            sources.push(Arc::clone(&source));
            inputs.insert(name, source);
        } else if let Some(shared) = table.shared() {
            let snapshot = Arc::new(PinnedTable::new(Arc::clone(shared))?);
            pinned.push(Arc::clone(&snapshot));
            inputs.insert(name, snapshot);
        }
    }
    let plan = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::TableScan(scan) = &node else {
            return Ok(Transformed::no(node));
        };
        let Some(input) = declared(scan).and_then(|table| inputs.get(table.name())) else {
            return Ok(Transformed::no(node));
        };
        let source = provider_as_source(Arc::clone(input));
        Ok(Transformed::yes(LogicalPlan::TableScan(TableScan {
            source,
            ..scan.clone()
        })))
    })?;
    Ok(Bound {
        plan: plan.data,
        sources,
        pinned,
    })
}
