//! Scripts that parse, scripts that are refused, and random text that must do neither harm nor panic.

mod faults;
mod random;
mod reading;
mod scripts;

use super::{Insert, JobBody, JobCommand, Located, Options, Statement, StatementKind, parse};

/// Parses a script that is known to be right.
fn parsed(text: &str) -> Vec<Statement> {
    parse("app.sql", text).unwrap_or_else(|error| panic!("{error}\n--- in\n{text}"))
}

/// One line per statement, with every place that the statement keeps.
fn described(text: &str) -> Vec<String> {
    parsed(text)
        .iter()
        .map(|s| format!("{} {}", s.position, kind(&s.kind)))
        .collect()
}

fn kind(kind: &StatementKind) -> String {
    match kind {
        StatementKind::CreateTable(table) => {
            let columns: Vec<String> = table
                .columns
                .iter()
                .map(|column| {
                    let field = &column.field;
                    format!(
                        "{} {}{}@{}",
                        field.name(),
                        field.data_type(),
                        if field.is_nullable() { "" } else { " not null" },
                        column.position
                    )
                })
                .collect();
            let watermark = table.watermark.as_ref().map_or(String::new(), |w| {
                let expression = w
                    .expression
                    .as_ref()
                    .map(|e| format!(" as {}@{}", e.text, e.position));
                format!(
                    " watermark {}{}",
                    located(&w.column),
                    expression.unwrap_or_default()
                )
            });
            format!(
                "table {}@{}{}{} ({}){watermark} connector {} {}",
                table.name,
                table.name_position,
                if table.or_replace { " or replace" } else { "" },
                if table.if_not_exists {
                    " if not exists"
                } else {
                    ""
                },
                columns.join(", "),
                located(&table.connector),
                options(&table.options)
            )
        }
        StatementKind::CreateJob(job) => {
            let body = match &job.body {
                JobBody::Insert(i) => insert(i),
                JobBody::Query(query) => format!("query {query}"),
            };
            format!(
                "job {} {} body@{} <{}> {body}",
                located(&job.name),
                options(&job.options),
                job.body_position,
                job.body_text
            )
        }
        StatementKind::Set(set) => format!("set {} = {}", located(&set.key), located(&set.value)),
        StatementKind::Insert(i) => insert(i),
        StatementKind::Job(command) => match command {
            JobCommand::Show => "show jobs".to_owned(),
            JobCommand::Drop { job, if_exists } => format!("drop {} {if_exists}", located(job)),
            JobCommand::Suspend { job } => format!("suspend {}", located(job)),
            JobCommand::Resume { job } => format!("resume {}", located(job)),
            JobCommand::Cancel { job } => format!("cancel {}", located(job)),
        },
        StatementKind::Sql(statement) => format!("sql {statement}"),
    }
}

fn located(word: &Located) -> String {
    format!("{}@{}", word.text, word.position)
}

fn options(options: &Options) -> String {
    let all: Vec<String> = options
        .iter()
        .map(|(key, value)| {
            format!(
                "{key}@{}={}@{}",
                value.key_position, value.text, value.value_position
            )
        })
        .collect();
    format!("[{}]", all.join(", "))
}

fn insert(insert: &Insert) -> String {
    let columns: Vec<String> = insert.columns.iter().map(located).collect();
    format!(
        "insert {} {}@{} ({}) <- {}",
        if insert.overwrite {
            "overwrite"
        } else {
            "into"
        },
        insert.table,
        insert.table_position,
        columns.join(", "),
        insert.query
    )
}
