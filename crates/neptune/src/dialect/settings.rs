//! Reads `key = value`: the list after `WITH`, and `SET`.

use std::sync::Arc;

use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::error::DialectError;
use super::options::{OptionValue, Options};
use super::script::is_word;
use super::source::{Located, Position};
use super::statement::Set;

/// Reads `WITH (key = value, …)`; the cursor stands on `WITH`.
pub(super) fn with_options(cursor: &mut Cursor, owner: String) -> Result<Options, DialectError> {
    let mut options = Options::new(Arc::clone(cursor.source()), owner, cursor.here());
    cursor.expect(&["WITH"])?;
    cursor.expect_token(&Token::LParen)?;
    if cursor.take_token(&Token::RParen) {
        return Ok(options);
    }
    loop {
        let key = key(cursor, "an option's name")?;
        if !cursor.take_token(&Token::Eq) {
            let what = format!("`=` after option `{}`", key.text);
            return Err(cursor
                .expected(&what)
                .with_help("options are written key = 'value'; a key with other signs than letters, digits, `_` and `.` needs quotes"));
        }
        let value = option_value(cursor, &key.text)?;
        options.insert(
            key.text,
            OptionValue {
                text: value.text,
                key_position: key.position,
                value_position: value.position,
            },
        )?;
        if cursor.take_token(&Token::RParen) {
            return Ok(options);
        }
        if !cursor.take_token(&Token::Comma) {
            let error = cursor.expected("`,` or `)` after an option");
            return Err(match cursor.peek() {
                Token::Word(_) => error.with_help(
                    "options are separated by `,`; a value of several words needs quotes, as in '50 ms'",
                ),
                _ => error,
            });
        }
    }
}

/// Whether the statement is a `SET` of one key to a value, as opposed to `SET TIME ZONE`, `SET TRANSACTION` and such.
pub(super) fn is_set(cursor: &Cursor) -> bool {
    if !cursor.sees(&["SET"]) {
        return false;
    }
    let mut at = 1;
    while matches!(cursor.ahead(at).token, Token::Word(_)) {
        match &cursor.ahead(at + 1).token {
            Token::Eq => return true,
            Token::Period => at += 2,
            other => return is_word(other, "TO"),
        }
    }
    false
}

/// Reads a statement for which [`is_set`] holds.
pub(super) fn set(cursor: &mut Cursor) -> Result<Set, DialectError> {
    cursor.expect(&["SET"])?;
    let key = key(cursor, "a setting's name")?;
    if !cursor.take_token(&Token::Eq) {
        cursor.expect(&["TO"])?;
    }
    let value = match cursor.peek() {
        // A bare word is DataFusion's custom here: SET datafusion.x = true, SET timezone TO utc.
        Token::Word(word) if word.quote_style.is_none() => {
            let value = Located {
                text: word.value.to_lowercase(),
                position: cursor.here(),
            };
            cursor.advance();
            value
        }
        _ => literal(cursor)?.ok_or_else(|| {
            cursor
                .expected(&format!("a value for `{}`", key.text))
                .with_help("a value is a 'string', a number, or a word such as true")
        })?,
    };
    if *cursor.peek() != Token::EOF {
        return Err(cursor
            .expected("the end of the statement")
            .with_help("SET takes one value; one of several words needs quotes, as in '50 ms'"));
    }
    Ok(Set { key, value })
}

/// `key`, `a.b.c`, `'key'` or `"key"`, in lower case.
fn key(cursor: &mut Cursor, what: &str) -> Result<Located, DialectError> {
    let position = cursor.here();
    let mut text = String::new();
    loop {
        match cursor.peek() {
            Token::Word(word) => text.push_str(&word.value.to_lowercase()),
            Token::SingleQuotedString(quoted) if text.is_empty() => {
                let text = quoted.to_lowercase();
                cursor.advance();
                return Ok(Located { text, position });
            }
            _ => return Err(cursor.expected(what)),
        }
        cursor.advance();
        if !cursor.take_token(&Token::Period) {
            return Ok(Located { text, position });
        }
        text.push('.');
    }
}

fn option_value(cursor: &mut Cursor, key: &str) -> Result<Located, DialectError> {
    if let Some(value) = literal(cursor)? {
        return Ok(value);
    }
    let position = cursor.here();
    for word in ["true", "false"] {
        if cursor.take(&[word]) {
            return Ok(Located {
                text: word.to_owned(),
                position,
            });
        }
    }
    let error = cursor.expected(&format!("a value for option `{key}`"));
    Err(error.with_help(match cursor.peek() {
        Token::Word(word) => format!("put it in quotes: '{}'", word.value),
        _ => "a value is a 'string', a number, true or false".to_owned(),
    }))
}

/// A string or a number, if that comes next.
fn literal(cursor: &mut Cursor) -> Result<Option<Located>, DialectError> {
    let position: Position = cursor.here();
    let sign = if cursor.take_token(&Token::Minus) {
        Some("-")
    } else if cursor.take_token(&Token::Plus) {
        Some("")
    } else {
        None
    };
    let text = match (cursor.peek(), sign) {
        (Token::Number(digits, _), sign) => format!("{}{digits}", sign.unwrap_or("")),
        (_, Some(_)) => return Err(cursor.expected("a number")),
        (
            Token::SingleQuotedString(text)
            | Token::EscapedStringLiteral(text)
            | Token::UnicodeStringLiteral(text),
            None,
        ) => text.clone(),
        (Token::DollarQuotedString(quoted), None) => quoted.value.clone(),
        _ => return Ok(None),
    };
    cursor.advance();
    Ok(Some(Located { text, position }))
}
