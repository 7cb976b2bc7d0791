//! Children inherit their task's job: DataFusion's hook on every future and closure it spawns.
//!
//! The hook is global to the process. Outside a task it passes everything through, so that other users of
//! DataFusion in the same process notice nothing.

use std::any::Any;
use std::panic::resume_unwind;

use datafusion::common::runtime::{JoinSetTracer, set_join_set_tracer};
use futures::future::BoxFuture;

use crate::task::{ChildGate, Gate, Interrupted, current_task, run_as};

type Erased = Box<dyn Any + Send>;

struct InheritTask;

impl JoinSetTracer for InheritTask {
    fn trace_future(&self, future: BoxFuture<'static, Erased>) -> BoxFuture<'static, Erased> {
        let Some(parent) = current_task() else {
            return future;
        };
        parent.spawns();
        match parent.job().add_task(parent.attempt()) {
            Some(task) => {
                task.arrives();
                if task.is_cancelled() {
                    task.job().node().abandon(&task);
                }
                Box::pin(ChildGate(Gate::new(task, future)))
            }
            None => future,
        }
    }

    fn trace_block(
        &self,
        closure: Box<dyn FnOnce() -> Erased + Send>,
    ) -> Box<dyn FnOnce() -> Erased + Send> {
        let Some(parent) = current_task() else {
            return closure;
        };
        let live = parent.job().add_closure();
        Box::new(move || {
            let _live = live;
            if parent.is_cancelled() {
                resume_unwind(Box::new(Interrupted));
            }
            run_as(&parent, closure)
        })
    }
}

/// Installs the hook; harmless when it is there already.
pub(crate) fn install() {
    static TRACER: InheritTask = InheritTask;
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        if set_join_set_tracer(&TRACER).is_err() {
            tracing::warn!(
                "another join set tracer of DataFusion is installed: what tasks spawn is not suspended"
            );
        }
    });
}
