//! Files as sources and as plain tables.

use std::fs;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use neptune_stream::sink::WriteMode;
use neptune_stream::source::StreamTable;
use neptune_stream::{Limits, Offset, OffsetRange, StreamError};

use crate::helpers::{
    context, epoch, id_and_name, ids, numbers, query, rows, scratch, stream_of, table, take, write,
};

fn record(id: i64) -> String {
    format!("{{\"id\": {id}, \"name\": \"n{id}\"}}\n")
}

#[tokio::test]
async fn each_trigger_reads_the_files_that_are_new() {
    let (_dir, path, place) = scratch();
    let options = [("path", place.as_str()), ("format", "json")];
    let table = table("filesystem", &id_and_name(), &options).unwrap();
    let (one, two) = (table.open_source().unwrap(), table.open_source().unwrap());
    assert!(!one.is_bounded());

    let (batches, at) = take(&one, one.initial_offset()).await.unwrap();
    assert_eq!((numbers(&batches), at), (vec![], Offset::Files(0)));

    write(&path.join("a.json"), record(1));
    write(&path.join("sub/b.json"), record(2));
    for unfinished in [".c.json", "_c.json", "c.json.tmp", "_sub/d.json"] {
        write(&path.join(unfinished), "not for reading\n");
    }
    let (batches, at) = take(&one, at).await.unwrap();
    assert_eq!((numbers(&batches), at), (vec![1, 2], Offset::Files(2)));
    let (batches, at) = take(&one, at).await.unwrap();
    assert_eq!((numbers(&batches), at), (vec![], Offset::Files(2)));

    // A writer finishes a file: it counts from now on, and what was read before is not read again.
    fs::write(path.join(".c.json"), record(3)).unwrap();
    fs::rename(path.join(".c.json"), path.join("c.json")).unwrap();
    fs::write(path.join("a.json"), record(9)).unwrap();
    let (batches, at) = take(&one, at).await.unwrap();
    assert_eq!((numbers(&batches), at), (vec![3], Offset::Files(3)));

    // The other job has a position of its own.
    let (batches, _) = take(&two, two.initial_offset()).await.unwrap();
    assert_eq!(numbers(&batches), [2, 3, 9]);
    assert_eq!(one.final_offset(), None);
}

#[tokio::test]
async fn a_file_is_read_as_long_as_it_was_when_it_was_found() {
    let (_dir, path, place) = scratch();
    write(&path.join("a"), record(1));
    let options = [("path", place.as_str()), ("format", "json")];
    let table = table("filesystem", &id_and_name(), &options).unwrap();
    let source = table.open_source().unwrap();
    assert_eq!(source.latest_offset().await.unwrap(), Offset::Files(1));
    write(&path.join("a"), format!("{}{}", record(1), record(2)));
    let (batches, _) = take(&source, Offset::Files(0)).await.unwrap();
    assert_eq!(numbers(&batches), [1]);

    write(&path.join("a"), "{");
    let error = take(&source, Offset::Files(0))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("shorter") && error.contains(&place),
        "{error}"
    );
    fs::remove_file(path.join("a")).unwrap();
    let error = take(&source, Offset::Files(0)).await.unwrap_err();
    assert!(matches!(&error, StreamError::Io { path: at, .. } if *at == path.join("a")));
}

#[tokio::test]
async fn a_bounded_source_ends_with_what_is_there() {
    let (_dir, path, place) = scratch();
    write(&path.join("a"), record(1));
    let options = [
        ("path", place.as_str()),
        ("format", "json"),
        ("bounded", "true"),
    ];
    let table = table("filesystem", &id_and_name(), &options).unwrap();
    assert!(table.capabilities().bounded);
    let source = table.open_source().unwrap();
    assert!(source.is_bounded() && source.final_offset().is_none());
    let (batches, at) = take(&source, source.initial_offset()).await.unwrap();
    assert_eq!(numbers(&batches), [1]);
    write(&path.join("b"), record(2));
    assert_eq!(source.latest_offset().await.unwrap(), at);
    assert_eq!(source.final_offset(), Some(at));
}

#[tokio::test]
async fn caps_split_the_files_into_triggers_and_any_range_can_be_planned_again() {
    let (_dir, path, place) = scratch();
    for id in 0..7 {
        write(&path.join(format!("{id}.json")), record(id));
    }
    let options = [("path", place.as_str()), ("format", "json")];
    let table = table("filesystem", &id_and_name(), &options).unwrap();
    let source = table.open_source().unwrap();
    let latest = source.latest_offset().await.unwrap();
    let limits = Limits {
        max_files: Some(3),
        max_rows: None,
    };
    let stream = Arc::new(StreamTable::new(Arc::clone(&source), None));
    let (mut start, mut read, mut triggers) = (source.initial_offset(), vec![], 0);
    while start != latest {
        let end = source.limit_end(&start, &latest, &limits);
        let mut twice = Vec::new();
        for _ in 0..2 {
            stream.set_range(OffsetRange::new(start, end));
            let batches = query(stream.provider(), "SELECT * FROM t").await.unwrap();
            twice.push(numbers(&batches));
        }
        assert_eq!(twice[0], twice[1]);
        read.extend(twice.pop().unwrap());
        (start, triggers) = (end, triggers + 1);
        source.commit(&start).await.unwrap();
    }
    read.sort_unstable();
    assert_eq!((read, triggers), ((0..7).collect(), 3));

    let beyond = OffsetRange::new(Offset::Files(0), Offset::Files(8));
    stream.set_range(beyond);
    let error = query(stream.provider(), "SELECT * FROM t")
        .await
        .unwrap_err();
    assert!(matches!(error, StreamError::Offset { .. }), "{error}");
}

#[tokio::test]
async fn a_missing_place_is_named() {
    let (dir, _, _) = scratch();
    let nowhere = dir.path().join("nowhere.json");
    let nowhere = nowhere.to_str().unwrap();
    for connector in ["filesystem", "single_file"] {
        let options = [("path", nowhere), ("format", "json")];
        // Declaring is fine: a job may create it. Reading is not.
        let table = table(connector, &id_and_name(), &options).unwrap();
        for error in [
            table.open_source().map(|_| ()).unwrap_err(),
            table.batch_table().map(|_| ()).unwrap_err(),
        ] {
            assert!(error.to_string().contains(nowhere), "{error}");
        }
    }
}

#[tokio::test]
async fn columns_come_from_the_first_file_when_the_list_is_left_out() {
    let (_dir, path, place) = scratch();
    let options = |format| [("path", place.as_str()), ("format", format)];
    let empty = table("filesystem", &[], &options("json")).unwrap();
    assert!(empty.schema().is_none());
    let error = empty.open_source().map(|_| ()).unwrap_err();
    assert!(matches!(error, StreamError::Schema { .. }), "{error}");

    write(
        &path.join("a"),
        "{\"id\": 1, \"name\": \"x\"}\n{\"id\": 2.5}\n",
    );
    let json = table("filesystem", &[], &options("json")).unwrap();
    let schema = json.schema().unwrap();
    assert_eq!(schema.field(0).data_type(), &DataType::Float64);
    assert_eq!(schema.field(1).data_type(), &DataType::Utf8);
    let batches = query(json.batch_table().unwrap(), "SELECT id, name FROM t")
        .await
        .unwrap();
    assert_eq!(rows(&batches), ["1.0|x", "2.5|NULL"]);

    write(&path.join("a"), "id,ok\n1,true\n2,false\n");
    let csv = table("filesystem", &[], &options("csv")).unwrap();
    let batches = query(csv.batch_table().unwrap(), "SELECT * FROM t WHERE ok")
        .await
        .unwrap();
    assert_eq!(rows(&batches), ["1|true"]);

    for (format, text, line) in [("json", "{}\n{\"a\": }\n", 2), ("csv", "a,b\n1,2\n3\n", 3)] {
        write(&path.join("a"), text);
        let error = table("filesystem", &[], &options(format)).unwrap_err();
        assert!(
            matches!(&error, StreamError::Malformed { line: Some(at), .. } if *at == line),
            "{error}"
        );
    }
}

#[tokio::test]
async fn parquet_streams_by_file_and_prunes_as_a_table() {
    // A name with every character that means something in a URL or a pattern.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("odd [x]* 100%?#");
    let place = path.to_str().unwrap().to_owned();
    let options = [("path", place.as_str()), ("format", "parquet")];
    let declared = table("filesystem", &id_and_name(), &options).unwrap();
    let console = neptune_stream::sink::Console::new(std::io::sink());
    let sink = declared.open_sink(&console).unwrap();
    for n in 0..3 {
        let batches = vec![ids(n * 1000..n * 1000 + 1000)];
        sink.write(
            &epoch(n as u64),
            WriteMode::Append,
            stream_of(batches, None),
        )
        .await
        .unwrap();
    }
    let inferred = table("filesystem", &[], &options).unwrap();
    assert_eq!(inferred.schema().unwrap().fields().len(), 2);

    let provider = inferred.batch_table().unwrap();
    let found = query(provider.clone(), "SELECT id FROM t WHERE id >= 2500")
        .await
        .unwrap();
    assert_eq!(numbers(&found), (2500..3000).collect::<Vec<_>>());
    let context = context();
    context.register_table("t", provider).unwrap();
    let plan = context.sql("SELECT count(*) FROM t").await.unwrap();
    let plan = plan.create_physical_plan().await.unwrap();
    let plan = datafusion::physical_plan::displayable(plan.as_ref())
        .indent(true)
        .to_string();
    assert!(
        plan.contains("PlaceholderRowExec"),
        "counted from the footers: {plan}"
    );

    let source = inferred.open_source().unwrap();
    let (batches, at) = take(&source, Offset::Files(1)).await.unwrap();
    assert_eq!(
        (batches.iter().map(|b| b.num_rows()).sum::<usize>(), at),
        (2000, Offset::Files(3))
    );

    write(&path.join("broken.parquet"), "not Parquet");
    let error = query(inferred.batch_table().unwrap(), "SELECT * FROM t")
        .await
        .unwrap_err();
    assert!(
        matches!(&error, StreamError::Malformed { file, .. } if file.ends_with("broken.parquet")),
        "{error}"
    );
}
