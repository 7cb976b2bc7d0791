//! Sinks: a write is seen as a whole or not at all, and a write that is run again replaces itself.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::DataType;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use neptune_stream::StreamError;
use neptune_stream::connector::ConnectorTable;
use neptune_stream::sink::WriteMode::{Append, Overwrite};
use neptune_stream::sink::{Console, Epoch, Sink, WriteMode};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::helpers::{
    epoch, id_and_name, ids, ids_schema, names, numbers, query, rows, scratch, stream_of, table,
    write,
};

fn sink(table: &ConnectorTable) -> Arc<dyn Sink> {
    table.open_sink(&Console::new(std::io::sink())).unwrap()
}

/// Every sink that can be read back, with the directory it writes into.
fn readable(format: &str) -> Vec<(ConnectorTable, tempfile::TempDir, PathBuf)> {
    let mut all = Vec::new();
    for connector in ["filesystem", "single_file", "memory", "shared"] {
        let (dir, path, place) = scratch();
        let file = path.join("out").to_str().unwrap().to_owned();
        let (format, packed) = format.split_once('+').unwrap_or((format, ""));
        let mut options = match connector {
            "filesystem" => vec![
                ("path", place.as_str()),
                ("format", format),
                ("fsync", "true"),
            ],
            "single_file" => vec![
                ("path", file.as_str()),
                ("format", format),
                ("fsync", "true"),
            ],
            _ => vec![],
        };
        if !packed.is_empty() && !options.is_empty() {
            options.push(("compression", packed));
        }
        if connector == "single_file" && matches!(format, "parquet" | "avro") {
            continue;
        }
        let table = table(connector, &id_and_name(), &options).unwrap();
        all.push((table, dir, path));
    }
    all
}

async fn content(table: &ConnectorTable) -> Vec<i64> {
    match table.batch_table() {
        Ok(provider) => numbers(&query(provider, "SELECT id FROM t").await.unwrap()),
        // Nothing has been written yet.
        Err(StreamError::Io { .. }) => vec![],
        Err(error) => panic!("{error}"),
    }
}

async fn put(
    table: &ConnectorTable,
    epoch: &Epoch,
    mode: WriteMode,
    range: std::ops::Range<i64>,
) -> Result<u64, StreamError> {
    let batches = vec![ids(range)];
    sink(table)
        .write(epoch, mode, stream_of(batches, None))
        .await
}

#[tokio::test]
async fn writes_add_up_and_one_run_again_replaces_itself() {
    for format in ["json", "csv", "parquet", "avro", "json+gzip", "csv+zstd"] {
        for (table, _dir, path) in readable(format) {
            let what = format!("{} {format}", table.connector());
            assert_eq!(put(&table, &epoch(0), Append, 0..10).await.unwrap(), 10);
            assert_eq!(put(&table, &epoch(1), Append, 10..20).await.unwrap(), 10);
            assert_eq!(content(&table).await, (0..20).collect::<Vec<_>>(), "{what}");
            // Again, as after a crash before the commit was noted down: fewer rows, then more.
            for end in [12, 10, 5_000] {
                put(&table, &epoch(1), Append, 10..end).await.unwrap();
                assert_eq!(
                    content(&table).await,
                    (0..end).collect::<Vec<_>>(),
                    "{what}"
                );
            }
            put(&table, &epoch(2), Append, 5_000..5_001).await.unwrap();
            assert_eq!(
                content(&table).await,
                (0..5_001).collect::<Vec<_>>(),
                "{what}"
            );
            assert!(
                names(&path, true)
                    .iter()
                    .all(|name| !name.ends_with(".tmp"))
            );
        }
    }
}

#[tokio::test]
async fn overwrite_replaces_what_was_there() {
    for format in ["json", "csv", "parquet", "avro", "json+gzip", "csv+zstd"] {
        for (table, _dir, path) in readable(format) {
            let what = format!("{} {format}", table.connector());
            put(&table, &epoch(0), Append, 0..10).await.unwrap();
            put(&table, &epoch(1), Append, 10..20).await.unwrap();
            if table.connector() == "filesystem" {
                // A file of somebody else is replaced too; one under construction is not touched.
                fs::copy(path.join(&names(&path, false)[0]), path.join("other")).unwrap();
                write(&path.join(".other.tmp"), "x");
            }
            for end in [33, 31, 30] {
                put(&table, &epoch(0), Overwrite, 30..end).await.unwrap();
                assert_eq!(
                    content(&table).await,
                    (30..end).collect::<Vec<_>>(),
                    "{what}"
                );
            }
            assert_eq!(
                table.connector() == "filesystem",
                path.join(".other.tmp").exists()
            );
            put(&table, &epoch(1), Append, 40..41).await.unwrap();
            assert_eq!(content(&table).await, [40], "{what}");
        }
    }
}

#[tokio::test]
async fn a_failed_write_leaves_nothing() {
    for format in ["json", "csv", "parquet", "avro", "json+gzip", "csv+zstd"] {
        for (table, _dir, path) in readable(format) {
            let what = format!("{} {format}", table.connector());
            put(&table, &epoch(0), Append, 0..10).await.unwrap();
            let before = names(&path, true);
            for mode in [Append, Overwrite] {
                // Enough rows that bytes have reached the disk by the time it fails.
                let rows = stream_of(vec![ids(0..100_000)], Some("the query broke"));
                let error = sink(&table).write(&epoch(1), mode, rows).await.unwrap_err();
                assert!(error.to_string().contains("the query broke"), "{error}");
                assert_eq!(content(&table).await, (0..10).collect::<Vec<_>>(), "{what}");
                assert_eq!(names(&path, true), before, "{what}");
            }
        }
    }
}

/// A stream whose consumer is known to have come back for more.
fn rendezvous() -> (mpsc::Sender<RecordBatch>, SendableRecordBatchStream) {
    let (sender, receiver) = mpsc::channel(1);
    let batches = futures::stream::unfold(
        receiver,
        |mut receiver: mpsc::Receiver<RecordBatch>| async {
            receiver.recv().await.map(|batch| (Ok(batch), receiver))
        },
    );
    (
        sender,
        Box::pin(RecordBatchStreamAdapter::new(ids_schema(), batches)),
    )
}

#[tokio::test]
async fn a_cancelled_write_leaves_nothing() {
    for format in ["json", "parquet", "avro", "json+zstd"] {
        for (table, _dir, path) in readable(format) {
            put(&table, &epoch(0), Append, 0..10).await.unwrap();
            let before = names(&path, true);
            let (sender, rows) = rendezvous();
            let writer = sink(&table);
            let epoch = epoch(1);
            let mut write = Box::pin(writer.write(&epoch, Append, rows));
            for part in 0..3 {
                tokio::select! {
                    result = &mut write => panic!("ended early: {result:?}"),
                    sent = sender.send(ids(part * 50_000..(part + 1) * 50_000)) => sent.unwrap(),
                }
            }
            // Until the third batch has been taken, the first two are being written.
            tokio::select! {
                result = &mut write => panic!("ended early: {result:?}"),
                permit = sender.reserve() => drop(permit),
            }
            drop(write);
            assert_eq!(content(&table).await, (0..10).collect::<Vec<_>>());
            wait_until(|| names(&path, true) == before).await;
        }
    }
}

/// A write to disk that was under way when its task was cancelled ends on its own thread.
async fn wait_until(done: impl Fn() -> bool) {
    let patience = std::time::Duration::from_secs(20);
    let waiting = async {
        while !done() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(patience, waiting).await.unwrap();
}

#[tokio::test]
async fn partitions_are_staged_side_by_side_and_committed_together() {
    for format in ["json", "csv", "parquet", "avro", "json+gzip", "csv+zstd"] {
        for (table, _dir, path) in readable(format) {
            let what = format!("{} {format}", table.connector());
            for partitions in [4, 2] {
                let writer = sink(&table);
                let transaction = writer.begin(&epoch(0), Append, ids_schema()).await.unwrap();
                let each = (0..partitions).map(|p| {
                    // One of them has no rows.
                    let range = if p == 1 { 0..0 } else { p * 10..p * 10 + 10 };
                    transaction.stage(p as usize, stream_of(vec![ids(range)], None))
                });
                let counts = futures::future::try_join_all(each).await.unwrap();
                let before = content(&table).await;
                assert_eq!(counts.iter().sum::<u64>() as i64, (partitions - 1) * 10);
                if partitions == 4 {
                    assert_eq!(before, [0; 0], "{what}: nothing is seen before the commit");
                }
                transaction.commit().await.unwrap();
                let expected: Vec<i64> = (0..partitions * 10).filter(|id| id / 10 != 1).collect();
                assert_eq!(content(&table).await, expected, "{what}");
                if table.connector() == "filesystem" {
                    assert_eq!(names(&path, true).len() as i64, partitions - 1);
                }
            }
        }
    }
}

#[tokio::test]
async fn jobs_and_runs_do_not_replace_each_other() {
    for (table, _dir, _path) in readable("json") {
        let other = |job: &str, run| Epoch {
            job: job.into(),
            run,
            micro_batch: 0,
        };
        let each = [
            other("a", 1),
            other("a", 2),
            other("a-1", 1),
            other("a/../b é", 1),
            other("", 1),
        ];
        if table.connector() == "shared" {
            continue;
        }
        for (n, epoch) in (0..).zip(&each) {
            put(&table, epoch, Append, n..n + 1).await.unwrap();
        }
        assert_eq!(
            content(&table).await,
            [0, 1, 2, 3, 4],
            "{}",
            table.connector()
        );
        if table.connector() == "filesystem" {
            put(&table, &each[2], Append, 7..8).await.unwrap();
            assert_eq!(content(&table).await, [0, 1, 3, 4, 7]);
        }
    }
}

#[tokio::test]
async fn leftovers_of_a_crashed_process_go() {
    let (_dir, path, place) = scratch();
    let options = [("path", place.as_str()), ("format", "json")];
    let directory = table("filesystem", &id_and_name(), &options).unwrap();
    // No process has this number: the kernel's largest is 2^22.
    write(&path.join(".part-j-1-000000001-0.99999999-5.tmp"), "half");
    // The first process lives as long as the system.
    let alive = ".part-j-1-000000001-0.1-5.tmp";
    write(&path.join(alive), "in the making");
    write(
        &path.join(".part-other-1-000000001-0.99999999-5.tmp"),
        "somebody else's",
    );
    put(&directory, &epoch(0), Append, 0..1).await.unwrap();
    assert_eq!(
        names(&path, true),
        [
            alive,
            ".part-other-1-000000001-0.99999999-5.tmp",
            "part-j-1-000000000-0000.json"
        ]
    );
}

mod appended_file {
    use super::*;

    fn declare(format: &str) -> (ConnectorTable, tempfile::TempDir, PathBuf) {
        let (dir, path, _) = scratch();
        let file = path.join("out").with_extension(format);
        let options = [("path", file.to_str().unwrap())];
        let table = table("single_file", &id_and_name(), &options).unwrap();
        (table, dir, file)
    }

    fn log(file: &Path) -> PathBuf {
        let name = file.file_name().unwrap().to_str().unwrap();
        file.with_file_name(format!(".{name}.writes"))
    }

    #[tokio::test]
    async fn has_one_header_whatever_is_written_again() {
        let (table, _dir, file) = declare("csv");
        put(&table, &epoch(0), Append, 0..0).await.unwrap();
        put(&table, &epoch(1), Append, 0..1).await.unwrap();
        put(&table, &epoch(1), Append, 0..1).await.unwrap();
        put(&table, &epoch(2), Append, 1..2).await.unwrap();
        assert_eq!(fs::read_to_string(file).unwrap(), "id,name\n0,n0\n1,n1\n");
    }

    #[tokio::test]
    async fn loses_half_a_write_that_a_crash_left() {
        for next in [1, 2] {
            let (table, _dir, file) = declare("json");
            put(&table, &epoch(0), Append, 0..2).await.unwrap();
            let whole = fs::metadata(&file).unwrap().len();
            // As it is in the middle of copying the rows of micro-batch 1.
            let half = format!(r#"{{"j":{{"run":1,"micro_batch":1,"start":{whole},"end":null}}}}"#);
            fs::write(log(&file), half).unwrap();
            let mut out = fs::OpenOptions::new().append(true).open(&file).unwrap();
            out.write_all(b"{\"id\": 2, \"na").unwrap();
            put(&table, &epoch(next), Append, 2..4).await.unwrap();
            assert_eq!(
                content(&table).await,
                [0, 1, 2, 3],
                "micro-batch {next} comes next"
            );
        }
    }

    #[tokio::test]
    async fn refuses_a_job_that_was_set_back() {
        let (table, _dir, _file) = declare("json");
        for (number, id) in [(0, 0), (1, 1), (2, 2)] {
            put(&table, &epoch(number), Append, id..id + 1)
                .await
                .unwrap();
        }
        let error = put(&table, &epoch(1), Append, 1..2).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("already has the job's micro-batch 2"),
            "{text}"
        );
        assert_eq!(content(&table).await, [0, 1, 2]);
        // One that begins anew has nothing to do with that.
        let anew = Epoch { run: 2, ..epoch(0) };
        put(&table, &anew, Append, 3..4).await.unwrap();
        assert_eq!(content(&table).await, [0, 1, 2, 3]);
    }

    #[tokio::test]
    async fn of_two_jobs_refuses_to_write_again_in_the_middle() {
        let (table, _dir, file) = declare("json");
        let other = Epoch {
            job: "other".into(),
            ..epoch(0)
        };
        put(&table, &epoch(0), Append, 0..1).await.unwrap();
        put(&table, &other, Append, 1..2).await.unwrap();
        let error = put(&table, &epoch(0), Append, 0..1).await.unwrap_err();
        assert!(
            error.to_string().contains("cannot be written again"),
            "{error}"
        );
        assert_eq!(content(&table).await, [0, 1]);
        // Somebody empties the file: there is nothing left to replace.
        fs::write(file, "").unwrap();
        put(&table, &epoch(0), Append, 5..6).await.unwrap();
        assert_eq!(content(&table).await, [5]);
    }

    #[tokio::test]
    async fn takes_the_writes_of_several_jobs_at_once() {
        let (table, _dir, _file) = declare("json");
        let writes = (0..16).map(|n| {
            let (writer, job) = (
                sink(&table),
                Epoch {
                    job: n.to_string(),
                    ..epoch(0)
                },
            );
            tokio::spawn(async move {
                let rows = stream_of(vec![ids(n * 100..n * 100 + 100)], None);
                writer.write(&job, Append, rows).await.unwrap()
            })
        });
        futures::future::try_join_all(writes).await.unwrap();
        assert_eq!(content(&table).await, (0..1_600).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn may_be_packed_and_grows_by_whole_members() {
        use std::io::Read;

        fn gzip(path: &Path) -> String {
            let mut text = String::new();
            let file = fs::File::open(path).unwrap();
            let mut unpacked = flate2::read::MultiGzDecoder::new(file);
            unpacked.read_to_string(&mut text).unwrap();
            text
        }
        fn zstd(path: &Path) -> String {
            let bytes = zstd::decode_all(fs::File::open(path).unwrap()).unwrap();
            String::from_utf8(bytes).unwrap()
        }

        for (ending, unpack) in [("csv.gz", gzip as fn(&Path) -> String), ("csv.zst", zstd)] {
            let (table, _dir, file) = declare(ending);
            put(&table, &epoch(0), Append, 0..0).await.unwrap();
            assert_eq!(unpack(&file), "id,name\n");
            for _ in 0..2 {
                put(&table, &epoch(1), Append, 0..1).await.unwrap();
            }
            let before = fs::metadata(&file).unwrap().len();
            put(&table, &epoch(2), Append, 1..1).await.unwrap();
            assert_eq!(
                fs::metadata(&file).unwrap().len(),
                before,
                "no rows, no bytes"
            );
            put(&table, &epoch(3), Append, 1..2).await.unwrap();
            assert_eq!(unpack(&file), "id,name\n0,n0\n1,n1\n");
            assert_eq!(content(&table).await, [0, 1]);
            put(&table, &epoch(4), Overwrite, 7..7).await.unwrap();
            assert_eq!(unpack(&file), "id,name\n", "without rows it is packed too");
            put(&table, &epoch(5), Append, 8..9).await.unwrap();
            assert_eq!(content(&table).await, [8]);
        }
    }

    #[tokio::test]
    async fn packed_in_another_way_is_left_alone() {
        for (ending, text) in [
            ("json.gz", b"{\"id\": 1}\n".as_slice()),
            ("json.zst", b"\x1f\x8b\x08\x00\x00"),
            ("json", b"\x28\xb5\x2f\xfd\x00"),
        ] {
            let (table, _dir, file) = declare(ending);
            fs::write(&file, text).unwrap();
            let error = put(&table, &epoch(0), Append, 0..1).await.unwrap_err();
            assert!(
                matches!(&error, StreamError::Unsupported { help, .. } if help.contains("INSERT OVERWRITE")),
                "{error}"
            );
            assert_eq!(fs::read(&file).unwrap(), text);
            put(&table, &epoch(0), Overwrite, 0..1).await.unwrap();
            assert_eq!(content(&table).await, [0]);
        }
    }

    #[tokio::test]
    async fn of_parquet_or_avro_can_only_be_replaced() {
        for format in ["parquet", "avro"] {
            let (table, _dir, _file) = declare(format);
            put(&table, &epoch(0), Append, 0..1).await.unwrap();
            let error = put(&table, &epoch(1), Append, 1..2).await.unwrap_err();
            assert!(error.to_string().contains("INSERT OVERWRITE"), "{error}");
            put(&table, &epoch(1), Overwrite, 2..3).await.unwrap();
            assert_eq!(content(&table).await, [2]);
            put(&table, &epoch(1), Overwrite, 3..3).await.unwrap();
            assert_eq!(content(&table).await, [0; 0]);
        }
    }
}

#[tokio::test]
async fn the_console_shows_job_micro_batch_and_rows() {
    let out = Arc::new(Mutex::new(Vec::new()));
    let console = Console::shared(out.clone());
    let declared = table("console", &[], &[("rows", "2")]).unwrap();
    let sink = declared.open_sink(&console).unwrap();
    sink.write(
        &epoch(7),
        Append,
        stream_of(vec![ids(0..1), ids(1..5)], None),
    )
    .await
    .unwrap();
    sink.write(&epoch(8), Append, stream_of(vec![], None))
        .await
        .unwrap();
    sink.write(&epoch(9), Append, stream_of(vec![ids(0..1)], Some("broke")))
        .await
        .unwrap_err();
    let text = String::from_utf8(out.lock().clone()).unwrap();
    assert_eq!(
        text,
        "-- t: job j, micro-batch 7, 5 rows\n\
         +----+------+\n\
         | id | name |\n\
         +----+------+\n\
         | 0  | n0   |\n\
         | 1  | n1   |\n\
         +----+------+\n\
         (3 more rows)\n"
    );
}

#[tokio::test]
async fn noop_counts() {
    let declared = table("noop", &[], &[]).unwrap();
    let batches = vec![ids(0..3), ids(3..5)];
    let count = sink(&declared)
        .write(&epoch(0), Append, stream_of(batches, None))
        .await;
    assert_eq!(count.unwrap(), 5);
}

#[tokio::test]
async fn memory_keeps_the_newest_writes_within_its_bound() {
    let declared = table("memory", &[], &[("max_rows", "25")]).unwrap();
    for n in 0..10 {
        put(
            &declared,
            &epoch(n),
            Append,
            n as i64 * 10..n as i64 * 10 + 10,
        )
        .await
        .unwrap();
    }
    assert_eq!(content(&declared).await, (70..100).collect::<Vec<_>>());
    assert_eq!(declared.memory().unwrap().rows(), 30);
    let found = query(
        declared.batch_table().unwrap(),
        "SELECT name FROM t WHERE id = 99",
    )
    .await;
    assert_eq!(rows(&found.unwrap()), ["n99"]);
}

#[tokio::test]
async fn rows_of_other_columns_are_refused() {
    for connector in ["memory", "shared"] {
        let declared = table(connector, &[("other", DataType::Int64)], &[]).unwrap();
        let error = put(&declared, &epoch(0), Append, 0..1).await.unwrap_err();
        assert!(matches!(error, StreamError::Schema { .. }), "{error}");
    }
}
