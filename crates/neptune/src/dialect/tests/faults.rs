use std::sync::Arc;

use datafusion::common::{Diagnostic, Span};
use datafusion::error::DataFusionError;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::sqlparser::tokenizer::{Location, Span as TokenSpan};

use super::super::{StatementKind, parse};
use super::parsed;

/// Bad scripts: the text, `line:column: what`, and a part of the help ("" for none).
#[test]
fn bad_scripts_are_refused_at_the_right_place() {
    let cases: &[(&str, &str, &str)] = &[
        // Words in the wrong place.
        (
            "SELECT 1;\n\n  SELCT 2",
            "3:3: unknown keyword `SELCT`",
            "did you mean `SELECT`?",
        ),
        (
            "flurbl 2",
            "1:1: unknown keyword `flurbl`",
            "a statement begins with",
        ),
        (
            "SELECT a\nFORM t",
            "2:6: expected the end of the statement, found `t`",
            "did you mean `FROM` where `FORM` stands at 2:1?",
        ),
        (
            "SELECT 1\nSELECT 2",
            "2:1: expected the end of the statement, found `SELECT`",
            "separated by `;`",
        ),
        (
            "SELECT (1;\n2)",
            "1:10: expected `)`, found the end of the statement",
            "",
        ),
        (
            "SELECT a,\n  b FROM\n ;",
            "2:9: expected identifier, found the end of the statement",
            "",
        ),
        (
            "CREATE TABEL x (a INT)",
            "1:8: expected an object type after CREATE, found `TABEL`",
            "did you mean `TABLE`?",
        ),
        (
            "CREATE JBO x AS SELECT 1",
            "1:8: expected an object type after CREATE, found `JBO`",
            "did you mean `JOB`?",
        ),
        (
            "SELECT 1;\r\nSELECT é, é é é",
            "2:15: expected the end of the statement, found `é`",
            "",
        ),
        (
            "SELECT \u{7}",
            "1:8: expected an expression, found `\\u{7}`",
            "",
        ),
        // Text that is no tokens.
        (
            "SELECT 1; SELECT 'abc\n\n",
            "1:18: unterminated string literal",
            "never closed",
        ),
        (
            "SELECT 1;\n/* abc\n",
            "2:1: unexpected EOF while in a multi-line comment",
            "never closed",
        ),
        (
            "SELECT $a$ x",
            "1:8: unterminated dollar-quoted, expected $",
            "never closed",
        ),
        // A fault of a statement comes before a later fault of the text.
        (
            "SELCT 1; SELECT 'abc",
            "1:1: unknown keyword `SELCT`",
            "SELECT",
        ),
        // Tables.
        (
            "CREATE TABLE t (a INT) WITH (conector = 'rate')",
            "1:24: table `t` has no option `connector`",
            "`conector` looks like it",
        ),
        (
            "CREATE TABLE t WITH (path = 'x')",
            "1:16: table `t` has no option `connector`",
            "add `connector = '…'`",
        ),
        (
            "CREATE TABLE t WITH ()",
            "1:16: table `t` has no option `connector`",
            "add",
        ),
        (
            "CREATE TABLE t (\n a INTT) WITH (connector = 'rate')",
            "2:4: unknown type `INTT`",
            "did you mean `INT`?",
        ),
        (
            "CREATE TABLE t (a) WITH (connector = 'rate')",
            "1:18: expected a data type name, found `)`",
            "",
        ),
        (
            "CREATE TABLE t (a REGCLASS) WITH (connector = 'rate')",
            "1:19: Unsupported SQL type REGCLASS",
            "",
        ),
        (
            "CREATE TABLE t () WITH (connector = 'rate')",
            "1:17: expected a column or WATERMARK FOR, found `)`",
            "",
        ),
        (
            "CREATE TABLE t (a INT,) WITH (connector = 'rate')",
            "1:23: expected a column or WATERMARK FOR, found `)`",
            "",
        ),
        (
            "CREATE TABLE t (a INT b INT) WITH (connector = 'rate')",
            "1:23: expected `,` or `)` after a column, found `b`",
            "",
        ),
        (
            "CREATE TABLE t (a INT, A TEXT) WITH (connector = 'rate')",
            "1:24: column `a` is listed twice, first at 1:17",
            "",
        ),
        (
            "CREATE TABLE t (a INT PRIMARY KEY) WITH (connector = 'rate')",
            "1:23: `PRIMARY KEY` is not possible in a table with a connector",
            "NOT NULL",
        ),
        (
            "CREATE TABLE t (a INT NULL NOT NULL) WITH (connector = 'rate')",
            "1:28: NULL or NOT NULL is given twice",
            "",
        ),
        (
            "CREATE TABLE t (a INT, PRIMARY KEY (a)) WITH (connector = 'rate')",
            "1:24: `PRIMARY KEY (a)` is not possible in a table with a connector",
            "leave it out",
        ),
        (
            "CREATE TABLE t (a INT, WATERMRK FOR a) WITH (connector = 'rate')",
            "1:24: expected a column or WATERMARK FOR, found `WATERMRK`",
            "did you mean `WATERMARK`?",
        ),
        (
            "CREATE TABLE t (tick INT, WATERMARK FOR tik) WITH (connector = 'rate')",
            "1:41: the event time column `tik` is not in the list",
            "did you mean `tick`?",
        ),
        (
            "CREATE TABLE t (a INT, WATERMARK FOR a, WATERMARK FOR a) WITH (connector = 'rate')",
            "1:41: a table has one watermark, and there is one at 1:24 already",
            "",
        ),
        (
            "CREATE TABLE t (a INT, WATERMARK FOR a AS) WITH (connector = 'rate')",
            "1:42: expected an expression, found `)`",
            "",
        ),
        (
            "CREATE TABLE t (a INT, WATERMARK FOR a AS a - ) WITH (connector = 'rate')",
            "1:47: expected an expression, found `)`",
            "",
        ),
        (
            "CREATE TABLE t (a INT, WATERMARK FOR 5) WITH (connector = 'rate')",
            "1:38: expected the event time column, found `5`",
            "",
        ),
        (
            "CREATE TABLE t (a INT, WATERMARK FOR a)",
            "1:40: expected WITH (connector = …) after the columns, found the end of the statement",
            "only a table with a connector",
        ),
        (
            "CREATE TABLE t (a INT, b INT, WATERMARK FOR a) WITH (connector = 'rate', event_time_field = 'b')",
            "1:93: option `event_time_field` of table `t` is 'b': WATERMARK FOR says `a`",
            "",
        ),
        (
            "CREATE TABLE t (a INT) WITH (connector = 'rate', event_time_field = 'b')",
            "1:69: the event time column `b` is not in the list",
            "`a`",
        ),
        (
            "CREATE TABLE t WITH (connector = 'rate') AS SELECT 1",
            "1:42: expected the end of the statement, found `AS`",
            "INSERT INTO",
        ),
        (
            "CREATE OR REPLACE TABLE IF NOT EXISTS t WITH (connector = 'rate')",
            "1:8: OR REPLACE and IF NOT EXISTS exclude each other",
            "",
        ),
        (
            "CREATE TABLE a.b.c.d WITH (connector = 'rate')",
            "1:14: Unsupported compound identifier 'a.b.c.d'. Expected 1, 2 or 3 parts, got 4",
            "",
        ),
        // Options.
        (
            "CREATE TABLE t WITH (connector = 'a',\n connector = 'b')",
            "2:2: option `connector` of table `t` is given twice, first at 1:22",
            "",
        ),
        (
            "CREATE TABLE t WITH (connector 'a')",
            "1:32: expected `=` after option `connector`, found `'a'`",
            "key = 'value'",
        ),
        (
            "CREATE TABLE t WITH (connector = 'a' path = 'b')",
            "1:38: expected `,` or `)` after an option, found `path`",
            "separated by `,`",
        ),
        (
            "CREATE TABLE t WITH (connector = 'a',)",
            "1:38: expected an option's name, found `)`",
            "",
        ),
        (
            "CREATE TABLE t WITH (connector = 'a'",
            "1:37: expected `,` or `)` after an option, found the end of the statement",
            "",
        ),
        (
            "CREATE TABLE t WITH (connector = , x = 1)",
            "1:34: expected a value for option `connector`, found `,`",
            "a 'string'",
        ),
        (
            "CREATE JOB j WITH (class = stream) AS SELECT 1",
            "1:28: expected a value for option `class`, found `stream`",
            "put it in quotes: 'stream'",
        ),
        (
            "CREATE JOB j WITH (trigger = 50 ms) AS SELECT 1",
            "1:33: expected `,` or `)` after an option, found `ms`",
            "'50 ms'",
        ),
        (
            "CREATE JOB j WITH (x = -'a') AS SELECT 1",
            "1:25: expected a number, found `'a'`",
            "",
        ),
        // Jobs.
        (
            "CREATE JOB",
            "1:11: expected the job's name, found the end of the statement",
            "",
        ),
        (
            "CREATE JOB 'x' AS SELECT 1",
            "1:12: expected the job's name, found `'x'`",
            "",
        ),
        (
            "CREATE JOB my-job AS SELECT 1",
            "1:14: expected WITH (…) or AS after the job's name, found `-`",
            "double quotes",
        ),
        (
            "CREATE JOB j WITH (class = 'stream')\nINSERT INTO t SELECT 1",
            "2:1: expected AS, found `INSERT`",
            "",
        ),
        (
            "CREATE JOB j AS",
            "1:16: expected an SQL statement, found the end of the statement",
            "",
        ),
        (
            "CREATE JOB j AS\n  DROP TABLE t",
            "2:3: job `j` cannot do this",
            "INSERT OVERWRITE",
        ),
        (
            "CREATE JOB j AS WITH x AS (SELECT 1) INSERT INTO t SELECT 1",
            "1:17: job `j` cannot do this",
            "a job is",
        ),
        (
            "CREATE JOB j AS INSERT INTO t SELECT 1 RETURNING a",
            "1:17: job `j` cannot do this",
            "a job is",
        ),
        (
            "CREATE JOB j AS SELECT a,\n FROM (t",
            "2:9: expected `)`, found the end of the statement",
            "",
        ),
        (
            "CREATE OR REPLACE JOB j AS SELECT 1",
            "1:8: expected JOB, found `OR`",
            "DROP JOB first",
        ),
        (
            "SUSPEND JBO x",
            "1:9: expected JOB, found `JBO`",
            "did you mean `JOB`?",
        ),
        (
            "DROP JOB",
            "1:9: expected the job's name or number, found the end of the statement",
            "",
        ),
        (
            "SHOW JOBS x",
            "1:11: expected the end of the statement, found `x`",
            "",
        ),
        // Settings.
        (
            "SET a = ",
            "1:8: expected a value for `a`, found the end of the statement",
            "a 'string'",
        ),
        (
            "SET a = 50 ms",
            "1:12: expected the end of the statement, found `ms`",
            "'50 ms'",
        ),
        (
            "SET a 'x'",
            "1:7: expected equals sign or TO, found `'x'`",
            "",
        ),
    ];
    for (script, expected, help) in cases {
        match parse("app.sql", script) {
            Ok(statements) => panic!("no error in\n{script}\n{statements:?}"),
            Err(error) => {
                let found = format!("{}: {}", error.position(), error.what);
                assert_eq!(&found, expected, "in\n{script}");
                let given = error.help.unwrap_or_default();
                assert!(
                    if help.is_empty() {
                        given.is_empty()
                    } else {
                        given.contains(help)
                    },
                    "help is {given:?} for\n{script}"
                );
            }
        }
    }
}

#[test]
fn a_message_shows_the_line_and_points_at_the_fault() {
    let error = parse("dir/app.sql", "SELECT 1;\r\n\tSET a = é é;\r\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "dir/app.sql:2:12: expected the end of the statement, found `é`\n  |\n2 | \tSET a = é é;\n  | \t          ^\n\
         help: SET takes one value; one of several words needs quotes, as in '50 ms'"
    );
}

#[test]
fn a_message_shows_only_the_neighbourhood_on_a_long_line() {
    let script = format!(
        "SELECT {} FROM t oops oops, {}",
        "a,".repeat(5_000),
        "b,".repeat(5_000)
    );
    let message = parse("app.sql", &script).unwrap_err().to_string();
    assert!(message.len() < 1_000, "{message}");
    let lines: Vec<&str> = message.lines().collect();
    let caret = lines[3].chars().position(|c| c == '^').expect("a caret");
    let below: String = lines[2].chars().skip(caret).take(5).collect();
    assert_eq!(below, "oops,", "{message}");
}

#[test]
fn deep_nesting_is_refused_and_long_lists_are_not() {
    for deep in [
        format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000)),
        format!("SELECT {}1{}", "f(".repeat(5_000), ")".repeat(5_000)),
    ] {
        let error = parse("app.sql", &deep).unwrap_err();
        assert_eq!(error.what, "the statement is nested too deeply");
        assert_eq!((error.line, error.column), (1, 1));
    }
    assert_eq!(
        parsed(&format!("SELECT {} 1", "1, ".repeat(5_000))).len(),
        1
    );
    assert_eq!(parsed(&"SELECT 1; ".repeat(5_000)).len(), 5_000);
}

#[test]
fn planning_errors_are_placed_at_their_span_or_at_the_statement() {
    let statements = parsed("SELECT 1;\n SELECT a\n FROM t");
    let bare = DataFusionError::Plan("table t not found".to_owned());
    let error = statements[1].locate(&bare);
    assert_eq!((error.line, error.column), (2, 2));
    assert_eq!(error.what, "table t not found");

    let span = TokenSpan::new(Location::new(3, 7), Location::new(3, 8));
    let mut diagnostic =
        Diagnostic::new_error("table not found", Span::try_from_sqlparser_span(span));
    diagnostic.add_help("did you mean 'u'?", None);
    let spanned = bare.with_diagnostic(diagnostic).context("while planning");
    let error = statements[1].locate(&DataFusionError::Shared(Arc::new(spanned)));
    assert_eq!((error.line, error.column), (3, 7));
    assert_eq!(error.what, "table t not found");
    assert_eq!(error.help.as_deref(), Some("did you mean 'u'?"));
}

#[test]
fn endless_chains_are_refused_before_they_overflow_the_stack() {
    for (chain, column) in [
        (" + 1".repeat(50_000), 40_010),
        (" OR x = (1)".repeat(50_000), 55_010),
        ("::INT".repeat(50_000), 50_009),
        (" AT TIME ZONE 'a'".repeat(50_000), 170_010),
        (" UNION ALL SELECT a, 1".repeat(50_000), 220_010),
    ] {
        let error = parse("app.sql", &format!("SELECT 1{chain}")).unwrap_err();
        assert_eq!(error.what, "more than 10000 operators in one chain");
        assert_eq!((error.line, error.column), (1, column), "{}", &chain[..20]);
    }
    for chain in [" + 1".repeat(9_999), ", 1 + 1".repeat(20_000)] {
        assert_eq!(parsed(&format!("SELECT 1{chain}")).len(), 1);
    }
}

#[tokio::test]
async fn an_error_of_the_real_planner_is_placed_in_the_file() {
    let config = SessionConfig::new().set_bool("datafusion.sql_parser.collect_spans", true);
    let state = SessionContext::new_with_config(config).state();
    let script = "SET a = 1;\nINSERT INTO t\n  SELECT b.x,\n    b.nope FROM (SELECT 1 AS x) b";
    let statement = parsed(script).remove(1);
    let StatementKind::Insert(insert) = &statement.kind else {
        panic!("{statement:?}");
    };
    let query = insert.query.clone();
    let error = statement.locate(&state.statement_to_plan(query).await.unwrap_err());
    assert_eq!((error.line, error.column), (4, 5), "{error}");
    assert!(error.what.contains("nope"), "{error}");
}
