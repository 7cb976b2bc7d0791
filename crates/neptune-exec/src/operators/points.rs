//! Yield points for asynchronous code and for streams.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream};
use futures::{Stream, StreamExt};

use crate::yielding::poll_yield;

/// A yield point inside an `async` block.
pub(super) async fn yield_point() {
    poll_fn(poll_yield).await;
}

/// A stream with a yield point before each poll.
pub(super) struct YieldingStream(pub(super) SendableRecordBatchStream);

impl Stream for YieldingStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        ready!(poll_yield(cx));
        self.0.poll_next_unpin(cx)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl RecordBatchStream for YieldingStream {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }
}
