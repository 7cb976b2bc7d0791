//! Odd and hostile inputs: dealt with by `on_error` and counted, or refused by name; never a panic.

use std::fs;
use std::io::Write;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::physical_plan::collect;
use neptune_stream::source::StreamTable;
use neptune_stream::{Offset, OffsetRange, StreamError};

use crate::helpers::{
    context, id_and_name, ids, numbers, query, rows, scratch, table, take, write,
};

const HUGE: usize = 64 << 20;

/// Three records, the second 64 MiB long, and where it is.
fn huge(format: &str) -> (Vec<u8>, u64) {
    let long = "x".repeat(HUGE);
    let (text, line) = match format {
        "json" => {
            let record = format!("{{\"id\": 2, \"name\": \"{long}\"}}");
            (
                format!("{{\"id\": 1}}\n{record}\n{{\"id\": 3}}\nnonsense\n"),
                2,
            )
        }
        _ => (format!("id,name\n1,a\n2,{long}\n3,\nnonsense\n"), 3),
    };
    (text.into_bytes(), line)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

#[tokio::test]
async fn a_record_of_64_mib_is_one_malformed_record_unless_it_is_allowed() {
    for (format, packed) in [("json", false), ("json", true), ("csv", false)] {
        let (dir, path, place) = scratch();
        let (bytes, line) = huge(format);
        match packed {
            true => write(&path.join("a.gz"), gzip(&bytes)),
            false => write(&path.join("a"), bytes),
        }
        let letters = dir.path().join("letters");
        let options = [
            ("path", place.as_str()),
            ("format", format),
            ("on_error", "dead_letter"),
            ("dead_letter_path", letters.to_str().unwrap()),
        ];
        let declared = table("filesystem", &id_and_name(), &options).unwrap();
        let source = declared.open_source().unwrap();
        let (batches, _) = take(&source, source.initial_offset()).await.unwrap();
        assert_eq!(numbers(&batches), [1, 3], "{format}");
        assert_eq!(source.malformed_records(), 2, "{format}");
        let written = fs::read_to_string(&letters).unwrap();
        let letters: Vec<serde_json::Value> = written
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!((letters.len(), written.len() < 1 << 20), (2, true));
        assert_eq!(letters[0]["line"], line);
        assert_eq!(letters[1]["line"], line + 2);
        assert!(
            letters[0]["error"]
                .as_str()
                .unwrap()
                .contains("max_record_bytes")
        );

        let most = ("max_record_bytes", "100000000");
        let options = [options[0], options[1], most, ("on_error", "skip")];
        let declared = table("filesystem", &id_and_name(), &options).unwrap();
        let sql = "SELECT id, length(name) FROM t WHERE id = 2";
        let found = query(declared.batch_table().unwrap(), sql).await;
        assert_eq!(rows(&found.unwrap()), [format!("2|{HUGE}")], "{format}");
        let declared = table("filesystem", &id_and_name(), &options[..3]).unwrap();
        let sql = "SELECT id FROM t";
        let error = query(declared.batch_table().unwrap(), sql)
            .await
            .unwrap_err();
        assert!(
            matches!(&error, StreamError::Malformed { line: Some(at), .. } if *at == line + 2),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_fault_in_a_huge_record_is_told_in_few_words() {
    let (_dir, path, place) = scratch();
    let long = "9".repeat(8 << 20);
    write(&path.join("a"), format!("{{\"id\": \"{long}\"}}\n"));
    let options = [("path", place.as_str()), ("format", "json")];
    let declared = table("filesystem", &id_and_name(), &options).unwrap();
    let error = query(declared.batch_table().unwrap(), "SELECT id FROM t")
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("line 1, column 'id'") && text.len() < 1000,
        "{} bytes",
        text.len()
    );
}

#[tokio::test]
async fn a_line_without_end_is_passed_over_as_it_unpacks() {
    let (_dir, path, place) = scratch();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(b"{\"id\": 1}\n").unwrap();
    let blank = vec![b' '; 1 << 20];
    for _ in 0..256 {
        packed.write_all(&blank).unwrap();
    }
    packed.write_all(b"\n{\"id\": 2}\n").unwrap();
    write(&path.join("a.json.gz"), packed.finish().unwrap());
    let options = [
        ("path", place.as_str()),
        ("format", "json"),
        ("on_error", "skip"),
    ];
    let declared = table("filesystem", &id_and_name(), &options).unwrap();
    let source = declared.open_source().unwrap();
    let (batches, _) = take(&source, source.initial_offset()).await.unwrap();
    assert_eq!(
        (numbers(&batches), source.malformed_records()),
        (vec![1, 2], 1)
    );
}

#[tokio::test]
async fn a_column_that_is_there_twice_is_named() {
    let twice = [("id", DataType::Int64), ("id", DataType::Utf8)];
    let (_dir, path, place) = scratch();
    let csv = [("path", place.as_str()), ("format", "csv")];
    for (connector, options) in [
        ("filesystem", csv.as_slice()),
        ("memory", &[]),
        ("noop", &[]),
    ] {
        let error = table(connector, &twice, options).unwrap_err().to_string();
        assert!(error.contains("column 'id' is declared twice"), "{error}");
    }

    write(&path.join("a"), "id,name,id\n1,x,2\n");
    let declared = table("filesystem", &id_and_name(), &csv).unwrap();
    let found = query(declared.batch_table().unwrap(), "SELECT name FROM t")
        .await
        .unwrap();
    assert_eq!(rows(&found), ["x"], "nobody asked for the other");
    for error in [
        query(declared.batch_table().unwrap(), "SELECT * FROM t")
            .await
            .unwrap_err(),
        table("filesystem", &[], &csv).unwrap_err(),
    ] {
        assert!(
            matches!(&error, StreamError::Malformed { file, line: Some(1), column: Some(column), .. }
                if *file == path.join("a") && column == "id"),
            "{error}"
        );
    }

    // In JSON the last one counts, as with most readers.
    write(&path.join("a"), "{\"id\": 1, \"name\": \"x\", \"id\": 2}\n");
    let json = [("path", place.as_str()), ("format", "json")];
    for columns in [id_and_name(), vec![]] {
        let declared = table("filesystem", &columns, &json).unwrap();
        let found = query(declared.batch_table().unwrap(), "SELECT id, name FROM t").await;
        assert_eq!(rows(&found.unwrap()), ["2|x"]);
    }
}

#[tokio::test]
async fn a_time_without_zone_is_utc_and_nonsense_is_named() {
    let nanos =
        |zone: Option<&str>| DataType::Timestamp(TimeUnit::Nanosecond, zone.map(Into::into));
    for (format, head) in [("json", ""), ("csv", "id,plain,zoned\n")] {
        let record = |time: &str| match format {
            "json" => format!("{{\"id\": 1, \"plain\": \"{time}\", \"zoned\": \"{time}\"}}\n"),
            _ => format!("1,{time},{time}\n"),
        };
        let columns = [
            ("id", DataType::Int64),
            ("plain", nanos(None)),
            ("zoned", nanos(Some("+00:00"))),
        ];
        let (_dir, path, place) = scratch();
        let options = [("path", place.as_str()), ("format", format)];
        for (time, plain, zoned) in [
            (
                "2024-02-29T12:30:00",
                "2024-02-29T12:30:00",
                "2024-02-29T12:30:00Z",
            ),
            (
                "2024-02-29 12:30:00.25",
                "2024-02-29T12:30:00.250",
                "2024-02-29T12:30:00.250Z",
            ),
            (
                "2024-02-29T12:30:00Z",
                "2024-02-29T12:30:00",
                "2024-02-29T12:30:00Z",
            ),
            (
                "2024-02-29T12:30:00+02:00",
                "2024-02-29T10:30:00",
                "2024-02-29T10:30:00Z",
            ),
        ] {
            write(&path.join("a"), format!("{head}{}", record(time)));
            let declared = table("filesystem", &columns, &options).unwrap();
            let found = query(
                declared.batch_table().unwrap(),
                "SELECT plain, zoned FROM t",
            )
            .await;
            assert_eq!(
                rows(&found.unwrap()),
                [format!("{plain}|{zoned}")],
                "{format} {time}"
            );
        }
        for time in [
            "yesterday",
            "2024-02-30T00:00:00",
            "2024-02-29T25:00:00",
            "9999-01-01T00:00:00",
        ] {
            write(&path.join("a"), format!("{head}{}", record(time)));
            let declared = table("filesystem", &columns, &options).unwrap();
            let provider = declared.batch_table().unwrap();
            let error = query(provider, "SELECT plain FROM t").await.unwrap_err();
            assert!(
                matches!(&error, StreamError::Malformed { column: Some(column), .. } if column == "plain"),
                "{format} {time}: {error}"
            );
        }
    }
}

#[tokio::test]
async fn empty_files_are_files_without_records() {
    for (format, name) in [
        ("json", "a.json"),
        ("csv", "a.csv"),
        ("json", "a.json.gz"),
        ("csv", "a.csv.zst"),
    ] {
        let (_dir, path, place) = scratch();
        write(&path.join(name), "");
        let options = [("path", place.as_str()), ("format", format)];
        let declared = table("filesystem", &id_and_name(), &options).unwrap();
        let source = declared.open_source().unwrap();
        let (batches, at) = take(&source, source.initial_offset()).await.unwrap();
        assert_eq!(
            (numbers(&batches), at),
            (vec![], Offset::Files(1)),
            "{name}"
        );
        assert_eq!(source.malformed_records(), 0);

        // It says nothing of the columns, but the next one does.
        let undeclared = table("filesystem", &[], &options).unwrap();
        let error = undeclared.open_source().unwrap_err();
        assert!(matches!(error, StreamError::Schema { .. }), "{error}");
        let more = match format {
            "json" => "{\"id\": 1, \"name\": \"x\"}\n",
            _ => "id,name\n1,x\n",
        };
        write(&path.join("z"), more);
        let provider = undeclared.batch_table().unwrap();
        let found = query(provider, "SELECT id, name FROM t").await.unwrap();
        assert_eq!(rows(&found), ["1|x"], "{name}");
    }
    for format in ["parquet", "avro"] {
        let (_dir, path, place) = scratch();
        write(&path.join("a"), "");
        let options = [("path", place.as_str()), ("format", format)];
        let declared = table("filesystem", &id_and_name(), &options).unwrap();
        let provider = declared.batch_table().unwrap();
        let found = query(provider, "SELECT * FROM t").await.unwrap();
        assert_eq!(numbers(&found), [0; 0], "{format}");
    }
}

#[tokio::test]
async fn a_file_that_has_gone_follows_the_policy() {
    for format in ["json", "csv"] {
        for policy in ["fail", "skip", "dead_letter"] {
            let (dir, path, place) = scratch();
            for id in 1..=3 {
                let text = match format {
                    "json" => format!("{{\"id\": {id}}}\n"),
                    _ => format!("id,name\n{id},\n"),
                };
                write(&path.join(id.to_string()), text);
            }
            let letters = dir.path().join("letters");
            let mut options = vec![
                ("path", place.as_str()),
                ("format", format),
                ("on_error", policy),
            ];
            if policy == "dead_letter" {
                options.push(("dead_letter_path", letters.to_str().unwrap()));
            }
            let declared = table("filesystem", &id_and_name(), &options).unwrap();
            let source = declared.open_source().unwrap();
            let latest = source.latest_offset().await.unwrap();
            let stream = Arc::new(StreamTable::new(Arc::clone(&source), None));
            stream.set_range(OffsetRange::new(source.initial_offset(), latest));
            fs::remove_file(path.join("2")).unwrap();
            for _ in 0..2 {
                let found = query(stream.provider(), "SELECT * FROM t").await;
                if policy == "fail" {
                    let error = found.unwrap_err();
                    assert!(
                        matches!(&error, StreamError::Io { path: at, .. } if *at == path.join("2")),
                        "{error}"
                    );
                } else {
                    assert_eq!(numbers(&found.unwrap()), [1, 3]);
                }
            }
            let counted = if policy == "fail" { 0 } else { 2 };
            assert_eq!(source.malformed_records(), counted, "{policy}");
            if policy == "dead_letter" {
                let written = fs::read_to_string(&letters).unwrap();
                let letter: serde_json::Value = serde_json::from_str(written.trim_end()).unwrap();
                assert_eq!(letter["file"], path.join("2").to_str().unwrap());
                assert!(letter.get("line").is_none() && letter.get("record").is_none());
            }
        }
    }
}

#[tokio::test]
async fn a_parquet_or_avro_file_that_has_gone_is_named() {
    for format in ["parquet", "avro"] {
        let (_dir, path, place) = scratch();
        let options = [("path", place.as_str()), ("format", format)];
        let declared = table("filesystem", &id_and_name(), &options).unwrap();
        let sink = declared
            .open_sink(&neptune_stream::sink::Console::new(std::io::sink()))
            .unwrap();
        for number in 0..2 {
            let rows = crate::helpers::stream_of(vec![ids(0..10)], None);
            let epoch = crate::helpers::epoch(number);
            let mode = neptune_stream::sink::WriteMode::Append;
            sink.write(&epoch, mode, rows).await.unwrap();
        }
        let gone = path.join(format!("part-j-1-000000001-0000.{format}"));
        let source = declared.open_source().unwrap();
        let latest = source.latest_offset().await.unwrap();
        let stream = Arc::new(StreamTable::new(source, None));
        stream.set_range(OffsetRange::new(Offset::Files(0), latest));
        let context = context();
        context.register_table("t", stream.provider()).unwrap();
        // Between planning and running.
        let plan = context.sql("SELECT * FROM t").await.unwrap();
        let plan = plan.create_physical_plan().await.unwrap();
        fs::remove_file(&gone).unwrap();
        let error = collect(plan, context.task_ctx())
            .await
            .unwrap_err()
            .to_string();
        let name = gone.file_name().unwrap().to_str().unwrap();
        assert!(error.contains(name), "{error}");
        // Before planning.
        let error = query(stream.provider(), "SELECT * FROM t")
            .await
            .unwrap_err();
        assert!(
            matches!(&error, StreamError::Io { path: at, .. } if *at == gone),
            "{error}"
        );
    }
}
