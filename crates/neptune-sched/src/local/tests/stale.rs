//! Late messages about tasks and jobs that are over.

use super::*;

#[test]
fn messages_about_ended_tasks_are_ignored() {
    let mut sched = LocalScheduler::new(SchedSettings::new(1), PolicyName::Neptune);
    let mut actions = Vec::new();
    let now = Nanos(0);
    sched.add_job(JobId(1), super::script::spec("batch", &[]));
    let old = sched.add_task(now, JobId(1), |id| id).unwrap();
    assert_eq!(
        sched.begin(now, old, &mut actions),
        Begin::Run {
            resumed_after: None
        }
    );
    sched.remove(now, old, &mut actions);
    // The place is used again, by another task.
    let new = sched.add_task(now, JobId(1), |id| id).unwrap();
    assert_eq!(
        sched.begin(now, new, &mut actions),
        Begin::Run {
            resumed_after: None
        }
    );
    let before = sched.counts();
    sched.remove(now, old, &mut actions);
    assert_eq!(sched.end(now, old, &mut actions), End::Idle);
    assert_eq!(sched.begin(now, old, &mut actions), Begin::Wait);
    assert_eq!(sched.state(old), None);
    assert_eq!(sched.counts(), before);
    assert_eq!(sched.state(new), Some(TaskState::Running));
    assert_eq!(actions, []);
}

#[test]
fn unknown_jobs_and_ended_ones_take_no_tasks() {
    let mut sched = LocalScheduler::new(SchedSettings::new(1), PolicyName::Neptune);
    let mut actions = Vec::new();
    let now = Nanos(0);
    assert_eq!(sched.add_task(now, JobId(1), |id| id), None);
    sched.hold_job(now, JobId(1), &mut actions);
    assert_eq!(sched.resume_job(now, JobId(1), &mut actions), 0);
    sched.end_job(JobId(1));
    assert!(sched.handles(JobId(1)).is_empty() && sched.polled(JobId(1)).next().is_none());
    sched.add_job(JobId(1), super::script::spec("batch", &[]));
    let task = sched.add_task(now, JobId(1), |id| id).unwrap();
    sched.end_job(JobId(1));
    assert_eq!(
        sched.add_task(now, JobId(1), |id| id),
        None,
        "the job is over"
    );
    assert_eq!(
        sched.handles(JobId(1)),
        [task],
        "and is forgotten with its last task"
    );
    sched.remove(now, task, &mut actions);
    assert!(sched.handles(JobId(1)).is_empty());
    assert_eq!(
        sched.counts(),
        SlotCounts {
            slots: 1,
            ..SlotCounts::default()
        }
    );
}
