//! Takes an `INSERT` apart, so that its query can be planned alone and feed a sink of ours.

use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::planner::object_name_to_table_reference;
use datafusion::sql::sqlparser::ast::{
    Insert as InsertAst, ObjectName, Spanned, Statement as Ast, TableObject,
};

use super::cursor::located;
use super::script::position;
use super::source::Located;
use super::statement::Insert;

/// The parts of a plain `INSERT`. None for any other statement, and for an `INSERT` with clauses that planning the
/// query alone would lose (`ON CONFLICT`, `RETURNING`, `OR REPLACE`, …): DataFusion decides about those.
pub(super) fn insert(statement: &SqlStatement) -> Option<Insert> {
    let SqlStatement::Statement(ast) = statement else {
        return None;
    };
    let Ast::Insert(insert) = &**ast else {
        return None;
    };
    // Every field is named, so that a clause a later parser learns cannot slip through.
    let InsertAst {
        insert_token: _,
        into: _,
        has_table_keyword: _,
        table: TableObject::TableName(name),
        columns,
        overwrite,
        source: Some(query),
        optimizer_hints,
        or: None,
        ignore: false,
        table_alias: None,
        assignments,
        partitioned: None,
        after_columns,
        on: None,
        returning: None,
        output: None,
        replace_into: false,
        priority: None,
        insert_alias: None,
        settings: None,
        format_clause: None,
        multi_table_insert_type: None,
        multi_table_into_clauses,
        multi_table_when_clauses,
        multi_table_else_clause: None,
    } = insert
    else {
        return None;
    };
    let plain = optimizer_hints.is_empty()
        && assignments.is_empty()
        && after_columns.is_empty()
        && multi_table_into_clauses.is_empty()
        && multi_table_when_clauses.is_empty();
    if !plain {
        return None;
    }
    let columns = columns.iter().map(column).collect::<Option<Vec<_>>>()?;
    Some(Insert {
        table: object_name_to_table_reference(name.clone(), true).ok()?,
        table_position: position(name.span().start),
        columns,
        overwrite: *overwrite,
        query: SqlStatement::Statement(Box::new(Ast::Query(query.clone()))),
        statement: statement.clone(),
    })
}

/// A target column, which is a single name.
fn column(name: &ObjectName) -> Option<Located> {
    match name.0.as_slice() {
        [part] => part.as_ident().cloned().map(located),
        _ => None,
    }
}
