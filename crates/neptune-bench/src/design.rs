//! The seam between a suite and what it measures: a way to run a probe beside batch on one machine.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use serde_json::Value;
use tokio::runtime::Handle;

use crate::batch::BatchLog;
use crate::error::Result;
use crate::workload::Workload;

/// A design or policy under test.
pub trait Design {
    /// Its name, as `--only` takes it and the report gives it.
    fn name(&self) -> &str;

    /// Builds it: its threads, its sessions, the workload's tables. Nothing runs yet.
    ///
    /// # Errors
    /// When a runtime cannot be built or a table cannot be registered.
    fn start(&self, workload: &Workload) -> Result<Box<dyn Running>>;
}

/// A design that is ready to run the mix. Dropping it ends everything it started.
pub trait Running {
    /// The runtime on which the load driver spawns probes.
    fn probe_handle(&self) -> Handle;

    /// Makes the futures of probes; called for each on the driver's thread, so it must be quick.
    fn probes(&self) -> Box<dyn FnMut() -> BoxFuture<'static, Result<()>> + Send>;

    /// Starts the workload's batch loop at query `from`. There is at most one.
    fn start_batch(&mut self, from: usize);

    /// Queries that the batch loop has run to their end.
    fn batch_done(&self) -> u64;

    /// Stops the batch loop and waits until none of its work is left running; none if none was started.
    fn stop_batch(&mut self) -> Option<BatchLog>;

    /// Whether stream threads really run under a real-time class.
    fn realtime(&self) -> bool {
        false
    }

    /// Further figures for the report, such as the longest poll by operator, gathered since the design was made: those
    /// of a later stretch replace those of an earlier one.
    fn figures(&self) -> BTreeMap<String, Value> {
        BTreeMap::new()
    }

    /// Ends it and waits until its threads have ended. Must not be called from async code.
    fn stop(self: Box<Self>);
}
