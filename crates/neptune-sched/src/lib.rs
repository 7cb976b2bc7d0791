//! The pure scheduling core: who runs, who waits, who is suspended.
//!
//! Nothing here knows threads, clocks, I/O, tokio or DataFusion. Time comes in as [`Nanos`]; what has to be done
//! in the world outside comes out as [`Action`]s. The embedded runtime drives it under a lock, and a
//! simulator can drive the very same code under a virtual clock.
//!
//! * [`LocalScheduler`]: the slots of one executor and the tasks that want them.
//! * [`TaskState`]: the state machine of a task, with its races written down.
//! * [`policy`]: one file per policy behind one small trait.
//! * [`BatchShare`]: what keeps batch work from starving.
//! * [`Pacer`]: what keeps a process inside its CPU quota.

mod class;
mod ids;
mod local;
mod pacer;
pub mod policy;
mod settings;
mod share;
mod state;
mod table;

pub use class::{Class, UnknownClass};
pub use ids::{JobId, Nanos, TaskId};
pub use local::{Action, Begin, Cause, End, JobSpec, JobView, LocalScheduler, SlotCounts, Woken};
pub use pacer::{Pace, Pacer};
pub use policy::{Policy, PolicyName, UnknownPolicy};
pub use settings::SchedSettings;
pub use share::BatchShare;
pub use state::TaskState;
