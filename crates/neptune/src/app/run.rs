//! Runs the jobs of a loaded application.

use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::json::ArrayWriter;
use datafusion::arrow::record_batch::RecordBatch;
use futures::stream::{FuturesUnordered, StreamExt};
use neptune_sched::Nanos;
use neptune_stream::{STOP_PATIENCE, StreamQuery};
use tokio::sync::watch;

use super::job::{AppJob, AppJobState, BatchJob, Repeat, Work};
use super::{Application, Step, Summary, batch};
use crate::error::NeptuneError;
use crate::handle::JobHandle;

/// How a job came to its end.
enum End {
    Finished,
    Stopped,
}

impl Application {
    /// Runs all jobs and returns when those that have an end have ended, one has failed, or `stop` becomes true;
    /// the rest is then told to stop, and `trigger = 'end'` jobs run.
    pub async fn run(&self, stop: watch::Receiver<bool>) -> Summary {
        let begun = Instant::now();
        let (halt, halted) = watch::channel(false);
        let mut running = FuturesUnordered::new();
        let mut awaited = 0_usize;
        let mut failed = false;
        let mut steps = self.steps.iter().peekable();
        let mut stopping = stop.clone();
        loop {
            // Start everything up to the next query; the query itself waits for the bounded work before it.
            while let Some(Step::Start(job)) = steps.peek() {
                steps.next();
                if !is_at_end(job) {
                    awaited += usize::from(job.is_awaited());
                    running.push(self.run_job(job, halted.clone()));
                }
            }
            let waits_for_query = matches!(steps.peek(), Some(Step::Query(_)));
            if failed || *stop.borrow() {
                break;
            }
            let bounded = running_bounded(&self.steps);
            if waits_for_query && bounded == 0 {
                if let Some(Step::Query(query)) = steps.next() {
                    failed |= !self.query(query).await;
                }
                continue;
            }
            // With no awaited jobs left but repeating ones, and some to begin with, the work is done.
            let repeating = self.jobs().any(|job| !job.is_awaited() && !is_at_end(job));
            let only_repeating = repeating && !self.jobs().any(|job| job.is_awaited());
            if awaited == 0 && !only_repeating {
                break;
            }
            tokio::select! {
                biased;
                // An error means that nobody can tell us to stop any more.
                told = stopping.wait_for(|stop| *stop) => {
                    if told.is_err() {
                        std::future::pending::<()>().await;
                    }
                    break;
                }
                ended = running.next() => match ended {
                    Some((job, ok)) => {
                        awaited -= usize::from(job.is_awaited());
                        failed |= !ok;
                    }
                    None => break,
                },
            }
        }
        // All receivers live in `running`.
        let _ = halt.send(true);
        let rest = async {
            while let Some((_, ok)) = running.next().await {
                failed |= !ok;
            }
        };
        if tokio::time::timeout(STOP_PATIENCE, rest).await.is_err() {
            tracing::warn!("some jobs did not stop within {STOP_PATIENCE:?}; they are cancelled");
        }
        drop(running);
        for job in self.jobs() {
            if is_at_end(job) && !failed {
                failed |= !self.query(job).await;
            }
        }
        Summary {
            status: if failed { "failed" } else { "ok" },
            wall_s: begun.elapsed().as_secs_f64(),
            jobs: self.reports(),
            app: self.findings.lock().clone(),
        }
    }

    async fn run_job<'a>(
        &'a self,
        job: &'a Arc<AppJob>,
        halted: watch::Receiver<bool>,
    ) -> (&'a Arc<AppJob>, bool) {
        {
            let mut status = job.status.lock();
            status.state = AppJobState::Running;
            status.query.lock().started = Instant::now();
        }
        let ended = match &job.work {
            Work::Stream(query, settings) => {
                let runtime_job = self.session.executor().job(settings);
                job.status.lock().current = Some(Arc::clone(&runtime_job));
                let progress = Arc::clone(&job.status.lock().query);
                let executor = self.session.executor().clone();
                // The loop between micro-batches is no task: it only waits. It lives near its tasks.
                let driver =
                    self.session
                        .executor()
                        .handle(settings.class)
                        .spawn(StreamQuery::run(
                            Arc::clone(query),
                            executor,
                            Arc::clone(&runtime_job),
                            progress,
                            halted.clone(),
                        ));
                let _guard = AbortOnDrop(driver.abort_handle());
                let result = match driver.await {
                    Ok(result) => result.map_err(|error| NeptuneError::Engine(error.into())),
                    Err(_) => Err(neptune_exec::TaskError::Shutdown.into()),
                };
                job.pass_over(&runtime_job);
                result.map(|()| {
                    if *halted.borrow() {
                        End::Stopped
                    } else {
                        End::Finished
                    }
                })
            }
            Work::Batch(work) => self.run_batch(job, work, halted).await,
        };
        (job, settle(job, ended))
    }

    async fn run_batch(
        &self,
        job: &Arc<AppJob>,
        work: &Arc<BatchJob>,
        mut halted: watch::Receiver<bool>,
    ) -> Result<End, NeptuneError> {
        let begun = Instant::now();
        let mut next = begun;
        for number in 0.. {
            if *halted.borrow() {
                return Ok(End::Stopped);
            }
            let mut pass = batch::start(self.session.executor(), &job.name, work, self.run, number);
            tokio::select! {
                biased;
                result = self.follow(job, &mut pass) => { result?; }
                _ = halted.wait_for(|halt| *halt) => {
                    // Nothing of an unfinished pass is visible: it is given up.
                    pass.cancel();
                    pass.job().drained().await;
                    job.pass_over(&pass.job().clone());
                    return Ok(End::Stopped);
                }
            }
            let Repeat::Every(every) = work.repeat else {
                break;
            };
            let now = Instant::now();
            next = (next + every).max(now);
            tokio::select! {
                biased;
                _ = halted.wait_for(|halt| *halt) => return Ok(End::Stopped),
                () = tokio::time::sleep_until(next.into()) => {}
            }
        }
        Ok(End::Finished)
    }

    /// Waits for one pass and books it.
    async fn follow(
        &self,
        job: &Arc<AppJob>,
        pass: &mut JobHandle<batch::Pass>,
    ) -> Result<Vec<RecordBatch>, NeptuneError> {
        let begun = Instant::now();
        let runtime_job = Arc::clone(pass.job());
        job.status.lock().current = Some(Arc::clone(&runtime_job));
        let result = pass.await;
        job.pass_over(&runtime_job);
        let done = result?;
        let mut status = job.status.lock();
        status.passes += 1;
        status.rows_in += done.rows_in;
        status.rows_out += done.rows_out;
        status
            .latency
            .record(Nanos(begun.elapsed().as_nanos() as u64));
        Ok(done.batches)
    }

    /// Runs a job whose rows go to the caller, or one at the end; false if it failed.
    async fn query(&self, job: &Arc<AppJob>) -> bool {
        let Work::Batch(work) = &job.work else {
            return true;
        };
        job.status.lock().state = AppJobState::Running;
        let mut pass = batch::start(self.session.executor(), &job.name, work, self.run, 0);
        let result = self.follow(job, &mut pass).await;
        if let Ok(batches) = &result {
            if work.repeat == Repeat::AtEnd {
                self.find(batches);
            }
            (self.options.on_rows)(&job.name, batches);
        }
        settle(job, result.map(|_| End::Finished))
    }

    /// Takes the columns of a result of one row into the summary.
    fn find(&self, batches: &[RecordBatch]) {
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if rows != 1 {
            return;
        }
        let mut writer = ArrayWriter::new(Vec::new());
        let written = batches.iter().try_for_each(|batch| writer.write(batch));
        if written.and_then(|()| writer.finish()).is_err() {
            return;
        }
        let parsed: Result<Vec<serde_json::Map<_, _>>, _> =
            serde_json::from_slice(&writer.into_inner());
        if let Ok(mut objects) = parsed
            && let Some(object) = objects.pop()
        {
            self.findings.lock().extend(object);
        }
    }
}

/// Aborts the loop of a stream job that is given up.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn is_at_end(job: &AppJob) -> bool {
    matches!(&job.work, Work::Batch(batch) if batch.repeat == Repeat::AtEnd)
}

/// Jobs under way whose end can be waited for: everything but streams without end and repeating jobs.
fn running_bounded(steps: &[Step]) -> usize {
    steps
        .iter()
        .filter(|step| match step {
            Step::Start(job) => {
                let bounded = match &job.work {
                    Work::Batch(batch) => batch.repeat == Repeat::Once,
                    Work::Stream(query, _) => query.has_end(),
                };
                bounded && job.status.lock().state == AppJobState::Running
            }
            Step::Query(_) => false,
        })
        .count()
}

/// Books how a job ended; false if it failed.
fn settle(job: &Arc<AppJob>, ended: Result<End, NeptuneError>) -> bool {
    let mut status = job.status.lock();
    match ended {
        Ok(End::Finished) => status.state = AppJobState::Finished,
        Ok(End::Stopped) => status.state = AppJobState::Stopped,
        Err(error) => {
            status.state = AppJobState::Failed;
            status.error = Some(error.to_string());
            return false;
        }
    }
    true
}
