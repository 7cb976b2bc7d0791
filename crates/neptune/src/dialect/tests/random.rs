use proptest::prelude::*;

use super::super::{DialectError, Statement, parse};

/// Between them these reach every form of the dialect.
const SCRIPTS: [&str; 6] = [
    "CREATE OR REPLACE TABLE clicks (ts TIMESTAMP NOT NULL, \"U\" DECIMAL(10, 2), s STRUCT<a INT>,\n WATERMARK FOR ts AS \
     ts - INTERVAL '5 seconds') WITH (connector = 'filesystem', 'path' = 'a;b/', n = -1.5, a.b = true); -- c",
    "CREATE TABLE IF NOT EXISTS t WITH (connector = 'rate', event_time_field = 'ts');\r\nSHOW JOBS",
    "CREATE JOB détect WITH (class = 'stream', trigger = '50 ms') AS INSERT INTO a.alerts (x, y) SELECT 'é', 2 /* ; */ ;",
    "CREATE JOB train AS WITH m AS (SELECT 1) SELECT * FROM m; SET neptune.job.class = 'batch'; SET a.b TO -1",
    "SELECT * FROM TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1 minute') WHERE a > 1 GROUP BY tumble(ts); DROP JOB IF EXISTS x",
    "INSERT OVERWRITE TABLE m VALUES (1, $$x$$), (2, E'\\n'); EXPLAIN ANALYZE SELECT 1; SUSPEND JOB 3; COPY t TO 'x'",
];

/// Words and signs to throw in.
const PIECES: [&str; 24] = [
    " ",
    "\n",
    "\r\n",
    ";",
    "(",
    ")",
    ",",
    "'",
    "\"",
    ".",
    "=",
    "-",
    "--",
    "/*",
    "*/",
    "é",
    "1e9",
    " WITH ",
    " WATERMARK FOR ",
    " JOB ",
    " TABLE ",
    " AS ",
    "SET ",
    "\u{0}",
];

/// Whatever comes out points into the text.
fn check(text: &str, result: &Result<Vec<Statement>, DialectError>) -> Result<(), TestCaseError> {
    let stripped = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<&str> = stripped.split('\n').collect();
    let inside = |line: u64, column: u64| {
        let length = lines
            .get(line as usize - 1)
            .map(|l| l.chars().count() as u64);
        length.is_some_and(|length| (1..=length + 1).contains(&column))
    };
    match result {
        Ok(statements) => {
            for statement in statements {
                let place = statement.position;
                prop_assert!(inside(place.line, place.column), "{place}");
                let before: usize = lines[..place.line as usize - 1]
                    .iter()
                    .map(|l| l.chars().count() + 1)
                    .sum();
                let at: String = stripped
                    .chars()
                    .skip(before + place.column as usize - 1)
                    .take(statement.text.chars().count())
                    .collect();
                prop_assert_eq!(&at, &statement.text);
                // A statement alone says the same as in its script.
                let alone =
                    parse("x", &statement.text).map_err(|e| TestCaseError::fail(e.to_string()))?;
                prop_assert_eq!(alone.len(), 1);
                prop_assert_eq!(&alone[0].text, &statement.text);
            }
        }
        Err(error) => {
            prop_assert!(inside(error.line, error.column), "{}", error);
            prop_assert!(!error.what.is_empty());
        }
    }
    Ok(())
}

/// One change: at a fraction of the text, delete some characters and put a piece there.
fn mutated(script: &str, changes: &[(f64, usize, usize)]) -> String {
    let mut letters: Vec<char> = script.chars().collect();
    for &(fraction, delete, piece) in changes {
        let at = ((letters.len() as f64) * fraction) as usize;
        let end = (at + delete).min(letters.len());
        letters.splice(at..end, PIECES[piece].chars());
    }
    letters.into_iter().collect()
}

#[test]
fn the_scripts_to_change_are_right_themselves() {
    for script in SCRIPTS {
        super::parsed(script);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_parsed_or_refused(text in any::<String>()) {
        check(&text, &parse("x", &text))?;
    }

    #[test]
    fn any_row_of_pieces_is_parsed_or_refused(picks in prop::collection::vec(0..PIECES.len() + SCRIPTS.len(), 0..12)) {
        let text: String = picks
            .iter()
            .map(|&pick| PIECES.get(pick).or_else(|| SCRIPTS.get(pick - PIECES.len())).copied().unwrap_or(""))
            .collect();
        check(&text, &parse("x", &text))?;
    }

    #[test]
    fn a_changed_script_is_parsed_or_refused(
        script in 0..SCRIPTS.len(),
        changes in prop::collection::vec((0.0..1.0_f64, 0..6_usize, 0..PIECES.len()), 1..5),
    ) {
        let text = mutated(SCRIPTS[script], &changes);
        check(&text, &parse("x", &text))?;
    }
}
