//! Declarations: what is refused, and that it is refused by name.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use neptune_stream::StreamError;
use neptune_stream::connector::{CONNECTORS, Capabilities};
use neptune_stream::sink::Console;

use crate::helpers::{id_and_name, numbers, query, scratch, table};

#[test]
fn wrong_declarations_are_refused_with_the_key_and_the_remedy() {
    let files = |extra: &[(&'static str, &'static str)]| {
        let mut options = vec![("path", "p"), ("format", "json")];
        for (key, value) in extra {
            options.retain(|(known, _)| known != key);
            options.push((key, value));
        }
        options
    };
    for (connector, options, expected) in [
        (
            "filesytem",
            vec![],
            "unknown connector 'filesytem'; the connectors are filesystem, single_file, socket, rate, nexmark, console, memory, noop, shared; did you mean 'filesystem'?",
        ),
        ("postgres", vec![], "unknown connector 'postgres'"),
        ("kafka", vec![], "connector 'kafka' is not available yet"),
        ("socket", vec![], "connector 'socket' needs option 'host'"),
        ("socket", vec![("host", "h")], "needs option 'port'"),
        (
            "socket",
            vec![("host", "h"), ("port", "65536")],
            "option 'port' = '65536': not a port",
        ),
        (
            "socket",
            vec![("host", "h"), ("port", "1")],
            "needs option 'format': write format = 'json' or 'csv'",
        ),
        (
            "socket",
            vec![("host", "h"), ("port", "1"), ("format", "parquet")],
            "option 'format' = 'parquet'",
        ),
        (
            "socket",
            vec![
                ("host", "h"),
                ("port", "1"),
                ("format", "csv"),
                ("header", "true"),
            ],
            "has no option 'header'",
        ),
        (
            "socket",
            vec![
                ("host", "h"),
                ("port", "1"),
                ("format", "csv"),
                ("type", "sink"),
            ],
            "option 'type' = 'sink'",
        ),
        (
            "filesystem",
            vec![("path", "p")],
            "connector 'filesystem' needs option 'format'",
        ),
        (
            "filesystem",
            vec![("format", "json")],
            "needs option 'path': write path = 'DIRECTORY'",
        ),
        (
            "single_file",
            vec![("path", "p.txt")],
            "needs option 'format'",
        ),
        (
            "filesystem",
            files(&[("format", "jsn")]),
            "unknown format 'jsn'; the formats are json, csv, parquet, avro; did you mean 'json'?",
        ),
        (
            "filesystem",
            files(&[("format", "avro"), ("compression", "gzip")]),
            "use one of 'auto', 'none', 'deflate', 'snappy', 'zstd'",
        ),
        ("filesystem", files(&[("pth", "x")]), "has no option 'pth'"),
        (
            "filesystem",
            files(&[("on_eror", "skip")]),
            "did you mean 'on_error'?",
        ),
        (
            "filesystem",
            files(&[("header", "true")]),
            "has no option 'header'",
        ),
        (
            "filesystem",
            files(&[("format", "csv"), ("header", "yes")]),
            "option 'header' = 'yes': not a value it can have; use one of 'true', 'false'",
        ),
        (
            "filesystem",
            files(&[("format", "csv"), ("delimiter", ";;")]),
            "option 'delimiter' = ';;'",
        ),
        (
            "filesystem",
            files(&[("format", "parquet"), ("on_error", "skip")]),
            "has no option 'on_error'",
        ),
        (
            "filesystem",
            files(&[("compression", "lz4")]),
            "option 'compression' = 'lz4': not a value it can have; use one of 'auto', 'none', 'gzip', 'zstd'",
        ),
        (
            "filesystem",
            files(&[("format", "parquet"), ("compression", "gzip")]),
            "has no option 'compression'",
        ),
        (
            "filesystem",
            files(&[("max_record_bytes", "0")]),
            "a whole number of at least 1",
        ),
        (
            "single_file",
            vec![("path", "p.txt.gz")],
            "needs option 'format'",
        ),
        (
            "filesystem",
            files(&[("on_error", "ignore")]),
            "use one of 'fail', 'skip', 'dead_letter'",
        ),
        (
            "filesystem",
            files(&[("on_error", "dead_letter")]),
            "needs option 'dead_letter_path'",
        ),
        (
            "filesystem",
            files(&[("dead_letter_path", "x")]),
            "option 'dead_letter_path' = 'x'",
        ),
        (
            "filesystem",
            files(&[("type", "lookup")]),
            "use one of 'source', 'sink'",
        ),
        (
            "rate",
            vec![("rows_per_second", "0")],
            "option 'rows_per_second' = '0'",
        ),
        (
            "rate",
            vec![("rows_per_second", "many")],
            "a whole number of at least 1",
        ),
        (
            "rate",
            vec![("row", "1")],
            "has no option 'row'; its options are paced, rows, rows_per_second, type; did you mean 'rows'?",
        ),
        ("rate", vec![("type", "sink")], "option 'type' = 'sink'"),
        (
            "console",
            vec![("type", "source")],
            "option 'type' = 'source'",
        ),
        (
            "noop",
            vec![("path", "x")],
            "connector 'noop' has no option 'path'",
        ),
        (
            "memory",
            vec![("max_rows", "-1")],
            "option 'max_rows' = '-1'",
        ),
        (
            "shared",
            vec![("keep_versions", "0")],
            "option 'keep_versions' = '0'",
        ),
    ] {
        let error = table(connector, &id_and_name(), &options)
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{connector} {options:?}: {error}");
    }
}

#[test]
fn columns_must_fit_the_connector() {
    let socket = [("host", "localhost"), ("port", "1"), ("format", "json")];
    let error = table("socket", &[], &socket).unwrap_err().to_string();
    assert!(error.contains("give CREATE TABLE a column list"), "{error}");

    let other = [("value", DataType::Int64)];
    let error = table("rate", &other, &[]).unwrap_err().to_string();
    assert!(
        error.contains("timestamp Timestamp(ns), value Int64"),
        "{error}"
    );
    let same = [
        ("timestamp", DataType::Timestamp(TimeUnit::Nanosecond, None)),
        ("value", DataType::Int64),
    ];
    assert!(table("rate", &same, &[]).is_ok());

    let (_dir, _, place) = scratch();
    let list = DataType::new_list(DataType::Int64, true);
    let options = [("path", place.as_str()), ("format", "csv")];
    let nested = table("filesystem", &[("ids", list)], &options).unwrap();
    let error = nested.open_source().unwrap_err().to_string();
    assert!(
        error.contains("column 'ids'") && error.contains("CSV cannot hold"),
        "{error}"
    );
}

#[test]
fn a_table_says_what_it_can_be_used_for_and_refuses_the_rest() {
    let (_dir, _, place) = scratch();
    let path = ("path", place.as_str());
    let json = ("format", "json");
    let socket = [("host", "localhost"), ("port", "1"), json];
    for (connector, options, expected) in [
        ("filesystem", vec![path, json], [true, true, true, false]),
        (
            "filesystem",
            vec![path, json, ("type", "source")],
            [true, false, true, false],
        ),
        (
            "filesystem",
            vec![path, json, ("type", "sink")],
            [false, true, false, false],
        ),
        (
            "filesystem",
            vec![path, json, ("bounded", "true")],
            [true, true, true, true],
        ),
        ("rate", vec![], [true, false, false, false]),
        ("socket", socket.to_vec(), [true, false, false, false]),
        (
            "socket",
            [socket.as_slice(), &[("bounded", "true")]].concat(),
            [true, false, false, true],
        ),
        ("rate", vec![("rows", "3")], [true, false, true, true]),
        ("console", vec![], [false, true, false, true]),
        ("noop", vec![], [false, true, false, true]),
        ("memory", vec![], [false, true, true, true]),
        ("shared", vec![], [false, true, true, true]),
    ] {
        let columns = if connector == "rate" {
            vec![]
        } else {
            id_and_name()
        };
        let table = table(connector, &columns, &options).unwrap();
        let [source, sink, batch, bounded] = expected;
        let declared = Capabilities {
            source,
            sink,
            table: batch,
            bounded,
        };
        assert_eq!(table.capabilities(), declared, "{connector} {options:?}");
        let console = Console::new(std::io::sink());
        let done = [
            table
                .open_source()
                .map(|s| assert_eq!(s.is_bounded(), bounded)),
            table.open_sink(&console).map(|s| assert_eq!(s.name(), "t")),
            table.batch_table().map(|_| ()),
        ];
        for (result, can) in done.into_iter().zip([source, sink, batch]) {
            match result {
                Ok(()) => assert!(can, "{connector} {options:?}"),
                Err(error) => {
                    assert!(
                        !can && matches!(error, StreamError::Unsupported { .. }),
                        "{error}"
                    );
                }
            }
        }
        assert!(CONNECTORS.contains(&table.connector()));
    }
}

#[tokio::test]
async fn a_bounded_generator_is_a_table() {
    let rate = table("rate", &[], &[("rows", "1000"), ("rows_per_second", "10")]).unwrap();
    let found = query(
        rate.batch_table().unwrap(),
        "SELECT value FROM t WHERE value >= 995",
    )
    .await;
    assert_eq!(numbers(&found.unwrap()), [995, 996, 997, 998, 999]);
}
