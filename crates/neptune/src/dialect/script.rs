//! Cuts a script into statements: tokens with their places, split at `;`.

use std::sync::Arc;

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{
    Location, Span, Token, TokenWithSpan, Tokenizer, TokenizerError, Word,
};

use super::error::DialectError;
use super::source::{Position, Source};
use super::window_tables;

/// What a DataFusion session speaks unless told otherwise.
pub(super) static SQL_DIALECT: GenericDialect = GenericDialect {};

/// Operators in one chain, such as `a + b + …`. The parser makes a tree as deep as the chain is long, and a tree much
/// deeper than this overflows the stack when it is dropped.
const LONGEST_CHAIN: usize = 10_000;

/// Words that join two operands, or come after one, and so make a chain.
const OPERATOR_WORDS: [&str; 16] = [
    "AND", "OR", "XOR", "IS", "ISNULL", "NOTNULL", "IN", "LIKE", "ILIKE", "RLIKE", "REGEXP",
    "SIMILAR", "BETWEEN", "COLLATE", "AT", "DIV",
];

const SET_OPERATORS: [&str; 4] = ["UNION", "EXCEPT", "INTERSECT", "MINUS"];

/// The tokens of one statement, at least one of them not white space.
pub(super) struct Piece {
    /// From the first to the last token that is not white space, then an `EOF` token placed just behind.
    pub(super) tokens: Vec<TokenWithSpan>,
    pub(super) start: Position,
    pub(super) end: Position,
    /// A window function is called somewhere.
    pub(super) has_windows: bool,
}

/// The complete statements of a script, and the fault that ends it early if its tokens cannot be read.
pub(super) fn split(source: &Arc<Source>) -> (Vec<Piece>, Option<DialectError>) {
    let mut tokens = Vec::new();
    let fault = Tokenizer::new(&SQL_DIALECT, source.text())
        .tokenize_with_location_into_buf(&mut tokens)
        .err()
        .map(|error| unreadable(source, &error, tokens.last()));
    let mut pieces = Vec::new();
    let mut current = Vec::new();
    for token in tokens {
        if token.token == Token::SemiColon {
            pieces.extend(piece(std::mem::take(&mut current)));
        } else if !(current.is_empty() && is_blank(&token)) {
            current.push(token);
        }
    }
    // With a fault the last statement is incomplete, and the fault is the thing to report.
    if fault.is_none() {
        pieces.extend(piece(current));
    }
    (pieces, fault)
}

fn unreadable(
    source: &Source,
    error: &TokenizerError,
    last: Option<&TokenWithSpan>,
) -> DialectError {
    let what = lower_first(&error.message);
    if what.starts_with("unterminated") || what.starts_with("unexpected EOF") {
        // The tokenizer may name the end of the text; the user looks for the beginning.
        let opened = last.map_or(Position::START, |token| position(token.span.end));
        return source.error(opened, what).with_help(
            "what is opened here is never closed; a quote inside a string is written twice",
        );
    }
    source.error(position(error.location), what)
}

fn piece(mut tokens: Vec<TokenWithSpan>) -> Option<Piece> {
    while tokens.last().is_some_and(is_blank) {
        tokens.pop();
    }
    let start = tokens.first()?.span.start;
    let end = tokens.last()?.span.end;
    let has_windows = window_tables::simplify(&mut tokens);
    tokens.push(TokenWithSpan::new(Token::EOF, Span::new(end, end)));
    Some(Piece {
        tokens,
        start: position(start),
        end: position(end),
        has_windows,
    })
}

/// Refuses a statement whose parsed form would be too deep; the parser itself limits parentheses only.
pub(super) fn refuse_endless_chain(
    source: &Source,
    tokens: &[TokenWithSpan],
) -> Result<(), DialectError> {
    // Operators so far at each depth of parentheses, since the last comma.
    let mut chains = vec![0_usize];
    let mut set_operators = 0_usize;
    for token in tokens {
        let length = match &token.token {
            Token::LParen => {
                chains.push(0);
                0
            }
            Token::RParen => {
                if chains.len() > 1 {
                    chains.pop();
                }
                0
            }
            Token::Comma => {
                if let Some(chain) = chains.last_mut() {
                    *chain = 0;
                }
                0
            }
            Token::Word(word) if is_one_of(word, &SET_OPERATORS) => {
                set_operators += 1;
                set_operators
            }
            other if is_operator(other) => {
                let chain = chains.last_mut();
                chain.map_or(0, |chain| {
                    *chain += 1;
                    *chain
                })
            }
            _ => 0,
        };
        if length > LONGEST_CHAIN {
            let what = format!("more than {LONGEST_CHAIN} operators in one chain");
            return Err(source
                .error(position(token.span.start), what)
                .with_help("use IN (…), a table of values to join with, or parts in parentheses"));
        }
    }
    Ok(())
}

fn is_one_of(word: &Word, list: &[&str]) -> bool {
    word.quote_style.is_none() && list.iter().any(|w| word.value.eq_ignore_ascii_case(w))
}

fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) => is_one_of(word, &OPERATOR_WORDS),
        Token::EOF
        | Token::Whitespace(_)
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::Period
        | Token::Placeholder(_) => false,
        _ => true,
    }
}

pub(super) fn is_blank(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::Whitespace(_))
}

/// Whether `token` is the unquoted word `word`, in any letter case.
pub(super) fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

pub(super) fn position(location: Location) -> Position {
    Position {
        line: location.line,
        column: location.column,
    }
}

/// The parser begins its messages with a capital; ours go on after "file:line:column: ".
pub(super) fn lower_first(message: &str) -> String {
    let mut letters = message.chars();
    let Some(first) = letters.next() else {
        return String::new();
    };
    let rest = letters.as_str();
    // Not a word like SQL.
    if rest.starts_with(char::is_uppercase) {
        message.to_owned()
    } else {
        format!("{}{rest}", first.to_lowercase())
    }
}
