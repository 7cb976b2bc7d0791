//! Neptune: stream and batch jobs on the same cores.
//!
//! A [`Session`] is DataFusion's `SessionContext` plus classes: batch tasks are suspended within about a millisecond
//! when a stream task needs their core, keep their progress in memory, and go on after it.

mod app;
pub mod dialect;
mod error;
mod handle;
mod session;
mod shop;
mod table;
mod ysb;

pub use app::{AppJobState, Application, JobReport, Notify, OnRows, RunOptions, Summary};
pub use datafusion;
pub use error::NeptuneError;
pub use handle::{JobHandle, JobProgress, JobState};
pub use neptune_exec::{Executor, Job, JobSettings, NeptuneOptions, Percentiles, TaskError};
pub use neptune_sched::{Class, JobId, PolicyName, SchedSettings};
pub use neptune_stream::sink::Console;
pub use neptune_stream::{Listeners, MicroBatchProgress, PhaseTimes};
pub use session::{Session, SessionBuilder};
pub use table::DeclaredTable;
