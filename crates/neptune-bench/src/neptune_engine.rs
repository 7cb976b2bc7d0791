//! Neptune as the measured engine of `bench overhead`: every query a batch job with gates and yield
//! nodes, and nothing that would suspend it.

use std::sync::Arc;

use neptune::{Class, Session};
use neptune_exec::task_state_bytes;
use tokio::runtime::Handle;

use crate::annals::Annals;
use crate::batch::QueryRunner;
use crate::error::Result;
use crate::neptune_design::{SessionSettings, batch_runner};
use crate::overhead::Engine;
use crate::workload::Workload;

/// A Neptune session that runs queries as batch jobs.
pub struct NeptuneEngine {
    session: Session,
    runner: QueryRunner,
}

impl NeptuneEngine {
    /// Builds it.
    ///
    /// # Errors
    /// When its threads cannot be started or a table cannot be registered.
    pub fn start(workload: &Workload, settings: &SessionSettings) -> Result<Self> {
        let session = settings.start(workload)?;
        Ok(Self {
            runner: batch_runner(&session, &Annals::default()),
            session,
        })
    }
}

impl Engine for NeptuneEngine {
    fn name(&self) -> &str {
        "Neptune"
    }

    fn handle(&self) -> Handle {
        self.session.executor().handle(Class::Batch).clone()
    }

    fn runner(&self) -> QueryRunner {
        Arc::clone(&self.runner)
    }

    fn state_bytes_per_task(&self) -> Option<f64> {
        Some(task_state_bytes() as f64)
    }
}
