//! Files at URLs: `s3://` against a server that runs here, `file://`, and what is refused when a table is declared.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::datatypes::DataType;
use neptune_stream::StreamError;
use neptune_stream::connector::ConnectorTable;
use neptune_stream::sink::WriteMode::{Append, Overwrite};
use neptune_stream::sink::{Console, Sink, WriteMode};
use neptune_stream::source::StreamTable;
use neptune_stream::{Offset, OffsetRange};

use crate::helpers::{
    epoch, id_and_name, ids, ids_schema, names, numbers, query, rows, scratch, stream_of, table,
    take, write,
};
use crate::s3_server::Server;

fn declare(
    server: &Server,
    connector: &str,
    columns: &[(&str, DataType)],
    path: &str,
    more: &[(&str, &str)],
) -> Result<ConnectorTable, StreamError> {
    let mut options = vec![
        ("path", path),
        ("aws_access_key_id", "me"),
        ("aws_secret_access_key", "secret"),
        ("endpoint", server.endpoint.as_str()),
        ("allow_http", "true"),
        ("retry_timeout_s", "2"),
    ];
    if connector == "filesystem" {
        options.push(("list_interval_ms", "0"));
    }
    options.extend(more);
    table(connector, columns, &options)
}

fn record(id: i64) -> String {
    format!("{{\"id\": {id}, \"name\": \"n{id}\"}}\n")
}

fn gzip(text: &str) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(text.as_bytes()).unwrap();
    out.finish().unwrap()
}

fn sink(table: &ConnectorTable) -> Arc<dyn Sink> {
    table.open_sink(&Console::new(std::io::sink())).unwrap()
}

async fn put(
    sink: &Arc<dyn Sink>,
    micro_batch: u64,
    mode: WriteMode,
    range: std::ops::Range<i64>,
) -> Result<u64, StreamError> {
    let rows = stream_of(vec![ids(range)], None);
    sink.write(&epoch(micro_batch), mode, rows).await
}

async fn content(table: &ConnectorTable) -> Vec<i64> {
    let provider = table.batch_table().unwrap();
    numbers(&query(provider, "SELECT id FROM t").await.unwrap())
}

#[tokio::test]
async fn each_trigger_reads_the_objects_that_are_new() {
    let server = Server::start();
    server.store.lock().page = 2;
    let put = |key: &str, text: &str| server.store.lock().put(key, text);
    let declared = declare(
        &server,
        "filesystem",
        &id_and_name(),
        "s3://bucket/in/put/",
        &[("format", "json")],
    )
    .unwrap();
    let source = declared.open_source().unwrap();
    let (batches, at) = take(&source, source.initial_offset()).await.unwrap();
    assert_eq!((numbers(&batches), at), (vec![], Offset::Files(0)));

    put("in/put/b.json", &record(1));
    put("in/put/a & b <%20>.json", &record(2));
    put("in/put/sub/c.json", &record(3));
    for other in [
        "in/put/.d",
        "in/put/_e/f",
        "in/put/g.tmp",
        "in/putty/h",
        "other",
    ] {
        put(other, "not for reading\n");
    }
    put("in/put/empty", "");
    let (batches, at) = take(&source, at).await.unwrap();
    assert_eq!((numbers(&batches), at), (vec![1, 2, 3], Offset::Files(3)));
    // An object that is replaced is not read again; packed ones are unpacked.
    put("in/put/b.json", &record(9));
    server
        .store
        .lock()
        .put("in/put/z.json.gz", gzip(&record(4)));
    let (batches, at) = take(&source, at).await.unwrap();
    assert_eq!((numbers(&batches), at), (vec![4], Offset::Files(4)));
    assert_eq!(content(&declared).await, [2, 3, 4, 9]);

    put("in/put/k", "{\"id\": 5}\nnonsense\n");
    let error = take(&source, at).await.unwrap_err().to_string();
    assert!(
        error.contains("malformed record in 's3://bucket/in/put/k', line 2"),
        "{error}"
    );
}

#[tokio::test]
async fn objects_are_listed_no_more_often_than_asked_for() {
    let server = Server::start();
    let declared = table(
        "filesystem",
        &id_and_name(),
        &[
            ("path", "s3://bucket/in"),
            ("format", "json"),
            ("aws_access_key_id", "me"),
            ("aws_secret_access_key", "secret"),
            ("aws_endpoint", &server.endpoint),
            ("allow_http", "true"),
            ("list_interval_ms", "1000000"),
        ],
    )
    .unwrap();
    let source = declared.open_source().unwrap();
    server.store.lock().requests.clear();
    for _ in 0..10 {
        source.latest_offset().await.unwrap();
    }
    assert_eq!(server.store.lock().requests("list-type").len(), 1);
}

#[tokio::test]
async fn an_object_that_has_gone_or_was_replaced_is_noticed() {
    let server = Server::start();
    for policy in ["fail", "skip"] {
        for id in 1..=3 {
            server.store.lock().put(&format!("in/{id}"), record(id));
        }
        let options = [("format", "json"), ("on_error", policy)];
        let path = "s3://bucket/in";
        let declared = declare(&server, "filesystem", &id_and_name(), path, &options).unwrap();
        let source = declared.open_source().unwrap();
        let latest = source.latest_offset().await.unwrap();
        let stream = Arc::new(StreamTable::new(Arc::clone(&source), None));
        stream.set_range(OffsetRange::new(Offset::Files(0), latest));
        server.store.lock().objects.remove("in/2");
        let found = query(stream.provider(), "SELECT * FROM t").await;
        match policy {
            "fail" => {
                let error = found.unwrap_err().to_string();
                assert!(error.contains("cannot read 's3://bucket/in/2'"), "{error}");
            }
            _ => {
                assert_eq!(numbers(&found.unwrap()), [1, 3]);
                assert_eq!(source.malformed_records(), 1);
            }
        }
        server.store.lock().put("in/2", record(22_222));
        let error = query(stream.provider(), "SELECT * FROM t")
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("it has been replaced"),
            "{error}"
        );
    }

    // Larger than what is read at a time, and replaced by another of the same size in between.
    let line = format!("{{\"id\": 1, \"name\": \"{}\"}}\n", "x".repeat(1 << 20));
    server.store.lock().put("large/a", line.repeat(10));
    let options = [("format", "json")];
    let path = "s3://bucket/large";
    let declared = declare(&server, "filesystem", &id_and_name(), path, &options).unwrap();
    assert_eq!(content(&declared).await, [1; 10]);
    server.store.lock().requests.clear();
    let provider = declared.batch_table().unwrap();
    let context = crate::helpers::context();
    context.register_table("t", provider).unwrap();
    let mut stream = context
        .sql("SELECT id FROM t")
        .await
        .unwrap()
        .execute_stream()
        .await
        .unwrap();
    let first = futures::StreamExt::next(&mut stream)
        .await
        .unwrap()
        .unwrap();
    assert!(first.num_rows() < 5, "the rest has not been asked for");
    server
        .store
        .lock()
        .put("large/a", line.replace('1', "2").repeat(10));
    let rest: Vec<_> = futures::StreamExt::collect(stream).await;
    let error = rest.into_iter().find_map(Result::err).unwrap().to_string();
    assert!(error.contains("it has been replaced"), "{error}");
}

#[tokio::test]
async fn every_format_is_written_and_read_and_a_write_that_is_run_again_replaces_itself() {
    for format in ["json", "csv", "parquet", "avro", "json+gzip", "csv+zstd"] {
        let server = Server::start();
        let (format, packed) = format.split_once('+').unwrap_or((format, ""));
        let mut options = vec![("format", format)];
        if !packed.is_empty() {
            options.push(("compression", packed));
        }
        let path = "s3://bucket/out";
        let declared = declare(&server, "filesystem", &id_and_name(), path, &options).unwrap();
        let writer = sink(&declared);
        assert_eq!(put(&writer, 0, Append, 0..10).await.unwrap(), 10);
        assert_eq!(put(&writer, 1, Append, 10..20).await.unwrap(), 10);
        assert_eq!(content(&declared).await, (0..20).collect::<Vec<_>>());
        for end in [12, 10, 5_000] {
            // By the same sink, and by another as after a restart.
            put(&writer, 1, Append, 10..end).await.unwrap();
            put(&sink(&declared), 1, Append, 10..end).await.unwrap();
            assert_eq!(
                content(&declared).await,
                (0..end).collect::<Vec<_>>(),
                "{format}"
            );
        }
        let keys = server.store.lock().keys();
        let name = format!("out/part-j-1-000000000-0000.{format}");
        assert!(keys[0].starts_with(&name), "{keys:?}");

        // The columns are those of the first object.
        let inferred = declare(&server, "filesystem", &[], path, &options).unwrap();
        assert_eq!(inferred.schema().unwrap().fields().len(), 2, "{format}");
        let sql = "SELECT count(*) FROM t WHERE name = 'n7'";
        let found = query(inferred.batch_table().unwrap(), sql).await.unwrap();
        assert_eq!(rows(&found), ["1"]);

        server.store.lock().put("out/other", "somebody else's");
        for end in [33, 31, 30] {
            put(&writer, 2, Overwrite, 30..end).await.unwrap();
            assert_eq!(
                content(&declared).await,
                (30..end).collect::<Vec<_>>(),
                "{format}"
            );
        }
        assert!(server.store.lock().keys().is_empty());
    }
}

#[tokio::test]
async fn partitions_become_objects_and_those_of_an_earlier_attempt_go() {
    let server = Server::start();
    let options = [("format", "json")];
    let declare = || {
        declare(
            &server,
            "filesystem",
            &id_and_name(),
            "s3://bucket/out",
            &options,
        )
    };
    let table = declare().unwrap();
    let foreign = [
        "out/part-j-1-000000000-00001.json",
        "out/part-j-1-0000000001-0000.json",
        "out/part-j-2-000000000-0000.json",
        "out/part-jj-1-000000000-0000.json",
    ];
    for key in &foreign[1..] {
        server.store.lock().put(key, "");
    }
    for (writer, partitions) in [(sink(&table), 4), (sink(&table), 2)] {
        let transaction = writer.begin(&epoch(0), Append, ids_schema()).await.unwrap();
        let each = (0..partitions).map(|p| {
            // One of them has no rows.
            let range = if p == 1 { 0..0 } else { p * 10..p * 10 + 10 };
            transaction.stage(p as usize, stream_of(vec![ids(range)], None))
        });
        futures::future::try_join_all(each).await.unwrap();
        let before = content(&table).await;
        if partitions == 4 {
            assert_eq!(before, [0; 0], "nothing is seen before the commit");
        }
        transaction.commit().await.unwrap();
        let expected: Vec<i64> = (0..partitions * 10).filter(|id| id / 10 != 1).collect();
        assert_eq!(content(&table).await, expected);
    }
    for key in &foreign[1..] {
        assert!(server.store.lock().objects.contains_key(*key), "{key}");
    }
    // One write after the other needs no look at what there is.
    let writer = sink(&table);
    put(&writer, 1, Append, 0..1).await.unwrap();
    server.store.lock().requests.clear();
    for number in 2..5 {
        put(&writer, number, Append, 0..1).await.unwrap();
    }
    assert_eq!(server.store.lock().requests("list-type"), [""; 0]);
}

#[tokio::test]
async fn much_goes_up_in_parts_and_nothing_is_left_of_what_fails() {
    let server = Server::start();
    let options = [("format", "json")];
    let path = "s3://bucket/out";
    let declared = declare(&server, "filesystem", &id_and_name(), path, &options).unwrap();
    let writer = sink(&declared);
    const ROWS: i64 = 700_000;
    put(&writer, 0, Append, 0..ROWS).await.unwrap();
    let parts = server.store.lock().requests("partNumber");
    assert!(parts.len() >= 2, "{parts:?}");
    let provider = declared.batch_table().unwrap();
    let sql = "SELECT count(*), count(DISTINCT id), max(id) FROM t";
    let found = query(provider, sql).await.unwrap();
    assert_eq!(rows(&found), [format!("{ROWS}|{ROWS}|{}", ROWS - 1)]);

    let keys = server.store.lock().keys();
    let broken = stream_of(vec![ids(0..ROWS)], Some("the query broke"));
    let error = writer.write(&epoch(1), Append, broken).await.unwrap_err();
    assert!(error.to_string().contains("the query broke"), "{error}");
    for refuse in ["PUT /bucket/out/part-j-1-000000001-0000", "uploads="] {
        server.store.lock().refuse = Some(refuse.to_owned());
        let error = put(&writer, 1, Append, 0..ROWS).await.unwrap_err();
        assert!(matches!(&error, StreamError::Io { .. }), "{error}");
        let named = "s3://bucket/out/part-j-1-000000001-0000.json";
        assert!(error.to_string().contains(named), "{error}");
    }
    // Small ones are sent with the commit; the one that went through is taken back.
    server.store.lock().refuse = Some("PUT /bucket/out/part-j-1-000000001-0001".to_owned());
    let transaction = writer.begin(&epoch(1), Append, ids_schema()).await.unwrap();
    for partition in 0..2 {
        let rows = stream_of(vec![ids(0..10)], None);
        transaction.stage(partition, rows).await.unwrap();
    }
    transaction.commit().await.unwrap_err();
    let given_up = async {
        while !server.store.lock().uploads.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), given_up)
        .await
        .unwrap();
    assert_eq!(server.store.lock().keys(), keys);
    server.store.lock().refuse = None;
    put(&writer, 1, Append, 0..10).await.unwrap();
    assert_eq!(server.store.lock().keys().len(), keys.len() + 1);
}

#[tokio::test]
async fn one_object_is_replaced_and_never_appended_to() {
    let server = Server::start();
    let path = "s3://bucket/some/all.csv.gz";
    let declared = declare(&server, "single_file", &id_and_name(), path, &[]).unwrap();
    let error = declared.batch_table().unwrap_err().to_string();
    assert!(error.contains(path), "{error}");
    let writer = sink(&declared);
    let error = put(&writer, 0, Append, 0..1).await.unwrap_err();
    assert!(error.to_string().contains("INSERT OVERWRITE"), "{error}");
    for end in [10, 5, 0] {
        put(&writer, 0, Overwrite, 0..end).await.unwrap();
        assert_eq!(content(&declared).await, (0..end).collect::<Vec<_>>());
    }
    assert_eq!(server.store.lock().keys(), ["some/all.csv.gz"]);
    let source = declared.open_source().unwrap();
    assert!(source.is_bounded());
}

#[tokio::test]
async fn a_store_that_refuses_or_does_not_answer_is_named() {
    let server = Server::start();
    let options = [("format", "json")];
    let path = "s3://bucket/in";
    server.store.lock().refuse = Some("list-type".to_owned());
    let declared = declare(&server, "filesystem", &id_and_name(), path, &options).unwrap();
    let error = declared.open_source().unwrap_err();
    assert!(matches!(error, StreamError::Io { .. }), "{error}");
    assert!(
        error.to_string().contains("cannot list 's3://bucket/in'"),
        "{error}"
    );

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let away = Server {
        endpoint,
        store: Arc::default(),
    };
    let declared = declare(&away, "filesystem", &id_and_name(), path, &options).unwrap();
    let error = declared.batch_table().unwrap_err().to_string();
    assert!(error.contains("cannot list 's3://bucket/in'"), "{error}");
}

#[test]
fn declarations_are_checked_before_anything_is_requested() {
    let keys = [("aws_access_key_id", "me"), ("aws_secret_access_key", "x")];
    for (path, more, expected) in [
        (
            "ftp://host/x",
            vec![],
            "there are no files at ftp://; use a path, or file://",
        ),
        ("s3:///x", vec![], "it names no bucket"),
        (
            "s3://bucket/a//b",
            vec![],
            "option 'path' = 's3://bucket/a//b'",
        ),
        ("s3://[/x", vec![], "option 'path' = 's3://[/x'"),
        (
            "file://elsewhere/x",
            vec![],
            "names no file of this machine",
        ),
        (
            "s3://b/x",
            vec![("aws_acces_key_id", "me")],
            "did you mean 'aws_access_key_id'?",
        ),
        (
            "s3://b/x",
            vec![("allow_http", "perhaps")],
            "option 'allow_http' = 'perhaps'",
        ),
        (
            "s3://b/x",
            vec![("aws_skip_signature", "1")],
            "use one of 'true', 'false'",
        ),
        ("s3://b/x", vec![keys[0]], "check the options of the store"),
        (
            "s3://b/x",
            vec![("google_base_url", "x")],
            "has no option 'google_base_url'",
        ),
        (
            "gs://b/x",
            vec![("aws_region", "x")],
            "has no option 'aws_region'",
        ),
        ("az://b/x", vec![], "check the options of the store"),
        (
            "s3://b/x",
            vec![("list_interval_ms", "-1")],
            "option 'list_interval_ms'",
        ),
        (
            "/local",
            vec![("aws_region", "x")],
            "has no option 'aws_region'",
        ),
        (
            "s3://b/x",
            vec![
                ("on_error", "dead_letter"),
                ("dead_letter_path", "s3://b/y"),
            ],
            "option 'dead_letter_path' = 's3://b/y'",
        ),
    ] {
        let mut options = vec![("path", path), ("format", "json")];
        options.extend(&more);
        let error = table("filesystem", &id_and_name(), &options)
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{path} {more:?}: {error}");
    }
    for (path, more) in [
        ("s3://b/x", keys.to_vec()),
        ("gs://b/x", vec![("google_skip_signature", "true")]),
        (
            "az://b/x",
            vec![
                ("azure_storage_account_name", "me"),
                ("azure_skip_signature", "true"),
            ],
        ),
    ] {
        let mut options = vec![("path", path), ("format", "json")];
        options.extend(more);
        let declared = table("filesystem", &id_and_name(), &options).unwrap();
        assert_eq!(declared.directory(), None);
        let shown = format!("{declared:?}");
        assert!(shown.contains(path) && !shown.contains("secret"), "{shown}");
    }
}

#[tokio::test]
async fn a_file_url_is_a_path() {
    let (_dir, path, _) = scratch();
    let place = path.join("with space");
    write(&place.join("a.json"), record(1));
    let url = format!("file://{}", place.to_str().unwrap().replace(' ', "%20"));
    let options = [("path", url.as_str()), ("format", "json")];
    let declared = table("filesystem", &id_and_name(), &options).unwrap();
    assert_eq!(declared.directory(), Some(place.as_path()));
    assert_eq!(content(&declared).await, [1]);
    put(&sink(&declared), 0, Append, 5..6).await.unwrap();
    assert_eq!(content(&declared).await, [1, 5]);
    assert_eq!(names(&place, true).len(), 2);
    let one = format!("{url}/a.json");
    let declared = table("single_file", &[], &[("path", one.as_str())]).unwrap();
    assert_eq!(content(&declared).await, [1]);
}
