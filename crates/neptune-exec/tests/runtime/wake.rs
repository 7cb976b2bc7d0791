//! A message that arrives while a task is suspended is seen when it goes on.

use std::sync::Arc;

use neptune_sched::{Class, PolicyName};
use tokio::sync::mpsc;

use crate::support::{Gauge, counted, executor, is_empty, job, soon, until};

#[tokio::test]
async fn messages_for_a_job_suspended_by_its_user_are_not_lost() {
    let executor = executor(1, PolicyName::Neptune);
    for class in Class::ALL {
        let job = job(&executor, class);
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let (seen, mut sees) = mpsc::unbounded_channel();
        let gauge = Arc::new(Gauge::default());
        let task = executor.spawn(
            &job,
            counted(Arc::clone(&gauge), async move {
                while let Some(message) = receiver.recv().await {
                    seen.send(message).unwrap();
                }
            }),
        );
        for message in 0..50 {
            if message % 2 == 0 {
                soon("suspended", job.suspend()).await;
                let before = gauge.polls();
                sender.send(message).unwrap();
                until("the wake reached the gate", || executor.counts().held == 1).await;
                assert_eq!(gauge.polls(), before);
                assert!(sees.try_recv().is_err());
                job.resume();
            } else {
                sender.send(message).unwrap();
            }
            assert_eq!(soon("the message", sees.recv()).await, Some(message));
        }
        drop(sender);
        soon("the task", task).await.unwrap();
    }
    is_empty(&executor).await;
}

#[tokio::test]
async fn messages_for_a_task_suspended_for_a_stream_are_not_lost() {
    let executor = executor(1, PolicyName::Neptune);
    let (batch, stream) = (job(&executor, Class::Batch), job(&executor, Class::Stream));
    let (sender, mut receiver) = mpsc::unbounded_channel::<u32>();
    let gauge = Arc::new(Gauge::default());
    let before_message = gauge.busy();
    let task = executor.spawn(&batch, async move {
        tokio::select! {
            biased;
            message = receiver.recv() => message,
            _ = before_message => None,
        }
    });
    gauge.works().await;
    let other = Arc::new(Gauge::default());
    let in_the_way = executor.spawn(&stream, other.busy());
    until("suspended", || executor.counts().suspended == 1).await;
    let polls = gauge.polls();
    sender.send(17).unwrap();
    other.works().await;
    assert_eq!(gauge.polls(), polls, "a wake does not resume");
    other.stop();
    soon("the stream", in_the_way).await.unwrap();
    assert_eq!(soon("the task", task).await, Ok(Some(17)));
    is_empty(&executor).await;
}
