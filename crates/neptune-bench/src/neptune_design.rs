//! The designs that run on a Neptune session: the policies, and coroutine suspension by itself.
//!
//! Probes are jobs of class stream, the batch queries jobs of class batch; both are planned and run as a
//! program of a user would run them, through [`Session::submit_as`].

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use futures::future::BoxFuture;
use neptune::{Class, PolicyName, Session};
use neptune_exec::{Demote, Realtime};
use serde_json::Value;
use tokio::runtime::Handle;

use crate::annals::Annals;
use crate::baseline;
use crate::batch::{BatchLog, BatchLoop, Query, QueryRunner};
use crate::design::{Design, Running};
use crate::error::{BenchError, Result};
use crate::workload::Workload;

/// A design on a Neptune session.
pub struct NeptuneDesign {
    name: &'static str,
    policy: PolicyName,
    realtime: Realtime,
    demote: Demote,
    annals: Annals,
}

impl NeptuneDesign {
    /// A policy, with what the operating system does for it by default, real-time threads as told.
    pub fn policy(policy: PolicyName, realtime: Realtime) -> Self {
        Self {
            name: policy.name(),
            policy,
            realtime,
            demote: Demote::default(),
            annals: Annals::default(),
        }
    }

    /// The `neptune` policy with neither real-time threads nor demoted ones.
    ///
    /// Stream threads keep their short slice, which is no setting.
    pub fn coroutine_only() -> Self {
        Self {
            name: "coroutine_only",
            policy: PolicyName::Neptune,
            realtime: Realtime::Off,
            demote: Demote::Off,
            annals: Annals::default(),
        }
    }
}

/// A session with one partition per slot and the workload's tables.
///
/// # Errors
/// When its threads cannot be started or a table cannot be registered.
pub fn start_session(
    workload: &Workload,
    policy: PolicyName,
    realtime: Realtime,
    demote: Demote,
) -> Result<Session> {
    let build = || {
        Session::builder()
            .slots(workload.slots)
            .policy(policy)
            .set("neptune.os.realtime", &realtime.to_string())?
            .set("neptune.os.demote", &demote.to_string())?
            .build()
    };
    let session =
        build().map_err(|error| BenchError::failed("a Neptune session", error.to_string()))?;
    let handle = session.executor().handle(Class::Stream).clone();
    handle.block_on(workload.register(session.context()))?;
    Ok(session)
}

/// Plans a query under its own settings and submits it as a job of class batch.
pub(crate) async fn submit(
    session: &Session,
    query: &Query,
) -> Result<neptune::JobHandle<Vec<RecordBatch>>> {
    let plan = async {
        baseline::with_settings(session.context(), &query.settings)?
            .sql(&query.sql)
            .await
    };
    let plan = plan
        .await
        .map_err(|error| BenchError::query(&query.name, error))?;
    Ok(session.submit_as(plan, session.job_settings(&query.name, Class::Batch)))
}

/// Runs queries as batch jobs and counts the rows of their results.
pub(crate) fn batch_runner(session: &Session, annals: &Annals) -> QueryRunner {
    let (session, annals) = (session.clone(), annals.clone());
    Arc::new(move |query| {
        let (session, annals) = (session.clone(), annals.clone());
        Box::pin(async move {
            let job = submit(&session, &query).await?;
            annals.follow(job.job());
            let batches = job.await;
            let batches =
                batches.map_err(|error| BenchError::failed(&query.name, error.to_string()))?;
            Ok(rows(&batches) as u64)
        })
    })
}

pub(crate) fn rows(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

impl Design for NeptuneDesign {
    fn name(&self) -> &str {
        self.name
    }

    fn start(&self, workload: &Workload) -> Result<Box<dyn Running>> {
        let session = start_session(workload, self.policy, self.realtime, self.demote)?;
        Ok(Box::new(RunningNeptune {
            runner: batch_runner(&session, &self.annals),
            session,
            annals: self.annals.clone(),
            workload: workload.clone(),
            running: None,
        }))
    }
}

struct RunningNeptune {
    session: Session,
    runner: QueryRunner,
    annals: Annals,
    workload: Workload,
    running: Option<BatchLoop>,
}

impl Running for RunningNeptune {
    fn probe_handle(&self) -> Handle {
        self.session.executor().handle(Class::Stream).clone()
    }

    fn probes(&self) -> Box<dyn FnMut() -> BoxFuture<'static, Result<()>> + Send> {
        let (session, probe) = (self.session.clone(), self.workload.probe.clone());
        Box::new(move || {
            let (session, probe) = (session.clone(), probe.clone());
            Box::pin(async move {
                let plan = session.context().sql(probe.sql()).await;
                let plan = plan.map_err(|error| BenchError::query("probe", error))?;
                let job = session.submit_as(plan, session.job_settings("probe", Class::Stream));
                let batches = job.await;
                let batches =
                    batches.map_err(|error| BenchError::failed("probe", error.to_string()))?;
                probe.check(rows(&batches))
            })
        })
    }

    fn start_batch(&mut self, from: usize) {
        self.running = Some(BatchLoop::start(
            self.session.executor().handle(Class::Batch),
            &self.workload.queries,
            from,
            self.workload.loops,
            &self.runner,
        ));
    }

    fn batch_done(&self) -> u64 {
        self.running.as_ref().map_or(0, BatchLoop::queries_done)
    }

    fn stop_batch(&mut self) -> Option<BatchLog> {
        let log = self.running.take()?.stop();
        // The loop has given its jobs up; what they spawned ends at its next yield point.
        let executor = self.session.executor();
        for job in executor.jobs() {
            executor.handle(Class::Stream).block_on(job.drained());
        }
        Some(log)
    }

    fn realtime(&self) -> bool {
        self.session.executor().is_realtime()
    }

    fn figures(&self) -> BTreeMap<String, Value> {
        self.annals.close();
        self.annals.figures()
    }

    fn stop(mut self: Box<Self>) {
        self.stop_batch();
        // The executor ends with its last owner, which this is once all jobs are over.
    }
}
