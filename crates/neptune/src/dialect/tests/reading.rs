use std::time::Duration;

use super::super::{DialectError, Options, StatementKind, parse_duration};
use super::parsed;

/// The options of `CREATE TABLE t WITH (connector = 'x', …)`.
fn options(list: &str) -> Options {
    let script = format!("CREATE TABLE t WITH (connector = 'x',\n{list})");
    match parsed(&script).remove(0).kind {
        StatementKind::CreateTable(table) => table.options,
        other => panic!("{other:?}"),
    }
}

fn told(error: &DialectError) -> String {
    let help = error.help.as_deref().unwrap_or("");
    format!("{}: {} ({help})", error.position(), error.what)
}

#[test]
fn options_are_read_by_type() {
    let mut o =
        options("a = 'Text', n = 12, m = '34', b = TRUE, c = 'False', d = '50 ms', k = 'JSON'");
    assert_eq!(o.str("a").as_deref(), Some("Text"));
    assert_eq!(o.required_str("a").unwrap(), "Text");
    assert_eq!(o.u64("n").unwrap(), Some(12));
    assert_eq!(o.u64("m").unwrap(), Some(34));
    assert_eq!(o.bool("b").unwrap(), Some(true));
    assert_eq!(o.bool("c").unwrap(), Some(false));
    assert_eq!(o.duration("d").unwrap(), Some(Duration::from_millis(50)));
    assert_eq!(o.one_of("k", &["csv", "json"]).unwrap(), Some("json"));
    assert_eq!(o.str("z"), None);
    assert_eq!(o.u64("z").unwrap(), None);
    assert_eq!(o.bool("z").unwrap(), None);
    assert_eq!(o.duration("z").unwrap(), None);
    assert_eq!(o.one_of("z", &["csv"]).unwrap(), None);
    o.finish().unwrap();
}

#[test]
fn bad_values_are_refused_at_their_place() {
    let mut o = options("n = -1, b = 'yes',\n d = '50', k = 'jsn', big = 99999999999999999999");
    let errors = [
        o.u64("n").unwrap_err(),
        o.u64("big").unwrap_err(),
        o.bool("b").unwrap_err(),
        o.duration("d").unwrap_err(),
        o.one_of("k", &["csv", "json"]).unwrap_err(),
        o.required_str("path").unwrap_err(),
    ];
    let told: Vec<String> = errors.iter().map(told).collect();
    assert_eq!(
        told,
        [
            "2:5: option `n` of table `t` is '-1': it must be a whole number such as 1000 ()",
            "3:29: option `big` of table `t` is '99999999999999999999': it must be a whole number such as 1000 ()",
            "2:13: option `b` of table `t` is 'yes': it must be `true` or `false` ()",
            "3:6: option `d` of table `t` is '50': it must be a number and a unit such as '50 ms', '30 s', '5 minutes' or '1h 30m' ()",
            "3:16: option `k` of table `t` is 'jsn': it must be one of 'csv', 'json' (did you mean 'json'?)",
            "1:16: table `t` has no option `path` (add `path = '…'` to WITH (…))",
        ]
    );
}

#[test]
fn options_nobody_asked_for_are_refused() {
    let mut o = options("path = 'x', formt = 'json'");
    // `connector` was read by the parser.
    let first = told(&o.finish().unwrap_err());
    assert_eq!(
        first,
        "2:1: unknown option `path` of table `t` (known are `connector`, `event_time_field`)"
    );
    o.str("path");
    o.str("format");
    let second = told(&o.finish().unwrap_err());
    assert_eq!(
        second,
        "2:13: unknown option `formt` of table `t` (did you mean `format`?)"
    );
    o.str("formt");
    o.finish().unwrap();
}

#[test]
fn durations_are_numbers_with_units() {
    for (text, millis) in [
        ("50 ms", Some(50)),
        ("50ms", Some(50)),
        ("30 s", Some(30_000)),
        ("30 SECONDS", Some(30_000)),
        ("5 minutes", Some(300_000)),
        ("1h", Some(3_600_000)),
        ("1h 30m", Some(5_400_000)),
        ("0 s", Some(0)),
        ("", None),
        ("50", None),
        ("ms", None),
        ("-5 s", None),
        ("5 parsecs", None),
        ("99999999999999999999 h", None),
        ("18446744073709551615 weeks", None),
    ] {
        assert_eq!(
            parse_duration(text),
            millis.map(Duration::from_millis),
            "{text}"
        );
    }
}
