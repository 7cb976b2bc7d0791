//! Walks the tokens of one statement; our own forms are read here word by word, the rest by DataFusion's parser
//! standing on the same tokens, so that every place it names is a place in the file.

use std::sync::Arc;

use datafusion::error::DataFusionError;
use datafusion::sql::parser::{DFParser, DFParserBuilder, Statement as SqlStatement};
use datafusion::sql::planner::IdentNormalizer;
use datafusion::sql::sqlparser::ast::Ident;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::error::DialectError;
use super::script::{Piece, SQL_DIALECT, is_word, lower_first, position};
use super::source::{Located, Position, Source};
use super::suggest::nearest;
use super::window_tables;

/// Longest token shown in a message, in characters.
const TOKEN_WIDTH: usize = 40;

/// Words a statement begins with, for suggestions.
const FIRST_WORDS: [&str; 25] = [
    "SELECT",
    "INSERT",
    "CREATE",
    "SET",
    "EXPLAIN",
    "SHOW",
    "DROP",
    "WITH",
    "VALUES",
    "UPDATE",
    "DELETE",
    "COPY",
    "DESCRIBE",
    "ALTER",
    "RESET",
    "TRUNCATE",
    "PREPARE",
    "EXECUTE",
    "DEALLOCATE",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SUSPEND",
    "RESUME",
    "CANCEL",
];

/// Words after `CREATE`, for suggestions.
const CREATED_THINGS: [&str; 8] = [
    "TABLE", "JOB", "VIEW", "EXTERNAL", "FUNCTION", "SCHEMA", "DATABASE", "INDEX",
];

/// Words that begin a clause of a query, for suggestions.
const CLAUSES: [&str; 10] = [
    "FROM", "WHERE", "GROUP", "ORDER", "HAVING", "LIMIT", "OFFSET", "UNION", "JOIN", "WINDOW",
];

pub(super) struct Cursor {
    inner: DFParser<'static>,
    source: Arc<Source>,
    end: Position,
    has_windows: bool,
}

impl Cursor {
    pub(super) fn new(source: &Arc<Source>, piece: Piece) -> Result<Self, DialectError> {
        let Piece {
            tokens,
            start,
            end,
            has_windows,
        } = piece;
        let inner = DFParserBuilder::new(tokens)
            .with_dialect(&SQL_DIALECT)
            .build()
            .map_err(|error| source.error(start, reason(&error)))?;
        Ok(Self {
            inner,
            source: Arc::clone(source),
            end,
            has_windows,
        })
    }

    pub(super) fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// The token `n` places ahead, white space not counted; 0 is the next one.
    pub(super) fn ahead(&self, n: usize) -> &TokenWithSpan {
        self.inner.parser.peek_nth_token_ref(n)
    }

    pub(super) fn peek(&self) -> &Token {
        &self.ahead(0).token
    }

    /// Where the next token stands.
    pub(super) fn here(&self) -> Position {
        self.place(self.ahead(0))
    }

    fn place(&self, token: &TokenWithSpan) -> Position {
        // Tokens the parser makes up itself, such as what follows the end, have no place.
        if token.span.start.line == 0 {
            self.end
        } else {
            position(token.span.start)
        }
    }

    /// Whether the words come next, in this order and in any letter case.
    pub(super) fn sees(&self, words: &[&str]) -> bool {
        words
            .iter()
            .enumerate()
            .all(|(n, word)| is_word(&self.ahead(n).token, word))
    }

    /// Steps over the words if they come next.
    pub(super) fn take(&mut self, words: &[&str]) -> bool {
        let seen = self.sees(words);
        if seen {
            for _ in words {
                self.advance();
            }
        }
        seen
    }

    pub(super) fn expect(&mut self, words: &[&str]) -> Result<(), DialectError> {
        for word in words {
            if !self.take(&[word]) {
                let near = match self.peek() {
                    Token::Word(found) => nearest(&found.value, [*word]),
                    _ => None,
                };
                let help = near.map(|word| format!("did you mean `{word}`?"));
                return Err(self.expected(word).with_optional_help(help));
            }
        }
        Ok(())
    }

    /// Steps over one token if it comes next.
    pub(super) fn take_token(&mut self, token: &Token) -> bool {
        self.inner.parser.consume_token(token)
    }

    pub(super) fn expect_token(&mut self, token: &Token) -> Result<(), DialectError> {
        if self.take_token(token) {
            Ok(())
        } else {
            Err(self.expected(&format!("`{token}`")))
        }
    }

    pub(super) fn advance(&mut self) {
        self.inner.parser.advance_token();
    }

    /// A name: unquoted in lower case, or quoted as it is.
    pub(super) fn name(&mut self, what: &str) -> Result<Located, DialectError> {
        let next = self.ahead(0);
        let Token::Word(word) = &next.token else {
            return Err(self.expected(what));
        };
        let name = located(word.to_ident(next.span));
        self.advance();
        Ok(name)
    }

    /// Refuses whatever is left.
    pub(super) fn expect_end(&self) -> Result<(), DialectError> {
        if *self.peek() == Token::EOF {
            return Ok(());
        }
        let error = self.expected("the end of the statement");
        if FIRST_WORDS.iter().any(|word| self.sees(&[word])) {
            return Err(error.with_help("statements are separated by `;`"));
        }
        // A misspelt clause is taken for an alias, and what follows it is then one word too many.
        let last = self.inner.parser.get_current_token();
        let clause = match &last.token {
            Token::Word(word)
                if word.quote_style.is_none() && word.keyword == Keyword::NoKeyword =>
            {
                nearest(&word.value, CLAUSES).map(|near| (near, &word.value))
            }
            _ => None,
        };
        let help = clause.map(|(near, word)| {
            format!(
                "did you mean `{near}` where `{word}` stands at {}?",
                self.place(last)
            )
        });
        Err(error.with_optional_help(help))
    }

    /// The error that something else than the next token was expected.
    pub(super) fn expected(&self, what: &str) -> DialectError {
        let found = match self.peek() {
            Token::EOF => "the end of the statement".to_owned(),
            token => quoted(&token.to_string()),
        };
        let error = self
            .source
            .error(self.here(), format!("expected {what}, found {found}"));
        match self.peek() {
            Token::Minus => error.with_help("a name with a `-` in it needs double quotes"),
            _ => error,
        }
    }

    /// The text from `start` up to what was read last.
    pub(super) fn text_since(&self, start: Position) -> String {
        let end = position(self.inner.parser.get_current_token().span.end);
        self.source.slice(start, end).trim_end().to_owned()
    }

    /// The text from `start` to the end of the statement.
    pub(super) fn text_from(&self, start: Position) -> String {
        self.source.slice(start, self.end).to_owned()
    }

    /// Lets the SQL parser read one part.
    pub(super) fn sql<T>(
        &mut self,
        read: impl FnOnce(&mut Parser<'static>) -> Result<T, ParserError>,
    ) -> Result<T, DialectError> {
        let first = self.here();
        read(&mut self.inner.parser).map_err(|error| self.parser_error(&error, first))
    }

    /// Lets DataFusion's parser read the rest as one statement.
    pub(super) fn sql_statement(&mut self) -> Result<SqlStatement, DialectError> {
        let first = self.here();
        let mut statement = self
            .inner
            .parse_statement()
            .map_err(|error| self.datafusion_error(&error, first))?;
        self.expect_end()?;
        if self.has_windows {
            window_tables::rewrite(&mut statement, &self.source)?;
        }
        Ok(statement)
    }

    fn datafusion_error(&self, error: &DataFusionError, first: Position) -> DialectError {
        match error {
            DataFusionError::SQL(parser, _) => self.parser_error(parser, first),
            DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => {
                self.datafusion_error(inner, first)
            }
            other => self.source.error(self.here(), lower_first(&reason(other))),
        }
    }

    /// Takes the place out of the message; a message without one belongs to the next token, or for a
    /// statement that is too deep to its beginning.
    fn parser_error(&self, error: &ParserError, first: Position) -> DialectError {
        let message = match error {
            ParserError::RecursionLimitExceeded => {
                return self
                    .source
                    .error(first, "the statement is nested too deeply")
                    .with_help("break it up, for example with views or WITH");
            }
            ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
        };
        let (message, at) = split_place(message);
        let at = at.unwrap_or_else(|| self.here());
        let Some((expected, found)) = message
            .strip_prefix("Expected: ")
            .and_then(|rest| rest.split_once(", found: "))
        else {
            return self.source.error(at, lower_first(message));
        };
        self.unexpected(expected, found, at)
    }

    fn unexpected(&self, expected: &str, found: &str, at: Position) -> DialectError {
        let plain_word = found.chars().all(|c| c.is_alphanumeric() || c == '_') && found != "EOF";
        if plain_word && expected == "an SQL statement" {
            return self
                .source
                .error(at, format!("unknown keyword {}", quoted(found)))
                .with_help(match nearest(found, FIRST_WORDS) {
                    Some(word) => format!("did you mean `{word}`?"),
                    None => "a statement begins with a word such as SELECT, INSERT, CREATE or SET"
                        .to_owned(),
                });
        }
        let help = (plain_word && expected.contains("CREATE"))
            .then(|| nearest(found, CREATED_THINGS))
            .flatten()
            // `JOB` itself may be the word that does not belong here.
            .filter(|word| !word.eq_ignore_ascii_case(found))
            .map(|word| format!("did you mean `{word}`?"));
        let expected = if expected.chars().any(char::is_alphanumeric) {
            expected.to_owned()
        } else {
            quoted(expected)
        };
        let found = match found {
            "EOF" => "the end of the statement".to_owned(),
            other => quoted(other),
        };
        self.source
            .error(at, format!("expected {expected}, found {found}"))
            .with_optional_help(help)
    }
}

/// An identifier as a name, by DataFusion's rule for letter case.
pub(super) fn located(ident: Ident) -> Located {
    let position = position(ident.span.start);
    Located {
        text: IdentNormalizer::default().normalize(ident),
        position,
    }
}

/// `message at Line: 3, Column: 5` as the message and the place.
fn split_place(message: &str) -> (&str, Option<Position>) {
    let parsed = message.rsplit_once(" at Line: ").and_then(|(rest, place)| {
        let (line, column) = place.split_once(", Column: ")?;
        let position = Position {
            line: line.trim().parse().ok()?,
            column: column.trim().parse().ok()?,
        };
        Some((rest, position))
    });
    match parsed {
        Some((rest, position)) => (rest, Some(position)),
        None => (message, None),
    }
}

/// A token for a message: in backticks, cut if it is long, control characters escaped.
fn quoted(token: &str) -> String {
    let line = token.lines().next().unwrap_or("");
    let cut: String = line.chars().take(TOKEN_WIDTH).collect();
    let more = if cut.len() < token.len() { "…" } else { "" };
    let mut shown = String::with_capacity(cut.len());
    for letter in cut.chars() {
        if letter.is_control() {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    format!("`{shown}{more}`")
}

/// What an error of DataFusion says, without the words for its kind.
pub(super) fn reason(error: &DataFusionError) -> String {
    let message = error.message();
    let reason = message.split(DataFusionError::BACK_TRACE_SEP).next();
    reason.unwrap_or_default().to_owned()
}
