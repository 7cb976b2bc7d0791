//! Random mixes of everything leave nothing behind.

use std::sync::Arc;

use datafusion::common::runtime::{JoinSet, SpawnedTask};
use datafusion::execution::memory_pool::MemoryConsumer;
use neptune_exec::yielding::poll_yield;
use neptune_exec::{Executor, Job, JobSettings, TaskHandle};
use neptune_sched::{Class, Nanos, PolicyName};

use crate::history;
use crate::support::{Random, executor, is_empty, seed, soon, spin, until};

const MIXES: usize = 1_000;

/// A task that works, waits, spawns, reserves memory and now and then panics, as a generator says.
fn work(
    executor: &Executor,
    mut random: Random,
    depth: usize,
) -> futures::future::BoxFuture<'static, usize> {
    let pool = executor.memory_pool();
    let executor = executor.clone();
    Box::pin(async move {
        let reservation = MemoryConsumer::new("chaos").register(&pool);
        let mut set = JoinSet::new();
        let mut done = 0;
        for _ in 0..random.below(6) {
            reservation.grow(1 + random.below(10_000));
            match random.below(8) {
                0 => tokio::task::yield_now().await,
                1 => {
                    tokio::time::sleep(std::time::Duration::from_micros(random.below(300) as u64))
                        .await
                }
                2 if depth > 0 => {
                    set.spawn(work(
                        &executor,
                        Random::new(random.below(1 << 30) as u64),
                        depth - 1,
                    ));
                }
                3 if depth > 0 => {
                    let child = work(
                        &executor,
                        Random::new(random.below(1 << 30) as u64),
                        depth - 1,
                    );
                    done += SpawnedTask::spawn(child).await.unwrap_or(0);
                }
                4 => {
                    let pool = Arc::clone(&pool);
                    let closure = SpawnedTask::spawn_blocking(move || {
                        MemoryConsumer::new("closure").register(&pool).grow(77);
                    });
                    closure.await.ok();
                }
                5 if random.below(12) == 0 => std::panic::resume_unwind(Box::new("chaos")),
                _ => {
                    for _ in 0..random.below(10) {
                        spin(std::time::Duration::from_micros(10));
                        std::future::poll_fn(poll_yield).await;
                        done += 1;
                    }
                }
            }
        }
        if random.below(4) == 0 {
            set.detach_all();
        }
        while let Some(more) = set.join_next().await {
            done += more.unwrap_or(0);
        }
        done
    })
}

struct Mix {
    job: Arc<Job>,
    tasks: Vec<TaskHandle<usize>>,
}

#[tokio::test]
async fn a_thousand_mixes_of_suspend_resume_and_cancel_leave_nothing_behind() {
    let seed = seed(0xC0FFEE);
    let mut random = Random::new(seed);
    let executor = executor(2, PolicyName::Neptune);
    let mut mixes: Vec<Mix> = Vec::new();
    for number in 0..MIXES {
        if number % 50 == 0 {
            let policy = PolicyName::ALL[random.below(6)];
            let (linger, max) = (random.below(500) as u64, random.below(5) as u32);
            executor.configure(|name, sched| {
                *name = policy;
                sched.linger = Nanos::from_micros(linger);
                sched.max_suspensions = max;
            });
        }
        let settings = JobSettings {
            priority: random.below(3) as i32,
            killable: random.below(2) == 0,
            ..JobSettings::new(format!("mix {number}"), Class::ALL[random.below(2)])
        };
        let job = executor.job(&settings);
        let tasks = (0..=random.below(2))
            .map(|_| {
                executor.spawn(
                    &job,
                    work(&executor, Random::new(random.below(1 << 30) as u64), 2),
                )
            })
            .collect();
        mixes.push(Mix { job, tasks });
        for _ in 0..random.below(8) {
            let chosen = random.below(mixes.len());
            let mix = &mut mixes[chosen];
            match random.below(7) {
                0 | 1 => soon("suspended", mix.job.suspend()).await,
                2 | 3 => {
                    mix.job.resume();
                }
                4 if random.below(3) == 0 => mix.job.cancel(),
                5 if random.below(3) == 0 => mix.tasks.clear(),
                _ => tokio::task::yield_now().await,
            }
        }
        while mixes.len() > 8 {
            let mix = mixes.swap_remove(random.below(mixes.len()));
            end(mix, &mut random).await;
        }
    }
    for mix in mixes {
        end(mix, &mut random).await;
    }
    is_empty(&executor).await;
    until("the jobs are gone", || executor.jobs().is_empty()).await;
    let events = executor.events();
    if events.len() < 60_000 {
        history::check(&events);
    }
}

/// Ends a job in one of the ways there are.
async fn end(mix: Mix, random: &mut Random) {
    let Mix { job, tasks } = mix;
    match random.below(4) {
        0 => job.cancel(),
        1 => drop(tasks),
        2 => {
            // Cancelled while held.
            job.suspend().await;
            job.cancel();
        }
        _ => {
            job.resume();
            for task in tasks {
                // Its result depends on who panicked or was killed; that it comes is what counts.
                soon("a task", task).await.ok();
            }
            job.cancel();
        }
    }
    job.resume();
    soon("the end of a job", job.drained()).await;
    assert_eq!(job.memory(), 0, "{job:?}");
}
