//! One node's runtime: suspendable tasks, slots, class runtimes, yield points and memory.
//!
//! [`Executor`] runs [`Job`]s of a class; everything a job spawns through DataFusion becomes a suspendable [`Task`] of
//! it. [`YieldRule`] gives physical plans their yield points, [`JobExec`] runs any plan as a job.

mod attempts;
mod event_log;
mod executor;
mod job;
mod job_exec;
mod job_rule;
mod latencies;
mod memory;
mod node;
pub mod operators;
mod options;
pub mod os;
mod quota;
mod sync;
mod task;
mod task_handle;
mod tracer;
mod yield_exec;
mod yield_rule;
pub mod yielding;

pub use event_log::{Event, EventKind};
pub use executor::{
    Demote, Executor, ExecutorConfig, Realtime, StartError, UnknownValue, raise_this_thread,
};
pub use job::{Job, JobSettings, Stretches, SuspensionStats};
pub use job_exec::JobExec;
pub use job_rule::JobRule;
pub use latencies::{Latencies, Percentiles};
pub use memory::TaskMemoryPool;
pub use options::NeptuneOptions;
pub use quota::{cpu_quota, default_slots};
pub use task::{Task, current_task, task_state_bytes};
pub use task_handle::{TaskError, TaskHandle};
pub use yield_exec::{Slices, YieldExec};
pub use yield_rule::YieldRule;
