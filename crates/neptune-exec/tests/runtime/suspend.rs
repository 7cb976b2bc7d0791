//! A job that its user suspended is not polled, and goes on where it was.

use std::sync::Arc;

use datafusion::common::runtime::{JoinSet, SpawnedTask};
use neptune_exec::{Executor, Job, TaskHandle};
use neptune_sched::{Class, PolicyName};

use crate::support::{Gauge, executor, is_empty, job, soon, until};

/// A root that waits for busy children and grandchildren.
fn family(executor: &Executor, job: &Arc<Job>, gauges: &[Arc<Gauge>; 3]) -> TaskHandle<usize> {
    let [a, b, c] = gauges.each_ref().map(Gauge::busy);
    executor.spawn(job, async move {
        let child = SpawnedTask::spawn(a);
        let mut set = JoinSet::new();
        set.spawn(b);
        set.spawn(async move { SpawnedTask::spawn(c).await.unwrap() });
        let mut rounds = child.await.unwrap();
        while let Some(more) = set.join_next().await {
            rounds += more.unwrap();
        }
        rounds
    })
}

#[tokio::test]
async fn no_future_of_a_suspended_job_is_polled() {
    for policy in PolicyName::ALL {
        let executor = executor(2, policy);
        for class in Class::ALL {
            let gauges: [Arc<Gauge>; 3] = Default::default();
            let seen = || {
                gauges
                    .each_ref()
                    .map(|gauge| (gauge.polls(), gauge.rounds()))
            };
            let job = job(&executor, class);
            let root = family(&executor, &job, &gauges);
            for _ in 0..5 {
                // Nobody yields unasked: not all of the three work at a time, and it matters not which do.
                let before = seen();
                until("work", || seen() != before).await;
                soon("suspended", job.suspend()).await;
                assert!(job.is_held());
                let before = seen();
                // Others run meanwhile, as many as there are slots.
                for class in Class::ALL {
                    let other = self::job(&executor, class);
                    let others = [0, 1]
                        .map(|_| executor.spawn(&other, async { tokio::task::yield_now().await }));
                    for task in others {
                        soon("another job's task", task).await.unwrap();
                    }
                }
                assert_eq!(seen(), before, "{policy}, {class}");
                assert!(soon("resumed", job.resume_and_wait()).await);
                assert!(!job.is_held());
            }
            gauges.iter().for_each(|gauge| gauge.stop());
            assert!(soon("the root", root).await.unwrap() > 0);
            soon("the end", job.drained()).await;
        }
        is_empty(&executor).await;
    }
}

#[tokio::test]
async fn a_job_suspended_before_it_begins_waits_for_its_resume() {
    let executor = executor(2, PolicyName::Neptune);
    for class in Class::ALL {
        let job = job(&executor, class);
        soon("suspended", job.suspend()).await;
        let gauge = Arc::new(Gauge::default());
        gauge.stop();
        let task = executor.spawn(&job, gauge.busy());
        until("the task is held", || executor.counts().held == 1).await;
        assert_eq!(gauge.polls(), 0);
        assert_eq!(job.resume(), 1);
        soon("the task", task).await.unwrap();
        assert_eq!(gauge.polls(), 1);
    }
    is_empty(&executor).await;
}

#[tokio::test]
async fn suspending_twice_and_resuming_what_runs_does_no_harm() {
    let executor = executor(1, PolicyName::Neptune);
    let job = job(&executor, Class::Batch);
    assert_eq!(job.resume(), 0);
    let gauge = Arc::new(Gauge::default());
    let task = executor.spawn(&job, gauge.busy());
    gauge.works().await;
    tokio::join!(job.suspend(), job.suspend(), job.suspend());
    assert_eq!(job.suspensions().count, 1);
    job.resume();
    job.resume();
    gauge.works().await;
    gauge.stop();
    soon("the task", task).await.unwrap();
    // And a job without tasks.
    soon("suspended", job.suspend()).await;
    assert!(!soon("resumed", job.resume_and_wait()).await);
    is_empty(&executor).await;
}

#[tokio::test]
async fn concurrent_suspends_and_resumes_leave_flag_and_tasks_in_agreement() {
    let executor = executor(2, PolicyName::Neptune);
    let job = job(&executor, Class::Batch);
    let gauge = Arc::new(Gauge::default());
    let task = executor.spawn(&job, gauge.busy());
    let mut callers = Vec::new();
    for number in 0..4 {
        let job = Arc::clone(&job);
        callers.push(executor.handle(Class::Stream).spawn(async move {
            for round in 0..200 {
                if (round + number) % 2 == 0 {
                    job.suspend().await;
                } else {
                    job.resume();
                }
                tokio::task::yield_now().await;
            }
        }));
    }
    // A suspend that was overtaken by a resume returns, too.
    for caller in callers {
        soon("a caller", caller).await.unwrap();
    }
    if job.is_held() {
        until("the task is held", || executor.counts().held == 1).await;
    } else {
        gauge.works().await;
    }
    job.resume();
    gauge.works().await;
    gauge.stop();
    soon("the task", task).await.unwrap();
    is_empty(&executor).await;
}
