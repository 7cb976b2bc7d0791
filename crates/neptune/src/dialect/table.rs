//! `CREATE TABLE … WITH (connector = …)`: columns, watermark and options.

use datafusion::common::TableReference;
use datafusion::sql::planner::object_name_to_table_reference;
use datafusion::sql::sqlparser::ast::{ColumnDef, ColumnOption, ColumnOptionDef, DataType};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::{Cursor, located, reason};
use super::error::DialectError;
use super::options::Options;
use super::script::is_word;
use super::settings::with_options;
use super::source::{Located, Position};
use super::statement::{Column, CreateTable, Watermark, WatermarkExpression};
use super::suggest::did_you_mean;
use super::types;

/// The usual column types, for suggestions.
const TYPES: [&str; 17] = [
    "BOOLEAN",
    "TINYINT",
    "SMALLINT",
    "INT",
    "BIGINT",
    "FLOAT",
    "DOUBLE",
    "DECIMAL",
    "TEXT",
    "VARCHAR",
    "STRING",
    "BYTEA",
    "DATE",
    "TIME",
    "TIMESTAMP",
    "TIMESTAMPTZ",
    "INTERVAL",
];

/// Whether the statement is one of ours: a `CREATE TABLE` with a `WITH (…)` list (DataFusion has none) or with a
/// watermark among the columns.
pub(super) fn is_table(cursor: &Cursor) -> bool {
    let mut at = 0;
    let mut step = |words: &[&str]| {
        let seen = words
            .iter()
            .enumerate()
            .all(|(n, word)| is_word(&cursor.ahead(at + n).token, word));
        if seen {
            at += words.len();
        }
        seen
    };
    if !step(&["CREATE"]) {
        return false;
    }
    step(&["OR", "REPLACE"]);
    if !step(&["TABLE"]) {
        return false;
    }
    step(&["IF", "NOT", "EXISTS"]);
    // The name, which may have several parts.
    at += 1;
    while cursor.ahead(at).token == Token::Period {
        at += 2;
    }
    let mut depth = 0_usize;
    if cursor.ahead(at).token == Token::LParen {
        loop {
            match &cursor.ahead(at).token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                Token::EOF => return false,
                _ => {}
            }
            let begins_item = matches!(cursor.ahead(at).token, Token::LParen | Token::Comma);
            at += 1;
            if depth == 0 {
                break;
            }
            if depth == 1 && begins_item && is_watermark(cursor, at) {
                return true;
            }
        }
    }
    opens_options(cursor, at)
}

fn opens_options(cursor: &Cursor, at: usize) -> bool {
    is_word(&cursor.ahead(at).token, "WITH") && cursor.ahead(at + 1).token == Token::LParen
}

fn is_watermark(cursor: &Cursor, at: usize) -> bool {
    is_word(&cursor.ahead(at).token, "WATERMARK") && is_word(&cursor.ahead(at + 1).token, "FOR")
}

/// Reads a statement for which [`is_table`] holds.
pub(super) fn create_table(cursor: &mut Cursor) -> Result<CreateTable, DialectError> {
    cursor.expect(&["CREATE"])?;
    let replace_position = cursor.here();
    let or_replace = cursor.take(&["OR", "REPLACE"]);
    cursor.expect(&["TABLE"])?;
    let if_not_exists = cursor.take(&["IF", "NOT", "EXISTS"]);
    if or_replace && if_not_exists {
        return Err(cursor.source().error(
            replace_position,
            "OR REPLACE and IF NOT EXISTS exclude each other",
        ));
    }
    let name_position = cursor.here();
    let name = table_name(cursor)?;
    let owner = format!("table `{name}`");

    let mut columns = Columns::default();
    if cursor.take_token(&Token::LParen) {
        columns.read(cursor)?;
    }
    let mut options = if cursor.sees(&["WITH"]) {
        with_options(cursor, owner)?
    } else {
        return Err(cursor
            .expected("WITH (connector = …) after the columns")
            .with_help("only a table with a connector can have a watermark"));
    };
    if cursor.sees(&["AS"]) {
        return Err(cursor
            .expected("the end of the statement")
            .with_help("create the table first, then fill it with INSERT INTO"));
    }
    cursor.expect_end()?;

    let connector = read_located(&mut options, "connector", true)
        .ok_or_else(|| options.missing("connector"))?;
    let watermark = columns.event_time(cursor, &mut options)?;
    Ok(CreateTable {
        name,
        name_position,
        or_replace,
        if_not_exists,
        columns: columns.columns,
        watermark,
        connector,
        options,
    })
}

fn table_name(cursor: &mut Cursor) -> Result<TableReference, DialectError> {
    let position = cursor.here();
    let name = cursor.sql(|parser| parser.parse_object_name(false))?;
    object_name_to_table_reference(name, true)
        .map_err(|error| cursor.source().error(position, reason(&error)))
}

fn read_located(options: &mut Options, key: &str, lower: bool) -> Option<Located> {
    let text = options.str(key)?;
    let position = options.get(key)?.value_position;
    let text = if lower { text.to_lowercase() } else { text };
    Some(Located { text, position })
}

/// The column list as it is read.
#[derive(Default)]
struct Columns {
    columns: Vec<Column>,
    watermark: Option<(Position, Watermark)>,
}

impl Columns {
    /// Reads items up to and with the closing parenthesis.
    fn read(&mut self, cursor: &mut Cursor) -> Result<(), DialectError> {
        loop {
            if is_watermark(cursor, 0) {
                self.read_watermark(cursor)?;
            } else {
                self.refuse_constraint(cursor)?;
                self.read_column(cursor)?;
            }
            if cursor.take_token(&Token::RParen) {
                return Ok(());
            }
            if !cursor.take_token(&Token::Comma) {
                return Err(cursor.expected("`,` or `)` after a column"));
            }
        }
    }

    fn read_column(&mut self, cursor: &mut Cursor) -> Result<(), DialectError> {
        let position = cursor.here();
        if !matches!(cursor.peek(), Token::Word(_)) {
            return Err(cursor.expected("a column or WATERMARK FOR"));
        }
        if is_word(&cursor.ahead(1).token, "FOR") {
            return Err(cursor
                .expected("a column or WATERMARK FOR")
                .with_help("did you mean `WATERMARK`?"));
        }
        let name = cursor.sql(Parser::parse_identifier)?;
        let type_position = cursor.here();
        let data_type = cursor.sql(Parser::parse_data_type)?;
        if let DataType::Custom(unknown, _) = &data_type {
            let unknown = unknown.to_string();
            return Err(cursor
                .source()
                .error(type_position, format!("unknown type `{unknown}`"))
                .with_optional_help(did_you_mean(&unknown, TYPES)));
        }
        let options = Self::nullability(cursor)?;
        let column = ColumnDef {
            name,
            data_type,
            options,
        };
        let field = types::field(column)
            .map_err(|error| cursor.source().error(type_position, reason(&error)))?;
        if let Some(first) = self.named(field.name()) {
            let what = format!(
                "column `{}` is listed twice, first at {}",
                field.name(),
                first.position
            );
            return Err(cursor.source().error(position, what));
        }
        self.columns.push(Column { field, position });
        Ok(())
    }

    /// `NULL` or `NOT NULL`; nothing else means anything for rows that come through a connector.
    fn nullability(cursor: &mut Cursor) -> Result<Vec<ColumnOptionDef>, DialectError> {
        let mut options: Vec<ColumnOptionDef> = Vec::new();
        loop {
            let position = cursor.here();
            let Some(option) = cursor.sql(Parser::parse_optional_column_option)? else {
                return Ok(options);
            };
            if !matches!(option, ColumnOption::Null | ColumnOption::NotNull) {
                let what = format!("`{option}` is not possible in a table with a connector");
                return Err(cursor
                    .source()
                    .error(position, what)
                    .with_help("a column is a name, a type and maybe NOT NULL"));
            }
            if !options.is_empty() {
                return Err(cursor
                    .source()
                    .error(position, "NULL or NOT NULL is given twice"));
            }
            options.push(ColumnOptionDef { name: None, option });
        }
    }

    fn refuse_constraint(&self, cursor: &mut Cursor) -> Result<(), DialectError> {
        let position = cursor.here();
        // A column may well be called `key` or `index`: those words begin a constraint in MySQL only.
        if cursor.sees(&["KEY"]) || cursor.sees(&["INDEX"]) {
            return Ok(());
        }
        match cursor.sql(Parser::parse_optional_table_constraint)? {
            None => Ok(()),
            Some(constraint) => {
                let what = format!("`{constraint}` is not possible in a table with a connector");
                Err(cursor
                    .source()
                    .error(position, what)
                    .with_help("leave it out: a connector checks no constraints"))
            }
        }
    }

    fn read_watermark(&mut self, cursor: &mut Cursor) -> Result<(), DialectError> {
        let position = cursor.here();
        if let Some((first, _)) = &self.watermark {
            let what = format!("a table has one watermark, and there is one at {first} already");
            return Err(cursor.source().error(position, what));
        }
        cursor.expect(&["WATERMARK", "FOR"])?;
        let column = match cursor.peek() {
            Token::Word(_) => located(cursor.sql(Parser::parse_identifier)?),
            _ => return Err(cursor.expected("the event time column")),
        };
        let expression = if cursor.take(&["AS"]) {
            let position = cursor.here();
            let expr = cursor.sql(Parser::parse_expr)?;
            let text = cursor.text_since(position);
            Some(WatermarkExpression {
                text,
                position,
                expr,
            })
        } else {
            None
        };
        self.watermark = Some((position, Watermark { column, expression }));
        Ok(())
    }

    fn named(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.field.name() == name)
    }

    /// The watermark from the column list or the option `event_time_field`, its column checked against the list.
    fn event_time(
        &mut self,
        cursor: &Cursor,
        options: &mut Options,
    ) -> Result<Option<Watermark>, DialectError> {
        let listed = self.watermark.take().map(|(_, watermark)| watermark);
        let option = read_located(options, "event_time_field", false);
        let watermark = match (listed, option) {
            (Some(listed), Some(option)) if listed.column.text != option.text => {
                return Err(options.bad_value(
                    "event_time_field",
                    &format!("WATERMARK FOR says `{}`", listed.column.text),
                ));
            }
            (Some(listed), _) => listed,
            (None, Some(column)) => Watermark {
                column,
                expression: None,
            },
            (None, None) => return Ok(None),
        };
        let column = &watermark.column;
        if !self.columns.is_empty() && self.named(&column.text).is_none() {
            let names = self.columns.iter().map(|c| c.field.name().as_str());
            let what = format!("the event time column `{}` is not in the list", column.text);
            return Err(cursor
                .source()
                .error(column.position, what)
                .with_optional_help(did_you_mean(&column.text, names)));
        }
        Ok(Some(watermark))
    }
}
