//! Random sequences of events: the invariants hold after each, and nothing is left when all tasks are gone.

use proptest::prelude::*;

use super::*;

const JOBS: u64 = 5;

#[derive(Debug, Clone)]
enum Event {
    Add(u64),
    Begin(usize),
    Wake(usize),
    End(usize),
    Remove(usize),
    Hold(u64),
    Resume(u64),
    Priority(u64, i32),
    Killable(u64, bool),
    Tick,
    Advance(u64),
    Paced(bool),
    Policy(PolicyName),
    Settings {
        linger_us: u64,
        max_suspensions: u32,
        grace_us: u64,
        min_share: f64,
        stream_slots: usize,
    },
    /// Carries out what was decided: the granted begin, the asked pause, the killed end.
    Obey,
}

fn event() -> impl Strategy<Value = Event> {
    let job = 0..JOBS;
    prop_oneof![
        6 => job.clone().prop_map(Event::Add),
        12 => any::<prop::sample::Index>().prop_map(|i| Event::Begin(i.index(1 << 16))),
        8 => any::<prop::sample::Index>().prop_map(|i| Event::Wake(i.index(1 << 16))),
        8 => any::<prop::sample::Index>().prop_map(|i| Event::End(i.index(1 << 16))),
        4 => any::<prop::sample::Index>().prop_map(|i| Event::Remove(i.index(1 << 16))),
        2 => job.clone().prop_map(Event::Hold),
        3 => job.clone().prop_map(Event::Resume),
        1 => (job.clone(), -2..3).prop_map(|(job, priority)| Event::Priority(job, priority)),
        1 => (job, any::<bool>()).prop_map(|(job, killable)| Event::Killable(job, killable)),
        6 => Just(Event::Tick),
        6 => (0_u64..30_000).prop_map(Event::Advance),
        2 => any::<bool>().prop_map(Event::Paced),
        2 => prop::sample::select(PolicyName::ALL.to_vec()).prop_map(Event::Policy),
        1 => (0_u64..1_000, 0_u32..4, 0_u64..5_000, 0.0..0.3, 1_usize..4).prop_map(
            |(linger_us, max_suspensions, grace_us, min_share, stream_slots)| Event::Settings {
                linger_us, max_suspensions, grace_us, min_share, stream_slots,
            }
        ),
        12 => Just(Event::Obey),
    ]
}

struct World {
    sched: LocalScheduler<TaskId>,
    now: Nanos,
    tasks: Vec<TaskId>,
    obligations: Vec<Action<TaskId>>,
}

impl World {
    fn new(slots: usize, policy: PolicyName) -> Self {
        let mut sched = LocalScheduler::new(SchedSettings::new(slots), policy);
        for job in 0..JOBS {
            let class = if job < 2 { Class::Stream } else { Class::Batch };
            let priority = (job % 3) as i32;
            let spec = JobSpec {
                class,
                priority,
                weight: 1 + job as u32,
                killable: job != 3,
            };
            sched.add_job(JobId(job), spec);
        }
        Self {
            sched,
            now: Nanos(0),
            tasks: Vec::new(),
            obligations: Vec::new(),
        }
    }

    fn pick(&self, index: usize) -> Option<TaskId> {
        if self.tasks.is_empty() {
            None
        } else {
            Some(self.tasks[index % self.tasks.len()])
        }
    }

    fn play(&mut self, event: &Event) {
        let (now, mut actions) = (self.now, Vec::new());
        match *event {
            Event::Add(job) => self
                .tasks
                .extend(self.sched.add_task(now, JobId(job), |id| id)),
            Event::Begin(index) => {
                if let Some(task) = self.pick(index) {
                    self.sched.begin(now, task, &mut actions);
                }
            }
            Event::Wake(index) => {
                if let Some(task) = self.pick(index) {
                    self.sched.wake(now, task, &mut actions);
                }
            }
            Event::End(index) => {
                if let Some(task) = self.pick(index) {
                    self.sched.end(now, task, &mut actions);
                }
            }
            Event::Remove(index) => {
                if let Some(task) = self.pick(index) {
                    self.sched.remove(now, task, &mut actions);
                    self.tasks.retain(|t| *t != task);
                }
            }
            Event::Hold(job) => self.sched.hold_job(now, JobId(job), &mut actions),
            Event::Resume(job) => {
                self.sched.resume_job(now, JobId(job), &mut actions);
            }
            Event::Priority(job, priority) => {
                self.sched
                    .update_job(now, JobId(job), Some(priority), None, &mut actions);
            }
            Event::Killable(job, killable) => {
                self.sched
                    .update_job(now, JobId(job), None, Some(killable), &mut actions);
            }
            Event::Tick => self.sched.tick(now, &mut actions),
            Event::Advance(us) => self.now = now.plus(Nanos::from_micros(us)),
            Event::Paced(out) => self.sched.set_paced_out(now, out, &mut actions),
            Event::Policy(policy) => {
                let settings = self.sched.settings().clone();
                self.sched.configure(now, policy, settings, &mut actions);
            }
            Event::Settings {
                linger_us,
                max_suspensions,
                grace_us,
                min_share,
                stream_slots,
            } => {
                let settings = SchedSettings {
                    slots: self.sched.settings().slots,
                    static_stream_slots: stream_slots,
                    linger: Nanos::from_micros(linger_us),
                    max_suspensions,
                    grace: Nanos::from_micros(grace_us),
                    batch_min_share: min_share,
                };
                self.sched
                    .configure(now, self.sched.policy(), settings, &mut actions);
            }
            Event::Obey => match self.obligations.pop() {
                Some(Action::Wake(task)) => {
                    self.sched.begin(now, task, &mut actions);
                }
                Some(Action::Preempt(task, _)) => {
                    self.sched.end(now, task, &mut actions);
                }
                Some(Action::Kill(task, _)) => {
                    self.sched.remove(now, task, &mut actions);
                    self.tasks.retain(|t| *t != task);
                }
                Some(Action::Stopped(_)) | None => {}
            },
        }
        self.obligations.extend(actions);
    }
}

proptest! {
    #[test]
    fn any_sequence_keeps_the_invariants_and_leaves_nothing_behind(
        slots in 1_usize..5,
        policy in prop::sample::select(PolicyName::ALL.to_vec()),
        events in prop::collection::vec(event(), 1..160),
    ) {
        let mut world = World::new(slots, policy);
        for (number, event) in events.iter().enumerate() {
            world.play(event);
            if let Err(broken) = world.sched.check() {
                panic!("after event {number}, {event:?}: {broken}");
            }
        }
        while let Some(task) = world.tasks.pop() {
            world.sched.remove(world.now, task, &mut Vec::new());
            if let Err(broken) = world.sched.check() {
                panic!("after the removal of {task}: {broken}");
            }
        }
        let slots = world.sched.settings().slots;
        let left = world.sched.counts();
        prop_assert_eq!(SlotCounts { lingering: 0, ..left }, SlotCounts { slots, ..SlotCounts::default() });
        for job in 0..JOBS {
            world.sched.end_job(JobId(job));
        }
        prop_assert!(world.sched.places.is_empty() && world.sched.jobs.iter().all(Option::is_none));
    }

    /// A scheduler whose decisions are carried out gives every task its turn, whatever happened before.
    #[test]
    fn every_task_runs_in_the_end(
        slots in 1_usize..4,
        policy in prop::sample::select(PolicyName::ALL.to_vec()),
        events in prop::collection::vec(event(), 1..120),
    ) {
        let mut world = World::new(slots, policy);
        for event in &events {
            world.play(event);
        }
        for job in 0..JOBS {
            world.play(&Event::Resume(job));
        }
        world.play(&Event::Paced(false));
        // Whoever wants to run and may, runs to its end; whoever may not has to be woken.
        let mut ready = world.tasks.clone();
        ready.extend(world.tasks.iter().copied());
        let mut idle_rounds = 0;
        while !world.tasks.is_empty() {
            let Some(task) = ready.pop() else {
                // Only time can help: a pause of streams, or nothing.
                idle_rounds += 1;
                prop_assert!(idle_rounds < 5, "stuck: {:?}", world.sched);
                let mut actions = Vec::new();
                world.now = world.sched.next_tick(world.now).unwrap_or(world.now).max(world.now);
                world.sched.tick(world.now, &mut actions);
                ready.extend(woken(actions));
                continue;
            };
            let mut actions = Vec::new();
            if let Begin::Run { .. } = world.sched.begin(world.now, task, &mut actions)
                && world.sched.state(task).is_some()
            {
                idle_rounds = 0;
                world.sched.remove(world.now, task, &mut actions);
                world.tasks.retain(|t| *t != task);
            }
            ready.extend(woken(actions));
        }
    }
}

fn woken(actions: Vec<Action<TaskId>>) -> impl Iterator<Item = TaskId> {
    actions.into_iter().filter_map(|action| match action {
        Action::Wake(task) => Some(task),
        _ => None,
    })
}
