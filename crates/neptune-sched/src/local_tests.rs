use super::*;

type Sched = LocalScheduler<TaskId>;

fn spec(class: Class) -> JobSpec {
    JobSpec { class, priority: 0, weight: 1, killable: true }
}
