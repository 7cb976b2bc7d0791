//! One scene for each race written down in the module of [`neptune_sched::TaskState`], and a random one.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use futures::channel::mpsc;
use neptune_sched::{Class, PolicyName};
use shuttle::future::block_on;
use shuttle::{rand, thread};

use crate::stage::{Stage, check, pause, work};
use crate::task::Interrupted;

type Polls = Arc<AtomicUsize>;

#[test]
fn suspend_against_finish() {
    check(|| {
        let stage = Stage::new(1, PolicyName::Neptune);
        let job = stage.job(Class::Batch);
        let polls = Polls::default();
        let tasks = [1, 2].map(|rounds| stage.spawn(&job, work(rounds, Arc::clone(&polls))));
        block_on(job.suspend());
        let before = polls.load(Ordering::SeqCst);
        for _ in 0..3 {
            thread::yield_now();
        }
        assert_eq!(
            polls.load(Ordering::SeqCst),
            before,
            "a suspended job was polled"
        );
        job.resume();
        for task in tasks {
            assert_eq!(block_on(task).unwrap(), Some(Ok(())));
        }
        stage.finish(&[&job]);
    });
}

#[test]
fn resume_against_suspend() {
    check(|| {
        let stage = Stage::new(1, PolicyName::Neptune);
        let job = stage.job(Class::Batch);
        let task = stage.spawn(&job, work(4, Polls::default()));
        let suspender = {
            let job = Arc::clone(&job);
            thread::spawn(move || {
                block_on(job.suspend());
                block_on(job.suspend());
            })
        };
        let resumer = {
            let job = Arc::clone(&job);
            thread::spawn(move || {
                job.resume();
                block_on(job.resume_and_wait());
            })
        };
        suspender.join().unwrap();
        if !job.is_held() {
            // The resume came last: nobody else has to let the job go on.
            assert_eq!(block_on(task).unwrap(), Some(Ok(())));
            resumer.join().unwrap();
        } else {
            resumer.join().unwrap();
            job.resume();
            assert_eq!(block_on(task).unwrap(), Some(Ok(())));
        }
        stage.finish(&[&job]);
    });
}

#[test]
fn a_stream_comes_and_goes_beside_its_victims() {
    check(|| {
        let stage = Stage::new(1, PolicyName::Neptune);
        let (batch, stream) = (stage.job(Class::Batch), stage.job(Class::Stream));
        let victims = [3, 2].map(|rounds| stage.spawn(&batch, work(rounds, Polls::default())));
        let streams = [1, 2].map(|_| {
            stage.spawn(&stream, async {
                work(1, Polls::default()).await;
                pause().await;
                work(1, Polls::default()).await;
            })
        });
        for task in victims.into_iter().chain(streams) {
            assert_eq!(block_on(task).unwrap(), Some(Ok(())));
        }
        stage.finish(&[&batch, &stream]);
    });
}

#[test]
fn cancel_in_any_state() {
    check(|| {
        let stage = Stage::new(1, PolicyName::Neptune);
        let (batch, stream) = (stage.job(Class::Batch), stage.job(Class::Stream));
        let victims = [3, 2].map(|rounds| stage.spawn(&batch, work(rounds, Polls::default())));
        let beside = stage.spawn(&stream, work(2, Polls::default()));
        let canceller = {
            let batch = Arc::clone(&batch);
            thread::spawn(move || batch.cancel())
        };
        block_on(batch.suspend());
        canceller.join().unwrap();
        for task in victims {
            assert!(matches!(
                block_on(task).unwrap(),
                Some(Ok(()) | Err(Interrupted))
            ));
        }
        assert_eq!(block_on(beside).unwrap(), Some(Ok(())));
        stage.finish(&[&batch, &stream]);
    });
}

#[test]
fn wake_while_waiting_suspended_or_held() {
    check(|| {
        let stage = Stage::new(1, PolicyName::Neptune);
        let (batch, stream) = (stage.job(Class::Batch), stage.job(Class::Stream));
        let (sender, mut receiver) = mpsc::unbounded();
        let reader = stage.spawn(&batch, async move {
            let mut sum = 0;
            while let Some(number) = receiver.next().await {
                work(1, Polls::default()).await;
                sum += number;
            }
            sum
        });
        let in_the_way = stage.spawn(&stream, work(2, Polls::default()));
        let user = {
            let batch = Arc::clone(&batch);
            thread::spawn(move || {
                block_on(batch.suspend());
                batch.resume();
            })
        };
        for number in [1, 2, 4] {
            sender.unbounded_send(number).unwrap();
        }
        drop(sender);
        assert_eq!(block_on(reader).unwrap(), Some(Ok(7)));
        assert_eq!(block_on(in_the_way).unwrap(), Some(Ok(())));
        user.join().unwrap();
        stage.finish(&[&batch, &stream]);
    });
}

#[test]
fn a_grant_to_a_task_that_never_comes() {
    check(|| {
        let stage = Stage::new(1, PolicyName::Neptune);
        let job = stage.job(Class::Batch);
        let [first, gone, last] =
            [2, 2, 2].map(|rounds| stage.spawn(&job, work(rounds, Polls::default())));
        // Its owner gives it up, perhaps just when it gets the slot.
        gone.abort();
        for task in [first, last] {
            assert_eq!(block_on(task).unwrap(), Some(Ok(())));
        }
        block_on(gone).ok();
        stage.finish(&[&job]);
    });
}

/// Unwinds when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        resume_unwind(Box::new("dropped"));
    }
}

#[test]
fn a_panic_inside_a_poll_or_a_drop() {
    check(|| {
        let stage = Stage::new(1, PolicyName::Neptune);
        let (batch, stream) = (stage.job(Class::Batch), stage.job(Class::Stream));
        let panics = stage.spawn(&batch, async {
            work(1, Polls::default()).await;
            resume_unwind(Box::new("polled"));
        });
        let bomb = stage.spawn(&batch, async {
            let _bomb = Bomb;
            work(2, Polls::default()).await;
        });
        let others = [&batch, &stream].map(|job| stage.spawn(job, work(2, Polls::default())));
        let result: Option<Result<(), Interrupted>> = block_on(panics).unwrap();
        assert_eq!(result, None);
        assert_eq!(block_on(bomb).unwrap(), None);
        for task in others {
            assert_eq!(block_on(task).unwrap(), Some(Ok(())));
        }
        stage.finish(&[&batch, &stream]);
    });
}

#[test]
fn shutdown_at_any_time() {
    check(|| {
        let stage = Stage::new(1, PolicyName::Neptune);
        let (batch, stream) = (stage.job(Class::Batch), stage.job(Class::Stream));
        let held = stage.job(Class::Batch);
        let user = {
            let held = Arc::clone(&held);
            thread::spawn(move || block_on(held.suspend()))
        };
        let tasks = [(&batch, 3), (&held, 2), (&stream, 2)]
            .map(|(job, rounds)| stage.spawn(job, work(rounds, Polls::default())));
        stage.node.stop();
        // As a runtime does that shuts down: it drops what does not end by itself.
        for task in &tasks {
            task.abort();
        }
        for task in tasks {
            block_on(task).ok();
        }
        user.join().unwrap();
        stage.finish(&[&batch, &held, &stream]);
    });
}

/// Only the ticker ends a stream's pause, and only if it learns of it.
#[test]
fn a_pause_of_a_stream_ends_in_time() {
    check(|| {
        let stage = Stage::new(1, PolicyName::Neptune);
        let (batch, stream) = (stage.job(Class::Batch), stage.job(Class::Stream));
        let (sender, mut receiver) = mpsc::unbounded::<()>();
        let pausing = stage.spawn(&stream, async move {
            work(1, Polls::default()).await;
            receiver.next().await;
        });
        let waiting = stage.spawn(&batch, work(2, Polls::default()));
        // The stream goes on only after the batch task, which needs the slot that is kept for the stream.
        assert_eq!(block_on(waiting).unwrap(), Some(Ok(())));
        drop(sender);
        assert_eq!(block_on(pausing).unwrap(), Some(Ok(())));
        stage.finish(&[&batch, &stream]);
    });
}

#[test]
fn a_kill_ends_one_attempt() {
    check(|| {
        let stage = Stage::new(2, PolicyName::Kill);
        let (batch, stream) = (stage.job(Class::Batch), stage.job(Class::Stream));
        let victims = [3, 3].map(|rounds| stage.spawn(&batch, work(rounds, Polls::default())));
        let streams = [1, 1].map(|rounds| stage.spawn(&stream, work(rounds, Polls::default())));
        let mut killed = 0;
        for task in victims {
            killed += u32::from(block_on(task).unwrap() == Some(Err(Interrupted)));
        }
        for task in streams {
            assert_eq!(block_on(task).unwrap(), Some(Ok(())));
        }
        assert!(batch.attempt() <= 1, "killed {} times", batch.attempt());
        assert!(killed == 0 || batch.attempt() == 1);
        // The owner runs it again.
        let again = stage.spawn(&batch, work(1, Polls::default()));
        assert_eq!(block_on(again).unwrap(), Some(Ok(())));
        stage.finish(&[&batch, &stream]);
    });
}

#[test]
fn random_users() {
    check(|| {
        use shuttle::rand::Rng;
        let mut random = rand::thread_rng();
        let policy = PolicyName::ALL[random.gen_range(0..PolicyName::ALL.len())];
        let stage = Stage::new(random.gen_range(1..3), policy);
        let jobs = [Class::Batch, Class::Batch, Class::Stream].map(|class| stage.job(class));
        let tasks: Vec<_> = (0..4)
            .map(|number| {
                let rounds = random.gen_range(1..4);
                stage.spawn(&jobs[number % 3], async move {
                    work(rounds, Polls::default()).await;
                    pause().await;
                    work(rounds, Polls::default()).await;
                })
            })
            .collect();
        let users: Vec<_> = (0..2)
            .map(|_| {
                let jobs = jobs.clone();
                thread::spawn(move || {
                    let mut random = rand::thread_rng();
                    for _ in 0..3 {
                        let job = &jobs[random.gen_range(0..3)];
                        match random.gen_range(0..6) {
                            0 | 1 => block_on(job.suspend()),
                            2 | 3 => drop(job.resume()),
                            4 => job.cancel(),
                            _ => job.set_killable(false),
                        }
                    }
                })
            })
            .collect();
        if random.gen_range(0..2) == 0 {
            stage
                .node
                .configure(|policy, _| *policy = PolicyName::Neptune);
        }
        tasks[random.gen_range(0..4)].abort();
        for user in users {
            user.join().unwrap();
        }
        for job in &jobs {
            job.resume();
        }
        for task in tasks {
            block_on(task).ok();
        }
        stage.finish(&[&jobs[0], &jobs[1], &jobs[2]]);
    });
}
