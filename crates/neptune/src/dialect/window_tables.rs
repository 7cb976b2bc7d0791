//! Windows in the place of a table, as Flink and RisingWave write them.
//!
//! | written | read as |
//! |---|---|
//! | `TUMBLE(TABLE t, DESCRIPTOR(ts), width)` | a subquery that gives each row of `t` its window |
//! | `HOP(TABLE t, DESCRIPTOR(ts), slide, width)` | one that gives each row once for each of its windows |
//! | `CUMULATE(TABLE t, DESCRIPTOR(ts), step, width)` | the same |
//! | `SESSION(TABLE t PARTITION BY key, DESCRIPTOR(ts), gap)` | one that gives each row the session of its key |
//!
//! `TABLE`, `DESCRIPTOR` and a `TABLE(…)` around it all may be left out, and arguments may be named as in Flink: `DATA`,
//! `TIMECOL`, `SIZE`, `SLIDE`, `STEP`, `GAP`. The subquery has the columns of the table, then `window_start`, `window_end` and
//! `window_time`, the last time that belongs to the window. Words that the SQL parser does not know are taken out of
//! the tokens before it reads them; the rest is a rewrite of what it has read. Everything keeps its place in the file.

use std::ops::ControlFlow;

use datafusion::sql::parser::{CopyToSource, Statement as SqlStatement};
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName,
    ObjectNamePart, Query, Spanned, TableAlias, TableFactor, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{
    Span, Token, TokenWithSpan, Tokenizer, Whitespace, Word,
};

use super::error::DialectError;
use super::script::{SQL_DIALECT, is_blank, is_word, position};
use super::source::Source;

/// What the keys of `SESSION(… PARTITION BY …)` are the arguments of while they go through the SQL parser.
const KEYS: &str = "neptune_keys";

/// Stands for the table in a query that is being made.
const TABLE: &str = "neptune_table";

/// Stands for an argument, with its number behind it, in a query that is being made.
const ARGUMENT: &str = "neptune_argument_";

/// The window functions that can stand for a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tumble,
    Hop,
    Cumulate,
    Session,
}

impl Kind {
    fn of(word: &str) -> Option<Self> {
        let kinds = [Self::Tumble, Self::Hop, Self::Cumulate, Self::Session];
        kinds
            .into_iter()
            .find(|kind| kind.name().eq_ignore_ascii_case(word))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Tumble => "TUMBLE",
            Self::Hop => "HOP",
            Self::Cumulate => "CUMULATE",
            Self::Session => "SESSION",
        }
    }

    /// The function that gives a row its window.
    fn function(self) -> &'static str {
        match self {
            Self::Tumble => "tumble",
            Self::Hop => "hop",
            Self::Cumulate => "cumulate",
            Self::Session => "session_window",
        }
    }

    /// The arguments in their order.
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Tumble => &["DATA", "TIMECOL", "SIZE"],
            Self::Hop => &["DATA", "TIMECOL", "SLIDE", "SIZE"],
            Self::Cumulate => &["DATA", "TIMECOL", "STEP", "SIZE"],
            Self::Session => &["DATA", "TIMECOL", "GAP"],
        }
    }

    fn usage(self) -> &'static str {
        match self {
            Self::Tumble => "write TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10 minutes')",
            Self::Hop => {
                "write HOP(TABLE t, DESCRIPTOR(ts), slide, width), slide and width as in INTERVAL '10 minutes'"
            }
            Self::Cumulate => {
                "write CUMULATE(TABLE t, DESCRIPTOR(ts), step, width), step and width as in INTERVAL '10 minutes'"
            }
            Self::Session => {
                "write SESSION(TABLE t PARTITION BY key, DESCRIPTOR(ts), INTERVAL '10 minutes')"
            }
        }
    }
}

fn kind_of(token: &Token) -> Option<Kind> {
    match token {
        Token::Word(Word {
            value,
            quote_style: None,
            ..
        }) => Kind::of(value),
        _ => None,
    }
}

/// Makes of `TUMBLE(TABLE t, …)` the same as `TUMBLE(t, …)`, and of `t PARTITION BY k` an argument more. Returns whether
/// there is a window function at all.
pub(super) fn simplify(tokens: &mut Vec<TokenWithSpan>) -> bool {
    let mut any = false;
    let mut previous: Option<usize> = None;
    // For every open parenthesis, the window function whose arguments it opens.
    let mut open: Vec<Option<Kind>> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_blank(&tokens[at]) {
            at += 1;
            continue;
        }
        let before = previous.map(|at| &tokens[at].token);
        match &tokens[at].token {
            Token::LParen => {
                let kind = before.and_then(kind_of);
                any |= kind.is_some();
                open.push(kind);
            }
            Token::RParen => {
                open.pop();
            }
            word if is_word(word, "TABLE") && matches!(open.last(), Some(Some(_))) => {
                let first = before.is_some_and(|before| {
                    matches!(before, Token::LParen | Token::Comma | Token::RArrow)
                });
                let named = next(tokens, at)
                    .is_some_and(|next| matches!(tokens[next].token, Token::Word(_)));
                if first && named {
                    tokens[at].token = Token::Whitespace(Whitespace::Space);
                }
            }
            word if is_word(word, "PARTITION") && open.last() == Some(&Some(Kind::Session)) => {
                partition_by(tokens, at);
            }
            _ => {}
        }
        previous = Some(at);
        at += 1;
    }
    any
}

/// The next token that is not white space.
fn next(tokens: &[TokenWithSpan], at: usize) -> Option<usize> {
    (at + 1..tokens.len()).find(|at| !is_blank(&tokens[*at]))
}

/// Makes `, neptune_keys(k, …)` of the `PARTITION BY k, …` that begins at `at`, if it is one.
fn partition_by(tokens: &mut Vec<TokenWithSpan>, at: usize) {
    let Some(by) = next(tokens, at).filter(|by| is_word(&tokens[*by].token, "BY")) else {
        return;
    };
    let Some(first) = next(tokens, by) else {
        return;
    };
    let keys = Token::make_word(KEYS, None);
    if tokens[first].token != Token::LParen {
        let Some(end) = end_of_keys(tokens, first) else {
            return;
        };
        let close = TokenWithSpan::new(Token::RParen, tokens[end].span);
        tokens.insert(end, close);
        let open = TokenWithSpan::new(Token::LParen, tokens[first].span);
        tokens.insert(first, open);
    }
    tokens[at].token = Token::Comma;
    tokens[by].token = keys;
}

/// Where the keys that begin at `first` end: at the comma before `DESCRIPTOR` or a named argument, else at the first comma.
fn end_of_keys(tokens: &[TokenWithSpan], first: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut commas = Vec::new();
    let mut last = None;
    for (at, token) in tokens.iter().enumerate().skip(first) {
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 0 => {
                last = Some(at);
                break;
            }
            Token::RParen => depth -= 1,
            Token::Comma if depth == 0 => commas.push(at),
            _ => {}
        }
    }
    let ends_keys = |comma: &&usize| {
        let Some(word) = next(tokens, **comma) else {
            return false;
        };
        let named = next(tokens, word).is_some_and(|arrow| tokens[arrow].token == Token::RArrow);
        is_word(&tokens[word].token, "DESCRIPTOR") || named
    };
    let comma = commas.iter().find(ends_keys).or(commas.first());
    comma.copied().or(last)
}

/// Puts subqueries in the place of the window functions that stand for tables.
///
/// # Errors
/// For arguments that do not fit, at their place.
pub(super) fn rewrite(statement: &mut SqlStatement, source: &Source) -> Result<(), DialectError> {
    let mut rewrite = Rewrite {
        source,
        fault: None,
    };
    let _ = match statement {
        SqlStatement::Statement(ast) => ast.visit(&mut rewrite),
        SqlStatement::CopyTo(copy) => match &mut copy.source {
            CopyToSource::Query(query) => query.visit(&mut rewrite),
            CopyToSource::Relation(_) => ControlFlow::Continue(()),
        },
        SqlStatement::Explain(explain) => return self::rewrite(&mut explain.statement, source),
        _ => ControlFlow::Continue(()),
    };
    rewrite.fault.map_or(Ok(()), Err)
}

struct Rewrite<'a> {
    source: &'a Source,
    fault: Option<DialectError>,
}

impl VisitorMut for Rewrite<'_> {
    type Break = ();

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let Some(call) = Call::of(factor) else {
            return ControlFlow::Continue(());
        };
        match call.subquery(self.source) {
            Ok(subquery) => {
                *factor = TableFactor::Derived {
                    lateral: false,
                    subquery,
                    alias: call.alias,
                    sample: None,
                };
                ControlFlow::Continue(())
            }
            Err(fault) => {
                self.fault = Some(fault);
                ControlFlow::Break(())
            }
        }
    }
}

/// A window function that stands for a table.
struct Call {
    kind: Kind,
    span: Span,
    arguments: Vec<FunctionArg>,
    alias: Option<TableAlias>,
}

impl Call {
    fn of(factor: &TableFactor) -> Option<Self> {
        let (name, arguments, alias) = match factor {
            TableFactor::Table {
                name,
                alias,
                args: Some(args),
                with_hints,
                version: None,
                with_ordinality: false,
                partitions,
                json_path: None,
                sample: None,
                index_hints,
            } if with_hints.is_empty() && partitions.is_empty() && index_hints.is_empty() => {
                (name, &args.args, alias)
            }
            TableFactor::TableFunction {
                expr:
                    Expr::Function(Function {
                        name,
                        args: FunctionArguments::List(list),
                        ..
                    }),
                alias,
            } => (name, &list.args, alias),
            _ => return None,
        };
        let [
            ObjectNamePart::Identifier(Ident {
                value,
                quote_style: None,
                span,
            }),
        ] = name.0.as_slice()
        else {
            return None;
        };
        Some(Self {
            kind: Kind::of(value)?,
            span: *span,
            arguments: arguments.clone(),
            alias: alias.clone(),
        })
    }

    fn subquery(&self, source: &Source) -> Result<Box<Query>, DialectError> {
        let mut arguments = Arguments::read(self, source)?;
        let table = arguments.table(self, source)?;
        let values = arguments.values;
        let names: Vec<String> = (0..values.len())
            .map(|number| format!("{ARGUMENT}{number}"))
            .collect();
        let window = format!("{}({})", self.kind.function(), names.join(", "));
        // The others leave rows without a time out by themselves.
        let filter = match self.kind {
            Kind::Tumble => format!(" WHERE {ARGUMENT}0 IS NOT NULL"),
            Kind::Hop | Kind::Cumulate | Kind::Session => String::new(),
        };
        let text = format!(
            "SELECT *, {window}['start'] AS window_start, {window}['end'] AS window_end, \
             window_time({window}) AS window_time FROM {TABLE}{filter}"
        );
        let parsed = Tokenizer::new(&SQL_DIALECT, &text)
            .tokenize()
            .map_err(|error| error.to_string())
            .and_then(|tokens| {
                // What goes wrong in here is put at the function's name.
                let spanned = tokens
                    .into_iter()
                    .map(|token| TokenWithSpan::new(token, self.span));
                let mut parser =
                    Parser::new(&SQL_DIALECT).with_tokens_with_locations(spanned.collect());
                parser.parse_query().map_err(|error| error.to_string())
            });
        let mut query = parsed.map_err(|what| source.error(position(self.span.start), what))?;
        let _ = query.visit(&mut Fill { table, values });
        Ok(query)
    }

    fn fault(&self, source: &Source, at: Span, what: impl Into<String>) -> DialectError {
        let at = if at.start.line == 0 { self.span } else { at };
        source
            .error(position(at.start), what)
            .with_help(self.kind.usage())
    }
}

/// The arguments of a call, put in order.
struct Arguments {
    table: Option<Expr>,
    /// The time, the lengths and the keys.
    values: Vec<Expr>,
}

impl Arguments {
    fn read(call: &Call, source: &Source) -> Result<Self, DialectError> {
        let names = call.kind.arguments();
        let mut slots: Vec<Option<Expr>> = vec![None; names.len()];
        let mut keys = Vec::new();
        let mut positional = 0;
        for argument in &call.arguments {
            let (name, value) = match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => (None, value),
                FunctionArg::Named {
                    name,
                    arg: FunctionArgExpr::Expr(value),
                    ..
                } => (Some(name.clone()), value),
                FunctionArg::ExprNamed {
                    name: Expr::Identifier(name),
                    arg: FunctionArgExpr::Expr(value),
                    ..
                } => (Some(name.clone()), value),
                other => {
                    let what = format!("{} cannot take {other}", call.kind.name());
                    return Err(call.fault(source, other.span(), what));
                }
            };
            if let Some(given) = arguments_of(value, KEYS) {
                keys.extend(given);
                continue;
            }
            let slot = match &name {
                None => {
                    positional += 1;
                    positional - 1
                }
                Some(name) => match names
                    .iter()
                    .position(|known| known.eq_ignore_ascii_case(&name.value))
                {
                    Some(slot) => slot,
                    None => {
                        let what = format!("{} has no argument {}", call.kind.name(), name.value);
                        return Err(call.fault(source, name.span, what));
                    }
                },
            };
            match slots.get_mut(slot) {
                Some(slot @ None) => *slot = Some(value.clone()),
                Some(Some(_)) => {
                    let what = format!(
                        "argument {} of {} is given twice",
                        names[slot],
                        call.kind.name()
                    );
                    return Err(call.fault(source, value.span(), what));
                }
                None => {
                    let what = format!("{} has too many arguments", call.kind.name());
                    return Err(call.fault(source, value.span(), what));
                }
            }
        }
        if let Some(missing) = slots.iter().position(Option::is_none) {
            let what = format!("{} lacks its argument {}", call.kind.name(), names[missing]);
            return Err(call.fault(source, call.span, what));
        }
        let mut slots = slots.into_iter().flatten();
        let table = slots.next();
        let mut values: Vec<Expr> = slots.collect();
        if let Some(time) = values.first_mut()
            && let Some(described) = arguments_of(time, "DESCRIPTOR")
        {
            let [column] = described.as_slice() else {
                let what = "DESCRIPTOR takes one column, the time";
                return Err(call.fault(source, time.span(), what));
            };
            *time = column.clone();
        }
        values.extend(keys);
        Ok(Self { table, values })
    }

    fn table(&mut self, call: &Call, source: &Source) -> Result<TableFactor, DialectError> {
        let parts = match self.table.take() {
            Some(Expr::Identifier(name)) => vec![name],
            Some(Expr::CompoundIdentifier(names)) => names,
            Some(Expr::Subquery(subquery)) => {
                return Ok(TableFactor::Derived {
                    lateral: false,
                    subquery,
                    alias: None,
                    sample: None,
                });
            }
            other => {
                let span = other.as_ref().map_or(call.span, Spanned::span);
                let what = format!(
                    "the first argument of {} must be a table, a view or a query in parentheses",
                    call.kind.name()
                );
                return Err(call.fault(source, span, what));
            }
        };
        Ok(TableFactor::Table {
            name: ObjectName::from(parts),
            alias: None,
            args: None,
            with_hints: Vec::new(),
            version: None,
            with_ordinality: false,
            partitions: Vec::new(),
            json_path: None,
            sample: None,
            index_hints: Vec::new(),
        })
    }
}

/// The arguments of `expr` if it calls the function `name`.
fn arguments_of(expr: &Expr, name: &str) -> Option<Vec<Expr>> {
    let Expr::Function(Function {
        name: called,
        args: FunctionArguments::List(list),
        ..
    }) = expr
    else {
        return None;
    };
    let [ObjectNamePart::Identifier(called)] = called.0.as_slice() else {
        return None;
    };
    if !called.value.eq_ignore_ascii_case(name) {
        return None;
    }
    let each = list.args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(value.clone()),
        _ => None,
    });
    each.collect()
}

/// Puts the table and the arguments into a query that has been made for them.
struct Fill {
    table: TableFactor,
    values: Vec<Expr>,
}

impl VisitorMut for Fill {
    type Break = ();

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, .. } = factor
            && let [ObjectNamePart::Identifier(name)] = name.0.as_slice()
            && name.value == TABLE
        {
            *factor = self.table.clone();
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(name) = expr
            && let Some(number) = name.value.strip_prefix(ARGUMENT)
            && let Some(value) = number
                .parse()
                .ok()
                .and_then(|number: usize| self.values.get(number))
        {
            *expr = value.clone();
        }
        ControlFlow::Continue(())
    }
}
