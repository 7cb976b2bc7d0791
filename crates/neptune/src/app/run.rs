//! Runs the jobs of a loaded application.

use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::json::WriterBuilder;
use datafusion::arrow::json::writer::JsonArray;
use datafusion::arrow::record_batch::RecordBatch;
use futures::stream::{FuturesUnordered, StreamExt};
use neptune_exec::TaskError;
use neptune_sched::Class;
use neptune_stream::{STOP_PATIENCE, StreamQuery};
use tokio::sync::watch;
use tokio::task::JoinError;

use super::batch::{Pass, RunningPass};
use super::job::{AppJob, AppJobState, BatchJob, Repeat, Target, Work};
use super::{Application, Step, Summary};
use crate::error::NeptuneError;

/// How a job came to its end.
enum End {
    Finished,
    Stopped,
}

impl Application {
    /// Runs all jobs and returns when those that have an end have ended, one has failed, or `stop` becomes true;
    /// the rest is then told to stop, and `trigger = 'end'` jobs run. A repeating job makes at least one pass, unless it
    /// is stopped.
    pub async fn run(&self, stop: watch::Receiver<bool>) -> Summary {
        let begun = Instant::now();
        let (halt, halted) = watch::channel(false);
        let mut running = FuturesUnordered::new();
        let (mut awaited, mut bounded, mut querying) = (0_usize, 0_usize, false);
        let mut failed = false;
        let mut steps = self.steps.iter().peekable();
        let mut stopping = stop.clone();
        loop {
            // A query waits for what is bounded before it, and what is after it waits for the query.
            while let Some(step) =
                steps.next_if(|step| !querying && (bounded == 0 || matches!(step, Step::Start(_))))
            {
                let job = step.job();
                if job.is_at_end() {
                    continue;
                }
                querying = matches!(step, Step::Query(_));
                awaited += usize::from(job.is_awaited());
                bounded += usize::from(job.is_bounded());
                let halted = halted.clone();
                running.push(async move { (step, self.run_job(job, halted).await) });
            }
            let over = steps.peek().is_none() && awaited == 0 && self.may_end();
            if failed || over || *stop.borrow() {
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
                Some((step, ok)) = running.next() => {
                    awaited -= usize::from(step.job().is_awaited());
                    bounded -= usize::from(step.job().is_bounded());
                    querying &= !matches!(step, Step::Query(_));
                    failed |= !ok;
                }
                () = self.passed.notified() => {}
            }
        }
        // All receivers live in `running`.
        let _ = halt.send(true);
        let rest = async {
            let mut ok = true;
            while let Some((_, ended_well)) = running.next().await {
                ok &= ended_well;
            }
            ok
        };
        failed |= !tokio::time::timeout(STOP_PATIENCE, rest)
            .await
            .unwrap_or(false);
        drop(running);
        for job in self.jobs() {
            job.give_up_waiting();
        }
        // Told by nobody to stop: whoever interrupts the application has to end the process.
        let (_never, go_on) = watch::channel(false);
        for job in self.jobs().filter(|job| job.is_at_end()) {
            if failed {
                break;
            }
            failed |= !self.run_job(job, go_on.clone()).await;
        }
        Summary {
            status: if failed { "failed" } else { "ok" },
            wall_s: begun.elapsed().as_secs_f64(),
            jobs: self.reports(),
            app: self.findings.lock().clone(),
        }
    }

    /// Whether the application may end when no job is awaited any more: not before each repeating job has made a pass,
    /// and never by itself if there are only repeating ones.
    fn may_end(&self) -> bool {
        let mut repeating = self.jobs().filter(|job| job.is_repeating()).peekable();
        let only_repeating = repeating.peek().is_some() && !self.jobs().any(|job| job.is_awaited());
        !only_repeating && repeating.all(|job| job.status.lock().passes > 0)
    }

    /// Runs a job to its end; false if it failed.
    async fn run_job(&self, job: &Arc<AppJob>, halted: watch::Receiver<bool>) -> bool {
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
                // The loop between micro-batches is no task: it only waits. The stream runtime has a thread for such.
                let driver = self
                    .session
                    .executor()
                    .handle(Class::Stream)
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
                    Err(error) => Err(lost(error).into()),
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
        settle(job, ended)
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
            let started = Instant::now();
            let mut pass =
                RunningPass::start(self.session.executor(), &job.name, work, self.run, number);
            let runtime_job = Arc::clone(pass.job());
            job.status.lock().current = Some(Arc::clone(&runtime_job));
            let ended = tokio::select! {
                biased;
                ended = pass.ended() => Some(ended),
                _ = halted.wait_for(|halt| *halt) => None,
            };
            let done = match ended {
                Some(done) => Some(done),
                // Nothing of an unfinished pass is visible, unless its commit has begun.
                None => pass.give_up().await.map(|done| Ok(done?)),
            };
            job.pass_over(&runtime_job);
            let whole = done.is_some();
            if let Some(done) = done {
                let done = done?;
                job.book(&done, started.elapsed());
                self.deliver(job, work, &done);
                self.passed.notify_one();
            }
            let Repeat::Every(every) = work.repeat else {
                return Ok(if whole { End::Finished } else { End::Stopped });
            };
            let now = Instant::now();
            next = (next + every).max(now);
            tokio::select! {
                biased;
                _ = halted.wait_for(|halt| *halt) => return Ok(End::Stopped),
                () = tokio::time::sleep_until(next.into()) => {}
            }
        }
        Ok(End::Stopped)
    }

    /// Hands the rows of a pass to the caller, if they are for them.
    fn deliver(&self, job: &AppJob, work: &BatchJob, pass: &Pass) {
        if !matches!(work.target, Target::Caller) {
            return;
        }
        if work.repeat == Repeat::AtEnd {
            self.find(&pass.batches);
        }
        (self.options.on_rows)(&job.name, &pass.batches);
    }

    /// Takes the columns of a result of one row into the summary.
    fn find(&self, batches: &[RecordBatch]) {
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if rows != 1 {
            return;
        }
        let writer = WriterBuilder::new().with_explicit_nulls(true);
        let mut writer = writer.build::<_, JsonArray>(Vec::new());
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

/// What became of the loop of a stream job that did not come to its end.
fn lost(error: JoinError) -> TaskError {
    match error.try_into_panic() {
        Ok(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            TaskError::Panicked(text.unwrap_or_else(|| "no message".to_owned()))
        }
        Err(_) => TaskError::Shutdown,
    }
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
