//! Rows over a TCP connection: received, kept until they are committed, bounded.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use neptune_stream::source::{Source, StreamTable};
use neptune_stream::{Limits, Offset, OffsetRange, StreamError};

use crate::helpers::{id_and_name, numbers, query, rows, scratch, table};

const PATIENCE: Duration = Duration::from_secs(30);

/// A server that deals with its connections one after the other, and its port.
fn serve(connections: Vec<Box<dyn FnOnce(TcpStream) + Send>>) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let server = std::thread::spawn(move || {
        for serve in connections {
            serve(listener.accept().unwrap().0);
        }
    });
    (port, server)
}

/// Sends the pieces one by one, each on its own.
fn send(pieces: &'static [&'static str]) -> Box<dyn FnOnce(TcpStream) + Send> {
    Box::new(move |mut connection| {
        connection.set_nodelay(true).unwrap();
        for piece in pieces {
            connection.write_all(piece.as_bytes()).unwrap();
        }
    })
}

fn open(port: &str, options: &[(&str, &str)]) -> Arc<dyn Source> {
    let mut all = vec![("host", "127.0.0.1"), ("port", port)];
    all.extend(options);
    if !options.iter().any(|(key, _)| *key == "format") {
        all.push(("format", "json"));
    }
    let declared = table("socket", &id_and_name(), &all).unwrap();
    declared.open_source().unwrap()
}

/// Waits until the source has at least `rows`.
async fn wait_for(source: &Arc<dyn Source>, rows: u64) -> Offset {
    let waiting = async {
        loop {
            let latest = source.latest_offset().await.unwrap();
            if latest.position() >= rows {
                return latest;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap()
}

/// Waits until it is known where the source ends.
async fn end(source: &Arc<dyn Source>) -> Offset {
    let waiting = async {
        loop {
            source.latest_offset().await.unwrap();
            match source.final_offset() {
                Some(end) => return end,
                None => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap()
}

async fn read(source: &Arc<dyn Source>, start: u64, end: u64) -> Result<Vec<String>, StreamError> {
    let stream = Arc::new(StreamTable::new(Arc::clone(source), None));
    stream.set_range(OffsetRange::new(Offset::Rows(start), Offset::Rows(end)));
    Ok(rows(&query(stream.provider(), "SELECT * FROM t").await?))
}

#[tokio::test]
async fn a_bounded_socket_gives_its_rows_and_ends() {
    for (format, pieces) in [
        (
            "json",
            &[
                "\u{feff}",
                "{\"id\": 1, \"name\": \"a\"}\n\n{\"id\"",
                ": 2}\r\n{\"id\": 3, \"name\": \"c\"}",
            ] as &[&str],
        ),
        ("csv", &["1,a\n", "2,", "\n3,\"c", "\"\n"]),
    ] {
        let (port, server) = serve(vec![send(pieces)]);
        let source = open(&port, &[("format", format), ("bounded", "true")]);
        assert!(source.is_bounded());
        assert_eq!(end(&source).await, Offset::Rows(3), "{format}");
        server.join().unwrap();
        for _ in 0..2 {
            assert_eq!(read(&source, 0, 3).await.unwrap(), ["1|a", "2|NULL", "3|c"]);
            assert_eq!(read(&source, 1, 2).await.unwrap(), ["2|NULL"]);
        }
        source.commit(&Offset::Rows(2)).await.unwrap();
        assert_eq!(read(&source, 2, 3).await.unwrap(), ["3|c"]);
        for (start, end) in [(1, 3), (2, 4)] {
            let error = read(&source, start, end).await.unwrap_err();
            assert!(matches!(error, StreamError::Offset { .. }), "{error}");
        }
    }
}

#[tokio::test]
async fn a_source_that_is_full_makes_the_sender_wait_and_loses_nothing() {
    // More than the operating system keeps for a connection.
    const ROWS: u64 = 20_000;
    for (limit, most) in [
        (("max_buffered_rows", "100"), 100),
        (("max_buffered_bytes", "50000"), 50),
    ] {
        let (tell, told) = tokio::sync::oneshot::channel();
        let (port, server) = serve(vec![Box::new(move |mut connection| {
            let long = "x".repeat(1000);
            let text: String = (0..ROWS)
                .map(|id| format!("{{\"id\": {id}, \"more\": \"{long}\"}}\n"))
                .collect();
            let short = Duration::from_millis(300);
            connection.set_write_timeout(Some(short)).unwrap();
            let (mut rest, mut tell) = (text.as_bytes(), Some(tell));
            while !rest.is_empty() {
                match connection.write(rest) {
                    Ok(sent) => rest = &rest[sent..],
                    Err(error) => {
                        let full = [ErrorKind::WouldBlock, ErrorKind::TimedOut];
                        assert!(full.contains(&error.kind()), "{error}");
                        if let Some(tell) = tell.take() {
                            tell.send(()).unwrap();
                        }
                    }
                }
            }
            assert!(tell.is_none(), "the sender never had to wait");
        })]);
        let source = open(&port, &[limit, ("bounded", "true")]);
        source.latest_offset().await.unwrap();
        tokio::time::timeout(PATIENCE, told).await.unwrap().unwrap();
        let first = source.latest_offset().await.unwrap().position();
        assert!(first > 0 && first <= most, "{first} rows are kept");
        assert_eq!(source.latest_offset().await.unwrap(), Offset::Rows(first));

        let (mut at, mut all) = (0, 0);
        let limits = Limits {
            max_rows: Some(5_000),
            ..Limits::default()
        };
        while at < ROWS {
            let latest = wait_for(&source, at + 1).await;
            let end = source.limit_end(&Offset::Rows(at), &latest, &limits);
            let stream = Arc::new(StreamTable::new(Arc::clone(&source), None));
            stream.set_range(OffsetRange::new(Offset::Rows(at), end));
            let batches = query(stream.provider(), "SELECT id FROM t").await.unwrap();
            let ids = numbers(&batches);
            assert_eq!(ids.first(), Some(&(at as i64)));
            (at, all) = (end.position(), all + ids.len() as u64);
            source.commit(&end).await.unwrap();
        }
        assert_eq!((all, end(&source).await), (ROWS, Offset::Rows(ROWS)));
        server.join().unwrap();
    }
}

#[tokio::test]
async fn an_unbounded_socket_connects_again() {
    let (port, server) = serve(vec![
        send(&["{\"id\": 1}\n{\"id\": 2}"]),
        send(&[]),
        send(&["{\"id\": 3}\n"]),
    ]);
    let source = open(&port, &[]);
    assert!(!source.is_bounded());
    wait_for(&source, 3).await;
    assert_eq!(
        read(&source, 0, 3).await.unwrap(),
        ["1|NULL", "2|NULL", "3|NULL"]
    );
    assert_eq!(source.final_offset(), None);
    server.join().unwrap();
}

#[tokio::test]
async fn a_host_that_never_answers_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    drop(listener);
    let source = open(&port, &[("connect_attempts", "3")]);
    let waiting = async {
        loop {
            match source.latest_offset().await {
                Ok(latest) => assert_eq!(latest, Offset::Rows(0)),
                Err(error) => return error,
            }
            tokio::task::yield_now().await;
        }
    };
    let error = tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    assert!(matches!(error, StreamError::Io { .. }));
    let expected = format!("cannot connect to 'socket://127.0.0.1:{port}'");
    assert!(error.to_string().contains(&expected), "{error}");
}

#[tokio::test]
async fn malformed_records_follow_the_policy_and_count_as_rows() {
    const PIECES: [&str; 3] = [
        "{\"id\": 1}\nnonsense\n{\"id\": 2}\n{\"name\": \"",
        "0123456789012345678901234567890123456789012345678901234567890123456789",
        "\"}\n{\"id\": \"x\"}\n{\"id\": 3}\n",
    ];
    let (dir, _, _) = scratch();
    let letters = dir.path().join("letters.json");
    let dead = ("dead_letter_path", letters.to_str().unwrap());
    for options in [
        vec![],
        vec![("on_error", "skip")],
        vec![("on_error", "dead_letter"), dead],
    ] {
        let (port, server) = serve(vec![send(&PIECES)]);
        let mut all = vec![("bounded", "true"), ("max_record_bytes", "60")];
        all.extend(&options);
        let source = open(&port, &all);
        assert_eq!(end(&source).await, Offset::Rows(6));
        server.join().unwrap();
        if options.is_empty() {
            let error = read(&source, 0, 6).await.unwrap_err();
            let expected = format!("malformed record in 'socket://127.0.0.1:{port}', line 2");
            assert!(error.to_string().contains(&expected), "{error}");
            assert_eq!(read(&source, 0, 1).await.unwrap(), ["1|NULL"]);
            let error = read(&source, 3, 4).await.unwrap_err().to_string();
            assert!(
                error.contains("line 4: the record is longer than 60 bytes"),
                "{error}"
            );
            continue;
        }
        for _ in 0..2 {
            let found = read(&source, 0, 6).await.unwrap();
            assert_eq!(found, ["1|NULL", "2|NULL", "3|NULL"]);
        }
        assert_eq!(source.malformed_records(), 6, "three, read twice");
    }
    let written = std::fs::read_to_string(letters).unwrap();
    let lines: Vec<serde_json::Value> = written
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let numbers: Vec<_> = lines
        .iter()
        .map(|line| line["line"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [2, 4, 5], "{written}");
    assert_eq!(lines[0]["record"], "nonsense");
    assert_eq!(lines[2]["column"], "id");
}

#[tokio::test]
async fn after_a_restart_counting_goes_on_and_what_was_not_committed_is_lost() {
    let (port, server) = serve(vec![
        send(&["{\"id\": 1}\n{\"id\": 2}\n{\"id\": 3}\n"]),
        send(&["{\"id\": 4}\n"]),
    ]);
    let bounded = [("bounded", "true")];
    let first = open(&port, &bounded);
    assert_eq!(end(&first).await, Offset::Rows(3));
    let range = |start, end| OffsetRange::new(Offset::Rows(start), Offset::Rows(end));
    assert_eq!(first.memo(&range(1, 1)).unwrap(), None);
    let memos = [(0, 2), (2, 3)].map(|(start, end)| first.memo(&range(start, end)).unwrap());
    drop(first);

    let again = open(&port, &bounded);
    again.recall(memos.into_iter().flatten().collect()).unwrap();
    assert_eq!(end(&again).await, Offset::Rows(4));
    server.join().unwrap();
    assert_eq!(read(&again, 2, 3).await.unwrap(), [""; 0], "run again");
    assert_eq!(read(&again, 3, 4).await.unwrap(), ["4|NULL"]);
    let foreign = vec![serde_json::json!([{"path": "a"}])];
    let error = open(&port, &bounded).recall(foreign).unwrap_err();
    assert!(matches!(error, StreamError::Offset { .. }), "{error}");
}

#[tokio::test]
async fn a_source_that_is_dropped_hangs_up() {
    let (port, server) = serve(vec![Box::new(|mut connection| {
        connection.write_all(b"{\"id\": 1}\n").unwrap();
        // Nothing is ever sent to the server: this returns when the connection is closed.
        let read = connection.read(&mut [0]);
        assert!(matches!(read, Ok(0)) || read.is_err());
    })]);
    let source = open(&port, &[]);
    wait_for(&source, 1).await;
    drop(source);
    server.join().unwrap();
}
