//! A memory pool that passes everything on and remembers how much is held through it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use datafusion::execution::runtime_env::RuntimeEnv;

/// How large a hash table is can only be seen from outside by the memory it reserves.
#[derive(Debug)]
pub(super) struct WatchedPool {
    inner: Arc<dyn MemoryPool>,
    held: AtomicUsize,
}

impl WatchedPool {
    /// A pool in front of that of `context`, and a context for one operator that uses it.
    pub(super) fn over(context: &TaskContext) -> (Arc<Self>, Arc<TaskContext>) {
        let pool = Arc::new(Self {
            inner: Arc::clone(context.memory_pool()),
            held: AtomicUsize::new(0),
        });
        let mut runtime = RuntimeEnv::clone(&context.runtime_env());
        runtime.memory_pool = Arc::clone(&pool) as Arc<dyn MemoryPool>;
        // The functions of a plan are bound to it already; an operator does not look them up.
        let watched = TaskContext::new(
            context.task_id(),
            context.session_id(),
            context.session_config().clone(),
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            Arc::new(runtime),
        );
        (pool, Arc::new(watched))
    }

    /// Bytes held now.
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

impl fmt::Display for WatchedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "watched({})", self.inner.name())
    }
}

impl MemoryPool for WatchedPool {
    fn name(&self) -> &str {
        "watched"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.inner.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.inner.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.inner.grow(reservation, additional);
        self.held.fetch_add(additional, Ordering::Relaxed);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.inner.shrink(reservation, shrink);
        self.held.fetch_sub(shrink, Ordering::Relaxed);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.inner.try_grow(reservation, additional)?;
        self.held.fetch_add(additional, Ordering::Relaxed);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.inner.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.inner.memory_limit()
    }
}
