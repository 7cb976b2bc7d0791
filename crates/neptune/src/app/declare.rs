//! `CREATE TABLE … WITH (connector = …)`: checks a declaration and puts the table into the catalog.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::common::DataFusionError;
use datafusion::prelude::ParquetReadOptions;
use neptune_gen::shop::ensure_history;
use neptune_stream::StreamError;
use neptune_stream::connector::{ConnectorTable, TableSpec};

use super::RunOptions;
use crate::dialect::{CreateTable, DialectError, Options, Position, Statement};
use crate::error::NeptuneError;
use crate::session::Session;
use crate::shop::{ShopPart, generator};
use crate::table::DeclaredTable;
use crate::ysb::{self, YsbPart};

/// Declares the table of a statement in `session`.
pub(crate) async fn create_table(
    session: &Session,
    options: &RunOptions,
    statement: &Statement,
    create: &CreateTable,
) -> Result<(), NeptuneError> {
    let context = session.context();
    let exists = context.table_exist(create.name.clone())?;
    if exists && create.if_not_exists {
        return Ok(());
    }
    let refused =
        |position: Position, what: &str| Err(statement.source().error(position, what).into());
    if exists && !create.or_replace {
        let what = format!("table '{}' exists already", create.name);
        return refused(create.name_position, &what);
    }
    let table = match create.connector.text.as_str() {
        "shop" => {
            let mut given = create.options.clone();
            match ShopPart::read(&mut given, options.scale)? {
                ShopPart::History { path, rows, seed } => {
                    given.finish()?;
                    if let Some(column) = create.columns.first() {
                        let what =
                            "the history of the shop has columns of its own: leave the list out";
                        return refused(column.position, what);
                    }
                    let made = history(options, path, rows, seed).await?;
                    let directory =
                        made.map_err(|error| at_option(statement, create, "path", &error))?;
                    if exists {
                        context.deregister_table(create.name.clone())?;
                    }
                    let read = ParquetReadOptions::default();
                    return Ok(context
                        .register_parquet(create.name.clone(), directory, read)
                        .await?);
                }
                ShopPart::Events { shop, first, end } => {
                    let mut spec = spec(create, &given, &ShopPart::OPTIONS);
                    spec.options
                        .extend(end.map(|end| ("rows".to_owned(), end.to_string())));
                    ConnectorTable::generator(&spec, generator(shop, first))
                }
            }
        }
        "ysb" => {
            let mut given = create.options.clone();
            match YsbPart::read(&mut given)? {
                YsbPart::Campaigns => {
                    given.finish()?;
                    if let Some(column) = create.columns.first() {
                        let what = "the campaigns have columns of their own: leave the list out";
                        return refused(column.position, what);
                    }
                    if exists {
                        context.deregister_table(create.name.clone())?;
                    }
                    let campaigns = Arc::new(ysb::campaign_table()?);
                    context.register_table(create.name.clone(), campaigns)?;
                    return Ok(());
                }
                YsbPart::Events { start_nanos } => {
                    let spec = spec(create, &given, &YsbPart::OPTIONS);
                    ConnectorTable::generator(&spec, ysb::generator(start_nanos))
                }
            }
        }
        _ => ConnectorTable::create(&spec(create, &create.options, &[])),
    };
    let table = Arc::new(table.map_err(|error| table_error(statement, create, &error))?);
    if let Some(watermark) = &create.watermark
        && !table.capabilities().source
    {
        let what = format!(
            "event time is for tables that are read as a stream, and '{}' is none",
            create.name
        );
        return refused(watermark.column.position, &what);
    }
    if exists {
        context.deregister_table(create.name.clone())?;
    }
    let path = create.options.get("path");
    let directory = table.directory().map(Path::to_owned);
    let position = path.map_or(create.name_position, |path| path.value_position);
    let source = Arc::clone(statement.source());
    let declared = DeclaredTable::new(table, directory, create.watermark.clone(), source, position);
    context.register_table(create.name.clone(), Arc::new(declared))?;
    Ok(())
}

/// The declaration as a connector sees it, without the options that are not its own.
fn spec(create: &CreateTable, options: &Options, others: &[&str]) -> TableSpec {
    let options: BTreeMap<String, String> = options
        .iter()
        .filter(|(key, _)| {
            !["connector", "event_time_field"].contains(key) && !others.contains(key)
        })
        .map(|(key, value)| (key.to_owned(), value.text.clone()))
        .collect();
    TableSpec {
        name: create.name.to_string(),
        connector: create.connector.text.clone(),
        schema: create.schema(),
        event_time: create
            .watermark
            .as_ref()
            .map(|watermark| watermark.column.text.clone()),
        options,
    }
}

/// Makes the shop's history where it is not there yet; gives its directory.
async fn history(
    options: &RunOptions,
    path: PathBuf,
    rows: u64,
    seed: u64,
) -> Result<Result<String, neptune_gen::GenError>, DataFusionError> {
    let notify = Arc::clone(&options.notify);
    let made = tokio::task::spawn_blocking(move || {
        ensure_history(&path, rows, seed, |done| notify(done, rows))
    });
    let made = made
        .await
        .map_err(|error| DataFusionError::External(Box::new(error)))?;
    Ok(made.map(|history| history.dir.to_string_lossy().into_owned()))
}

fn at_option(
    statement: &Statement,
    create: &CreateTable,
    key: &str,
    error: &dyn std::error::Error,
) -> DialectError {
    let position = create.options.get(key).map(|value| value.value_position);
    let source = statement.source();
    source.error(position.unwrap_or(create.name_position), error.to_string())
}

/// Puts an error about a declaration at the option it is about.
fn table_error(statement: &Statement, create: &CreateTable, error: &StreamError) -> DialectError {
    let key = match error {
        StreamError::UnknownOption { key, .. } => {
            let position = create.options.get(key).map(|value| value.key_position);
            let position = position.unwrap_or(create.name_position);
            return statement.source().error(position, error.to_string());
        }
        StreamError::Option { key, .. } => key.as_str(),
        StreamError::UnknownFormat { .. } => "format",
        StreamError::NotYet { what, .. } if what.starts_with("format") => "format",
        StreamError::UnknownConnector { .. }
        | StreamError::MissingOption { .. }
        | StreamError::NotYet { .. } => "connector",
        StreamError::Io { .. } | StreamError::Malformed { .. } => "path",
        // No option of this name: the table's name it is.
        _ => "",
    };
    at_option(statement, create, key, error)
}
