//! Files packed with gzip and zstd: the same rows, the same lines, and no rows at all from a damaged one.

use std::fs;
use std::io::Write;

use neptune_stream::StreamError;

use crate::helpers::{id_and_name, numbers, query, rows, scratch, table, take, write};

const PACKERS: [(&str, &str); 2] = [("gzip", "gz"), ("zstd", "zst")];

fn pack(how: &str, text: &[u8]) -> Vec<u8> {
    match how {
        "gzip" => {
            let level = flate2::Compression::default();
            let mut out = flate2::write::GzEncoder::new(Vec::new(), level);
            out.write_all(text).unwrap();
            out.finish().unwrap()
        }
        _ => {
            let mut out = zstd::Encoder::new(Vec::new(), 1).unwrap();
            out.include_checksum(true).unwrap();
            out.write_all(text).unwrap();
            out.finish().unwrap()
        }
    }
}

/// Rows 0 to `count` as a file of `format`, line `id + 1` or, below a header, `id + 2`.
fn text(format: &str, count: i64) -> String {
    let mut text = String::from(if format == "csv" { "id,name\n" } else { "" });
    for id in 0..count {
        text += &match format {
            "csv" => format!("{id},n{id}\n"),
            _ => format!("{{\"id\": {id}, \"name\": \"n{id}\"}}\n"),
        };
    }
    text
}

#[tokio::test]
async fn rows_and_columns_are_those_of_the_unpacked_file() {
    for (how, ending) in PACKERS {
        for format in ["json", "csv"] {
            let (_dir, path, place) = scratch();
            // Larger than a block, in two members that do not end with a record.
            let all = text(format, 60_000);
            let (one, two) = all.split_at(all.len() / 2 + 1);
            let packed = [pack(how, one.as_bytes()), pack(how, two.as_bytes())].concat();
            write(&path.join(format!("a.{format}.{ending}")), &packed);
            let by_ending = [("path", place.as_str()), ("format", format)];
            let declared = table("filesystem", &[], &by_ending).unwrap();
            assert_eq!(declared.schema().unwrap().fields().len(), 2);
            let source = declared.open_source().unwrap();
            let (batches, _) = take(&source, source.initial_offset()).await.unwrap();
            let what = format!("{format} {how}");
            assert_eq!(numbers(&batches), (0..60_000).collect::<Vec<_>>(), "{what}");

            // The option speaks for files whose name says nothing, and against the ending.
            fs::rename(path.join(format!("a.{format}.{ending}")), path.join("a")).unwrap();
            let named = [by_ending[0], by_ending[1], ("compression", how)];
            let declared = table("filesystem", &id_and_name(), &named).unwrap();
            let sql = "SELECT count(*), max(id) FROM t";
            let found = query(declared.batch_table().unwrap(), sql).await.unwrap();
            assert_eq!(rows(&found), ["60000|59999"], "{what}");
            fs::remove_file(path.join("a")).unwrap();
            write(&path.join("plain.gz"), text(format, 3));
            let plain = [by_ending[0], by_ending[1], ("compression", "none")];
            let declared = table("filesystem", &id_and_name(), &plain).unwrap();
            let found = query(declared.batch_table().unwrap(), sql).await.unwrap();
            assert_eq!(rows(&found), ["3|2"], "{what}");

            let file = path.join(format!("one.{format}.{ending}"));
            write(&file, &packed);
            let single = [("path", file.to_str().unwrap())];
            let declared = table("single_file", &id_and_name(), &single).unwrap();
            let found = query(declared.batch_table().unwrap(), sql).await.unwrap();
            assert_eq!(rows(&found), ["60000|59999"], "{what}");
        }
    }
}

#[tokio::test]
async fn a_malformed_record_is_named_with_its_line_and_can_be_skipped() {
    for (how, ending) in PACKERS {
        for (format, line) in [("json", 50_001), ("csv", 50_002)] {
            let (_dir, path, place) = scratch();
            let all = text(format, 50_000) + "nonsense\n";
            let file = path.join(format!("a.{format}.{ending}"));
            write(&file, pack(how, all.as_bytes()));
            let options = [("path", place.as_str()), ("format", format)];
            let failing = table("filesystem", &id_and_name(), &options).unwrap();
            let provider = failing.batch_table().unwrap();
            let error = query(provider, "SELECT * FROM t").await.unwrap_err();
            assert!(
                matches!(&error, StreamError::Malformed { file: at, line: Some(n), .. }
                    if *at == file && *n == line),
                "{error}"
            );
            let options = [options[0], options[1], ("on_error", "skip")];
            let skipping = table("filesystem", &id_and_name(), &options).unwrap();
            let source = skipping.open_source().unwrap();
            let (batches, _) = take(&source, source.initial_offset()).await.unwrap();
            assert_eq!(numbers(&batches).len(), 50_000);
            assert_eq!(source.malformed_records(), 1);
        }
    }
}

#[tokio::test]
async fn a_damaged_file_is_an_error_whatever_the_policy() {
    for (how, ending) in PACKERS {
        let (dir, path, place) = scratch();
        let whole = pack(how, text("json", 500).as_bytes());
        let name = format!("a.json.{ending}");
        let letters = dir.path().join("letters");
        let mut damaged: Vec<Vec<u8>> = (1..whole.len())
            .step_by(97)
            .chain([whole.len() - 1])
            .map(|cut| whole[..cut].to_vec())
            .collect();
        let cuts = damaged.len();
        for at in (0..whole.len()).step_by(61) {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            damaged.push(flipped);
        }
        damaged.push([whole.as_slice(), b"more, but not packed"].concat());
        for (number, bytes) in damaged.iter().enumerate() {
            write(&path.join(&name), bytes);
            let policy = ["fail", "skip", "dead_letter"][number % 3];
            let mut options = vec![
                ("path", place.as_str()),
                ("format", "json"),
                ("on_error", policy),
            ];
            if policy == "dead_letter" {
                options.push(("dead_letter_path", letters.to_str().unwrap()));
            }
            let declared = table("filesystem", &id_and_name(), &options).unwrap();
            let provider = declared.batch_table().unwrap();
            match query(provider, "SELECT id FROM t").await {
                // Not every bit of a header means something.
                Ok(batches) => {
                    assert!(number >= cuts, "{how} {number}: cut, and no error");
                    assert_eq!(numbers(&batches), (0..500).collect::<Vec<_>>());
                }
                Err(StreamError::Corrupt { file, .. }) => assert_eq!(file, path.join(&name)),
                Err(error) => panic!("{how} {number}: {error}"),
            }
        }
        assert!(!letters.exists());
        let options = [("path", place.as_str()), ("format", "json")];
        write(&path.join(&name), &whole[..5]);
        let error = table("filesystem", &[], &options).unwrap_err();
        assert!(matches!(error, StreamError::Corrupt { .. }), "{error}");
    }
}

#[tokio::test]
async fn the_files_of_a_directory_are_named_for_their_packing() {
    use neptune_stream::sink::{Console, WriteMode};

    let (_dir, path, place) = scratch();
    for (number, (packing, name)) in (0..).zip([
        ("gzip", "part-j-1-000000000-0000.json.gz"),
        ("zstd", "part-j-1-000000001-0000.json.zst"),
        ("auto", "part-j-1-000000002-0000.json"),
    ]) {
        let options = [
            ("path", place.as_str()),
            ("format", "json"),
            ("compression", packing),
        ];
        let declared = table("filesystem", &id_and_name(), &options).unwrap();
        let sink = declared.open_sink(&Console::new(std::io::sink())).unwrap();
        let batches = vec![crate::helpers::ids(0..5)];
        let rows = crate::helpers::stream_of(batches, None);
        let epoch = crate::helpers::epoch(number);
        sink.write(&epoch, WriteMode::Append, rows).await.unwrap();
        assert!(
            path.join(name).exists(),
            "{:?}",
            crate::helpers::names(&path, true)
        );
    }
    // A reader that goes by the ending reads all of them.
    let options = [("path", place.as_str()), ("format", "json")];
    let declared = table("filesystem", &[], &options).unwrap();
    let provider = declared.batch_table().unwrap();
    let found = query(provider, "SELECT count(*), sum(id) FROM t")
        .await
        .unwrap();
    assert_eq!(rows(&found), ["15|30"]);
}
