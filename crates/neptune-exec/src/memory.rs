//! A memory pool that knows which task holds what.
//!
//! It wraps the pool that sets the limits and books every reservation on the task that registered the consumer,
//! and so on its job. The bytes of a suspended task stay booked, and visible, while it is suspended.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use parking_lot::RwLock;

use crate::task::{Task, current_task};

/// Shards of the consumer map: registering is frequent with many small queries.
const SHARDS: usize = 16;

type Shard = RwLock<HashMap<usize, Arc<Task>>>;

/// Books reservations per task on top of another pool. See the module's text.
pub struct TaskMemoryPool {
    inner: Arc<dyn MemoryPool>,
    shards: [Shard; SHARDS],
}

impl TaskMemoryPool {
    /// Books what `inner` grants.
    pub fn new(inner: Arc<dyn MemoryPool>) -> Self {
        Self {
            inner,
            shards: Default::default(),
        }
    }

    fn shard(&self, consumer: &MemoryConsumer) -> &Shard {
        &self.shards[consumer.id() % SHARDS]
    }

    fn book(&self, reservation: &MemoryReservation, bytes: isize) {
        let consumer = reservation.consumer();
        if let Some(task) = self.shard(consumer).read().get(&consumer.id()) {
            task.book_memory(bytes);
        }
    }
}

impl fmt::Debug for TaskMemoryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskMemoryPool")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for TaskMemoryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task_memory_pool({})", self.inner.name())
    }
}

impl MemoryPool for TaskMemoryPool {
    fn name(&self) -> &str {
        "task_memory_pool"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        if let Some(task) = current_task() {
            self.shard(consumer).write().insert(consumer.id(), task);
        }
        self.inner.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.inner.unregister(consumer);
        self.shard(consumer).write().remove(&consumer.id());
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.inner.grow(reservation, additional);
        self.book(reservation, additional as isize);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.inner.shrink(reservation, shrink);
        self.book(reservation, -(shrink as isize));
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.inner.try_grow(reservation, additional)?;
        self.book(reservation, additional as isize);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.inner.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.inner.memory_limit()
    }
}
