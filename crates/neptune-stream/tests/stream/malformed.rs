//! Malformed records under each policy, named with file, line and column.

use std::fs;

use datafusion::arrow::datatypes::DataType;
use neptune_stream::StreamError;
use serde_json::Value;

use crate::helpers::{id_and_name, names, numbers, query, scratch, table, write};

struct Case {
    what: &'static str,
    format: &'static str,
    /// The malformed record, put on line 5002 of 10,000.
    record: &'static str,
    column: Option<&'static str>,
    /// Part of the reason.
    reason: &'static str,
}

const CASES: [Case; 13] = [
    Case {
        what: "an object cut off",
        format: "json",
        record: r#"{"id": 7, "name": "x""#,
        column: None,
        reason: "the line ends before the JSON object does",
    },
    Case {
        what: "an object that would go on in the next line",
        format: "json",
        record: r#"{"id": 7,"#,
        column: None,
        reason: "the line ends before the JSON object does",
    },
    Case {
        what: "a string that would go on in the next line",
        format: "json",
        record: r#"{"id": 7, "name": "x"#,
        column: None,
        reason: "the line ends before the JSON object does",
    },
    Case {
        what: "two objects in a line",
        format: "json",
        record: r#"{"id": 7} {"id": 8}"#,
        column: None,
        reason: "exactly one JSON object",
    },
    Case {
        what: "no object",
        format: "json",
        record: "[1, 2]",
        column: None,
        reason: "expected {",
    },
    Case {
        what: "no JSON",
        format: "json",
        record: "id=7",
        column: None,
        reason: "parsing value",
    },
    Case {
        what: "a value of another type",
        format: "json",
        record: r#"{"id": "seven", "name": "x"}"#,
        column: Some("id"),
        reason: "\"seven\"",
    },
    Case {
        what: "a value too large",
        format: "json",
        record: r#"{"id": 92233720368547758080, "name": "x"}"#,
        column: Some("id"),
        reason: "92233720368547758080",
    },
    Case {
        what: "an object for text",
        format: "json",
        record: r#"{"id": 7, "name": {"first": "x"}}"#,
        column: Some("name"),
        reason: "expected string",
    },
    Case {
        what: "a field too few",
        format: "csv",
        record: "7",
        column: None,
        reason: "2 fields are expected, it has 1",
    },
    Case {
        what: "a field too many",
        format: "csv",
        record: "7,x,y",
        column: None,
        reason: "2 fields are expected, it has 3",
    },
    Case {
        what: "a value of another type",
        format: "csv",
        record: "seven,x",
        column: Some("id"),
        reason: "'seven' is not a value of type Int64",
    },
    Case {
        what: "a lone carriage return",
        format: "csv",
        record: "7,x\r8,y",
        column: None,
        reason: "fields are expected",
    },
];

const ROWS: i64 = 10_000;
/// The malformed record's line.
const LINE: i64 = 5002;

fn file(case: &Case) -> String {
    let mut text = String::new();
    let (first, record): (_, fn(i64) -> String) = match case.format {
        "csv" => ("id,name\n", |id| format!("{id},\"n\n{id}\"\n")),
        _ => ("", |id| format!("{{\"id\": {id}, \"name\": \"n{id}\"}}\n")),
    };
    text.push_str(first);
    // CSV: a header and records of two lines, one more of one line to make the number fit.
    if case.format == "csv" {
        for id in 0..2500 {
            text.push_str(&record(id));
        }
    } else {
        for id in 0..LINE - 1 {
            text.push_str(&record(id));
        }
    }
    text.push_str(case.record);
    text.push('\n');
    for id in 6000..ROWS {
        text.push_str(&record(id));
    }
    text
}

fn expected(case: &Case) -> Vec<i64> {
    let before = if case.format == "csv" { 2500 } else { LINE - 1 };
    (0..before).chain(6000..ROWS).collect()
}

fn line(case: &Case) -> i64 {
    if case.format == "csv" { 5002 } else { LINE }
}

#[tokio::test]
async fn fail_names_file_line_and_column() {
    for case in &CASES {
        let (_dir, path, text) = scratch();
        write(&path.join("a.in"), file(case));
        let options = [("path", text.as_str()), ("format", case.format)];
        let table = table("filesystem", &id_and_name(), &options).unwrap();
        let error = query(table.batch_table().unwrap(), "SELECT id, name FROM t")
            .await
            .unwrap_err();
        let StreamError::Malformed {
            file,
            line: at,
            column,
            reason,
        } = &error
        else {
            panic!("{}: {error}", case.what);
        };
        assert_eq!(file, &path.join("a.in"), "{}", case.what);
        assert_eq!(*at, Some(line(case) as u64), "{}: {error}", case.what);
        assert_eq!(column.as_deref(), case.column, "{}: {error}", case.what);
        assert!(reason.contains(case.reason), "{}: {error}", case.what);
    }
}

#[tokio::test]
async fn skip_leaves_out_exactly_the_malformed_record() {
    for case in &CASES {
        let (_dir, path, text) = scratch();
        write(&path.join("a.in"), file(case));
        let options = [
            ("path", text.as_str()),
            ("format", case.format),
            ("on_error", "skip"),
        ];
        let table = table("filesystem", &id_and_name(), &options).unwrap();
        let source = table.open_source().unwrap();
        let (batches, _) = crate::helpers::take(&source, source.initial_offset())
            .await
            .unwrap();
        assert_eq!(numbers(&batches), expected(case), "{}", case.what);
        assert_eq!(source.malformed_records(), 1, "{}", case.what);
        assert!(batches.iter().all(|batch| batch.num_rows() <= 100));
    }
}

#[tokio::test]
async fn dead_letter_keeps_the_record_once_however_often_it_is_read() {
    for case in &CASES {
        let (dir, path, text) = scratch();
        write(&path.join("a.in"), file(case));
        let letters = dir.path().join("dead/letters.json");
        let options = [
            ("path", text.as_str()),
            ("format", case.format),
            ("on_error", "dead_letter"),
            ("dead_letter_path", letters.to_str().unwrap()),
        ];
        let table = table("filesystem", &id_and_name(), &options).unwrap();
        for _ in 0..2 {
            let batches = query(table.batch_table().unwrap(), "SELECT * FROM t")
                .await
                .unwrap();
            assert_eq!(numbers(&batches), expected(case), "{}", case.what);
        }
        let written = fs::read_to_string(&letters).unwrap();
        let lines: Vec<Value> = written
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 1, "{}: {written}", case.what);
        let letter = &lines[0];
        assert_eq!(letter["file"], path.join("a.in").to_str().unwrap());
        assert_eq!(letter["line"], line(case), "{}", case.what);
        assert_eq!(letter["record"], case.record, "{}", case.what);
        assert_eq!(letter["column"].as_str(), case.column, "{}", case.what);
        assert!(letter["error"].as_str().unwrap().contains(case.reason));
    }
}

#[tokio::test]
async fn many_malformed_records_are_all_found() {
    let (dir, path, text) = scratch();
    let mut file = String::new();
    for id in 0..5000 {
        file.push_str(&match id % 3 {
            0 => format!("{{\"id\": {id}}}\n"),
            1 => format!("{{\"id\": \"x{id}\"}}\n"),
            _ => "\n   \nnonsense\n".to_owned(),
        });
    }
    write(&path.join("a.json"), file);
    let letters = dir.path().join("letters.json");
    let options = [
        ("path", text.as_str()),
        ("format", "json"),
        ("on_error", "dead_letter"),
        ("dead_letter_path", letters.to_str().unwrap()),
    ];
    let table = table("filesystem", &id_and_name(), &options).unwrap();
    let batches = query(table.batch_table().unwrap(), "SELECT id FROM t")
        .await
        .unwrap();
    let good: Vec<i64> = (0..5000).filter(|id| id % 3 == 0).collect();
    assert_eq!(numbers(&batches), good);
    let lines: Vec<u64> = fs::read_to_string(letters)
        .unwrap()
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["line"]
                .as_u64()
                .unwrap()
        })
        .collect();
    assert_eq!(lines.len(), 5000 - good.len());
    assert!(lines.is_sorted());
    // Three records take five lines; the second is malformed and so is the fifth line.
    assert!(lines.iter().all(|line| matches!(line % 5, 2 | 0)));
}

#[tokio::test]
async fn null_in_a_not_null_column_is_malformed() {
    use datafusion::arrow::datatypes::{Field, Schema};
    for (format, text) in [
        ("json", "{\"id\": 1}\n{\"name\": \"x\"}\n"),
        ("csv", "id,name\n1,y\n,x\n"),
    ] {
        let (_dir, path, place) = scratch();
        write(&path.join("a"), text);
        let options = [("path", place.as_str()), ("format", format)];
        let mut spec = crate::helpers::spec("filesystem", &[], &options);
        spec.schema = Some(std::sync::Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("name", DataType::Utf8, true),
        ])));
        let table = neptune_stream::connector::ConnectorTable::create(&spec).unwrap();
        let error = query(table.batch_table().unwrap(), "SELECT * FROM t")
            .await
            .unwrap_err();
        let line = if format == "csv" { 3 } else { 2 };
        assert!(
            matches!(&error, StreamError::Malformed { line: Some(at), column: Some(column), .. }
                if *at == line && column == "id"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_nested_field_is_named_by_its_path_and_deep_nesting_is_no_danger() {
    let point = DataType::Struct(
        vec![datafusion::arrow::datatypes::Field::new(
            "x",
            DataType::Float64,
            true,
        )]
        .into(),
    );
    let columns = [("id", DataType::Int64), ("at", point)];
    let deep = format!(
        "{{\"id\": {}1{}}}\n",
        "[".repeat(200_000),
        "]".repeat(200_000)
    );
    for (record, column, reason) in [
        ("{\"at\": {\"x\": \"left\"}}\n", Some("at.x"), "left"),
        (deep.as_str(), None, "nested deeper"),
    ] {
        let (_dir, path, place) = scratch();
        write(&path.join("a"), record);
        let options = [("path", place.as_str()), ("format", "json")];
        let table = table("filesystem", &columns, &options).unwrap();
        let error = query(table.batch_table().unwrap(), "SELECT * FROM t")
            .await
            .unwrap_err();
        let StreamError::Malformed {
            column: found,
            reason: why,
            ..
        } = &error
        else {
            panic!("{error}");
        };
        assert_eq!(found.as_deref(), column);
        assert!(why.contains(reason), "{error}");
    }
}

#[tokio::test]
async fn bytes_that_are_no_text_are_malformed_and_records_may_be_long() {
    for format in ["json", "csv"] {
        let (_dir, path, place) = scratch();
        let long = "x".repeat(600_000);
        let mut bytes = match format {
            "json" => format!("{{\"id\": 1, \"name\": \"{long}\"}}\n{{\"id\": 2, \"name\": \"")
                .into_bytes(),
            _ => format!("id,name\n1,{long}\n2,").into_bytes(),
        };
        bytes.extend(b"\xff\xfe");
        bytes.extend(if format == "json" {
            b"\"}\n{\"id\": 3}\n".as_slice()
        } else {
            b"\n3,\n"
        });
        write(&path.join("a"), &bytes);
        let options = [
            ("path", place.as_str()),
            ("format", format),
            ("on_error", "skip"),
        ];
        let table = table("filesystem", &id_and_name(), &options).unwrap();
        let sql = "SELECT id, length(name) FROM t";
        let batches = query(table.batch_table().unwrap(), sql).await.unwrap();
        assert_eq!(
            crate::helpers::rows(&batches),
            ["1|600000", "3|NULL"],
            "{format}"
        );
        assert_eq!(names(&path, true), ["a"]);
    }
}

#[tokio::test]
async fn a_header_decides_which_field_is_which_column() {
    let (_dir, path, place) = scratch();
    write(&path.join("a"), "\u{feff}extra,name,id\r\nq,x,1\r\nq,y,2");
    let options = [("path", place.as_str()), ("format", "csv")];
    let good = table("filesystem", &id_and_name(), &options).unwrap();
    for (sql, expected) in [
        ("SELECT id, name FROM t", vec!["1|x", "2|y"]),
        ("SELECT name FROM t WHERE id = 2", vec!["y"]),
        ("SELECT count(*) FROM t", vec!["2"]),
    ] {
        let batches = query(good.batch_table().unwrap(), sql).await.unwrap();
        assert_eq!(crate::helpers::rows(&batches), expected, "{sql}");
    }
    let columns = [("id", DataType::Int64), ("price", DataType::Float64)];
    let bad = table("filesystem", &columns, &options).unwrap();
    let error = query(bad.batch_table().unwrap(), "SELECT * FROM t")
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("column 'price': the header has no such column"),
        "{error}"
    );

    let options = [
        options[0],
        options[1],
        ("header", "false"),
        ("delimiter", ";"),
    ];
    let (_dir, path, place) = scratch();
    write(&path.join("a"), "1;x,x\n2;\"y;y\"\n");
    let options = [("path", place.as_str()), options[1], options[2], options[3]];
    let plain = table("filesystem", &id_and_name(), &options).unwrap();
    let batches = query(plain.batch_table().unwrap(), "SELECT * FROM t")
        .await
        .unwrap();
    assert_eq!(crate::helpers::rows(&batches), ["1|x,x", "2|y;y"]);
}

#[tokio::test]
async fn a_quote_that_is_never_closed_spoils_its_own_line_only() {
    let (_dir, path, place) = scratch();
    write(&path.join("a"), "id,name\n1,x\n2,\"y\n3,z\n4,\n");
    let options = [
        ("path", place.as_str()),
        ("format", "csv"),
        ("on_error", "skip"),
    ];
    let skipping = table("filesystem", &id_and_name(), &options).unwrap();
    let batches = query(skipping.batch_table().unwrap(), "SELECT * FROM t")
        .await
        .unwrap();
    assert_eq!(crate::helpers::rows(&batches), ["1|x", "3|z", "4|NULL"]);
    let failing = table("filesystem", &id_and_name(), &options[..2]).unwrap();
    let error = query(failing.batch_table().unwrap(), "SELECT * FROM t")
        .await
        .unwrap_err();
    let error = error.to_string();
    assert!(error.contains("line 3: a quote that opens"), "{error}");
}
