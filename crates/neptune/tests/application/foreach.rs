//! Rows of micro-batches that go to a function.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use neptune::datafusion::arrow::array::AsArray;
use neptune::datafusion::arrow::datatypes::Int64Type;
use neptune::{Application, Console, RunOptions, Session};
use tokio::sync::watch;

/// Runs a job that is cut off by an error in micro-batch `cut`, and gives what the function saw.
async fn run(
    checkpoint: &str,
    cut: Option<u64>,
    seen: &Arc<Mutex<BTreeMap<u64, Vec<i64>>>>,
) -> &'static str {
    let session = Session::builder().slots(1).build().unwrap();
    let told = Arc::clone(seen);
    session
        .foreach_batch("target", move |number, rows| {
            let told = Arc::clone(&told);
            async move {
                let batches = rows.collect().await?;
                let values = batches.iter().flat_map(|batch| {
                    let column = batch.column(0).as_primitive::<Int64Type>();
                    column.values().to_vec()
                });
                let values: Vec<i64> = values.collect();
                let before = told.lock().unwrap().insert(number, values.clone());
                assert!(
                    before.is_none_or(|before| before == values),
                    "another answer for {number}"
                );
                if cut == Some(number) {
                    return neptune::datafusion::common::exec_err!("cut off");
                }
                Ok(())
            }
        })
        .unwrap();
    let script = format!(
        "CREATE TABLE numbers WITH (connector = 'rate', rows_per_second = 100000000, rows = 100);
         CREATE JOB each WITH (class = 'stream', max_rows_per_trigger = 10, checkpoint = '{checkpoint}') AS
           INSERT INTO target SELECT value FROM numbers;"
    );
    let options = RunOptions {
        scale: 1.0,
        notify: Arc::new(|_, _| {}),
        on_rows: Arc::new(|_, _| {}),
        console: Console::new(std::io::sink()),
    };
    let application = Application::load(&session, "foreach.sql", &script, options).await;
    let (_stop, stopped) = watch::channel(false);
    application.unwrap().run(stopped).await.status
}

#[tokio::test]
async fn a_function_sees_each_micro_batch_and_the_one_it_failed_in_again() {
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = directory.path().join("checkpoint");
    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let path = checkpoint.to_str().unwrap();
    assert_eq!(run(path, Some(4), &seen).await, "failed");
    assert_eq!(seen.lock().unwrap().len(), 5);
    assert_eq!(run(path, None, &seen).await, "ok");
    let seen = seen.lock().unwrap();
    let all: Vec<i64> = seen.values().flatten().copied().collect();
    assert_eq!(all, (0..100).collect::<Vec<i64>>());
}
