//! Batch work gets on beside streams that leave little of the cores.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use neptune::{Class, Session};

use crate::answer::Answer;
use crate::cases::{SLOTS, builder, chosen, plain, session};
use crate::settle::{Strikes, settled, within};

/// How long a stream job keeps its core busy, and how often one comes per core.
const SPIN: Duration = Duration::from_millis(90);
const PERIOD: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_query_ends_beside_streams_that_take_nine_tenths_of_the_cores() {
    let case = &chosen(&["q06"])[0];
    let expected = case.expected(&plain().await).await;
    let session = session(builder()).await;
    add_spin(&session);

    let stop = Arc::new(AtomicBool::new(false));
    let streams: Vec<_> = (0..SLOTS)
        .map(|_| load(session.clone(), Arc::clone(&stop)))
        .collect();
    let start = Instant::now();
    let frame = case.frame(session.context()).await;
    let plan = frame.logical_plan().clone();
    let handle = session.submit_as(frame, session.job_settings("batch", Class::Batch));
    let batches = within(300, &session, "the batch query", handle)
        .await
        .unwrap();
    let took = start.elapsed();
    stop.store(true, Ordering::Relaxed);
    let mut spun = Duration::ZERO;
    for stream in streams {
        spun += stream.await.unwrap();
    }
    let load = spun
        .div_f64(start.elapsed().as_secs_f64() * SLOTS as f64)
        .as_secs_f64();
    let strikes = Strikes::of(&session, "batch").by_stream;

    eprintln!("{took:?} beside a load of {load:.2}, suspended {strikes} times");
    assert_eq!(expected.difference(&Answer::new(&plan, &batches)), None);
    // Other tests and processes want the cores too: what the streams asked for they do not always get.
    assert!(load > 0.4, "the streams took only {load:.2} of the cores");
    assert!(strikes > 0, "the batch query was never in the way");
    settled(&session, "batch beside streams").await;
}

/// `spin(n)`: keeps a core busy for `n` microseconds, without a yield point, and gives back `n`.
fn add_spin(session: &Session) {
    let spin = create_udf(
        "spin",
        vec![DataType::Int64],
        DataType::Int64,
        Volatility::Volatile,
        Arc::new(|arguments: &[ColumnarValue]| {
            if let ColumnarValue::Scalar(ScalarValue::Int64(Some(micros))) = &arguments[0] {
                let end = Instant::now() + Duration::from_micros(*micros as u64);
                while Instant::now() < end {
                    std::hint::spin_loop();
                }
            }
            Ok(arguments[0].clone())
        }),
    );
    session.context().register_udf(spin);
}

/// A stream job per period until told to stop; gives how long they spun.
async fn load_loop(session: Session, stop: Arc<AtomicBool>) -> Duration {
    let mut spun = Duration::ZERO;
    let sql = format!("SELECT spin({})", SPIN.as_micros());
    while !stop.load(Ordering::Relaxed) {
        let next = Instant::now() + PERIOD;
        let query = session.context().sql(&sql).await.unwrap();
        let batches = session
            .submit_as(query, session.job_settings("load", Class::Stream))
            .await
            .unwrap();
        let micros = batches[0].column(0).as_primitive::<Int64Type>().value(0);
        assert_eq!(micros, SPIN.as_micros() as i64);
        spun += SPIN;
        tokio::time::sleep(next.saturating_duration_since(Instant::now())).await;
    }
    spun
}

fn load(session: Session, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<Duration> {
    tokio::spawn(load_loop(session, stop))
}
