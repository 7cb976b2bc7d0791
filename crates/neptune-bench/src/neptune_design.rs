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

/// How the session of a design, an engine or a suspender is set up.
#[derive(Debug, Clone)]
pub struct SessionSettings {
    /// The scheduling policy.
    pub policy: PolicyName,
    /// Whether stream threads ask for real-time priority.
    pub realtime: Realtime,
    /// What batch threads ask for.
    pub demote: Demote,
    /// Settings of the user's, by key and value; they come last.
    pub more: Vec<(String, String)>,
}

impl SessionSettings {
    /// The `neptune` policy and what the operating system does for it by default, with real-time threads and
    /// further settings as told.
    pub fn new(realtime: Realtime, more: &[(String, String)]) -> Self {
        Self {
            policy: PolicyName::Neptune,
            realtime,
            demote: Demote::default(),
            more: more.to_vec(),
        }
    }

    /// A session with one partition per slot and the workload's tables.
    ///
    /// # Errors
    /// When a setting is refused, its threads cannot be started, or a table cannot be registered.
    pub fn start(&self, workload: &Workload) -> Result<Session> {
        let build = || {
            let mut builder = Session::builder()
                .slots(workload.slots)
                .policy(self.policy)
                .set("neptune.os.realtime", &self.realtime.to_string())?
                .set("neptune.os.demote", &self.demote.to_string())?;
            for (key, value) in &self.more {
                builder = builder.set(key, value)?;
            }
            builder.build()
        };
        let session =
            build().map_err(|error| BenchError::failed("a Neptune session", error.to_string()))?;
        let handle = session.executor().handle(Class::Stream).clone();
        handle.block_on(workload.register(session.context()))?;
        Ok(session)
    }
}

/// A design on a Neptune session.
pub struct NeptuneDesign {
    name: &'static str,
    settings: SessionSettings,
    annals: Annals,
}

impl NeptuneDesign {
    /// A policy under its own name.
    pub fn policy(policy: PolicyName, settings: SessionSettings) -> Self {
        Self {
            name: policy.name(),
            settings: SessionSettings { policy, ..settings },
            annals: Annals::default(),
        }
    }

    /// The `neptune` policy with neither real-time threads nor demoted ones.
    ///
    /// Stream threads keep their short slice, which is no setting.
    pub fn coroutine_only(settings: SessionSettings) -> Self {
        Self {
            name: "coroutine_only",
            settings: SessionSettings {
                policy: PolicyName::Neptune,
                realtime: Realtime::Off,
                demote: Demote::Off,
                ..settings
            },
            annals: Annals::default(),
        }
    }
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
        let session = self.settings.start(workload)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openloop::{self, Arrivals, Bound, Settings};
    use crate::workload::tests::small_workload;
    use std::time::Duration;

    fn settings() -> SessionSettings {
        SessionSettings::new(Realtime::Off, &[])
    }

    #[test]
    fn every_policy_runs_probes_beside_batch() {
        let workload = small_workload();
        let mut designs: Vec<_> = PolicyName::ALL
            .into_iter()
            .map(|policy| NeptuneDesign::policy(policy, settings()))
            .collect();
        designs.push(NeptuneDesign::coroutine_only(settings()));
        for design in designs {
            let name = design.name();
            let mut running = design.start(&workload).unwrap();
            running.start_batch(0);
            let mut probes = running.probes();
            let arrivals = Arrivals::Fixed {
                period: Duration::from_millis(20),
            };
            let settings = Settings::new(arrivals, Bound::Count(10));
            let outcome = openloop::run(&running.probe_handle(), settings, move |_| probes());
            let outcome = outcome.unwrap();
            assert_eq!(
                (outcome.failed, outcome.samples.len()),
                (0, 10),
                "{name}: {:?}",
                outcome.first_error
            );
            while running.batch_done() < 3 {
                std::thread::yield_now();
            }
            let log = running.stop_batch().unwrap();
            assert_eq!(log.error(), None, "{name}");
            let figures = running.figures();
            let stretches = figures[crate::annals::LONGEST_STRETCHES].as_array();
            assert!(!stretches.unwrap().is_empty(), "{name}: {figures:?}");
            running.stop();
        }
    }

    #[test]
    fn stopping_a_design_leaves_no_task_of_its() {
        let workload = small_workload();
        let design = NeptuneDesign::policy(PolicyName::Neptune, settings());
        let session = design.settings.start(&workload).unwrap();
        let mut running = RunningNeptune {
            runner: batch_runner(&session, &design.annals),
            session: session.clone(),
            annals: design.annals.clone(),
            workload,
            running: None,
        };
        running.start_batch(0);
        while running.batch_done() == 0 {
            std::thread::yield_now();
        }
        running.stop_batch();
        assert_eq!(session.executor().counts().tasks, 0);
    }

    #[test]
    fn a_setting_that_does_not_exist_is_refused() {
        let more = [("neptune.no.such".to_owned(), "1".to_owned())];
        let error = SessionSettings::new(Realtime::Off, &more).start(&small_workload());
        let error = error.map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("neptune.no.such"), "{error}");
    }
}
