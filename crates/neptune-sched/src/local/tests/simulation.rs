//! Simulated time: `slots` cores, tasks with polls and pauses of random length, and a ticker that is never late.
//!
//! Streams win a core over batch tasks, as the operating system sees to it; a batch task that was asked to let
//! go does so at its next yield point.

use std::collections::BTreeMap;

use super::*;

/// A step of simulated time.
const STEP: Nanos = Nanos::from_micros(50);

/// A generator of numbers that depend on a seed only (xorshift64*).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit.max(1)
    }

    fn span(&mut self, (from, to): (u64, u64)) -> Nanos {
        Nanos::from_micros(from + self.below(to - from + 1))
    }
}

/// How tasks of a kind behave; spans in microseconds.
#[derive(Clone, Copy)]
struct Habits {
    /// Work in one poll.
    poll: (u64, u64),
    /// Time between two polls.
    pause: (u64, u64),
    /// Time between two yield points.
    stretch: (u64, u64),
}

struct Body {
    class: Class,
    habits: Habits,
    /// Work left in this poll.
    work: Nanos,
    /// Work until the next yield point.
    stretch: Nanos,
    /// When it wants to be polled next, if it is idle.
    wakes: Option<Nanos>,
    asked: bool,
    core_time: Nanos,
}

struct Machine {
    sched: LocalScheduler<TaskId>,
    random: Random,
    now: Nanos,
    tasks: BTreeMap<TaskId, Body>,
    next_tick: Option<Nanos>,
    /// Core time of each class since the last `take`.
    cores: [Nanos; 2],
    requests: usize,
}

impl Machine {
    fn new(slots: usize, policy: PolicyName, seed: u64) -> Self {
        let mut sched = LocalScheduler::new(SchedSettings::new(slots), policy);
        for class in Class::ALL {
            let spec = JobSpec {
                class,
                priority: 0,
                weight: 1,
                killable: false,
            };
            sched.add_job(JobId(class as u64), spec);
        }
        Self {
            sched,
            random: Random::new(seed),
            now: Nanos(0),
            tasks: BTreeMap::new(),
            next_tick: None,
            cores: [Nanos(0); 2],
            requests: 0,
        }
    }

    fn add(&mut self, class: Class, count: usize, habits: Habits) {
        for _ in 0..count {
            let id = self
                .sched
                .add_task(self.now, JobId(class as u64), |id| id)
                .unwrap();
            let wakes = Some(self.random.span(habits.pause));
            let body = Body {
                class,
                habits,
                work: Nanos(0),
                stretch: Nanos(0),
                wakes,
                asked: false,
                core_time: Nanos(0),
            };
            self.tasks.insert(id, body);
        }
    }

    /// Carries out actions, and whatever follows from them.
    fn obey(&mut self, mut actions: Vec<Action<TaskId>>) {
        while let Some(action) = actions.pop() {
            match action {
                Action::Wake(id) => self.begin(id, &mut actions),
                Action::Preempt(id, _) => {
                    self.requests += 1;
                    self.tasks.get_mut(&id).unwrap().asked = true;
                }
                Action::Kill(..) | Action::Stopped(_) => {}
            }
        }
        self.next_tick = self.sched.next_tick(self.now);
    }

    fn begin(&mut self, id: TaskId, actions: &mut Vec<Action<TaskId>>) {
        let body = self.tasks.get_mut(&id).unwrap();
        body.wakes = None;
        if let Begin::Run { .. } = self.sched.begin(self.now, id, actions)
            && body.work == Nanos(0)
        {
            body.work = self.random.span(body.habits.poll);
            body.stretch = self.random.span(body.habits.stretch);
        }
    }

    fn step(&mut self) {
        self.now = self.now.plus(STEP);
        // Streams first, then batch; the core goes to the next one each step.
        let mut running: Vec<TaskId> = self
            .tasks
            .keys()
            .copied()
            .filter(|id| self.sched.state(*id) == Some(TaskState::Running))
            .collect();
        running.sort_by_key(|id| (self.tasks[id].class, self.tasks[id].core_time));
        for id in running.into_iter().take(self.sched.settings().slots) {
            let body = self.tasks.get_mut(&id).unwrap();
            body.core_time = body.core_time.plus(STEP);
            self.cores[body.class as usize] = self.cores[body.class as usize].plus(STEP);
            body.work = body.work.since(STEP);
            body.stretch = body.stretch.since(STEP);
            if body.stretch == Nanos(0) {
                body.stretch = self.random.span(body.habits.stretch);
                if body.asked || body.work == Nanos(0) {
                    self.pause(id);
                }
            } else if body.work == Nanos(0) {
                self.pause(id);
            }
        }
        if self.next_tick.is_some_and(|at| at <= self.now) {
            let mut actions = Vec::new();
            self.sched.tick(self.now, &mut actions);
            self.obey(actions);
        }
        let woken: Vec<TaskId> = self
            .tasks
            .iter()
            .filter(|(_, body)| body.wakes.is_some_and(|at| at <= self.now))
            .map(|(id, _)| *id)
            .collect();
        for id in woken {
            let mut actions = Vec::new();
            self.begin(id, &mut actions);
            self.obey(actions);
        }
        if self.now.0.is_multiple_of(20 * STEP.0)
            && let Err(broken) = self.sched.check()
        {
            panic!("at {:?}: {broken}", self.now);
        }
    }

    fn pause(&mut self, id: TaskId) {
        let mut actions = Vec::new();
        let end = self.sched.end(self.now, id, &mut actions);
        let body = self.tasks.get_mut(&id).unwrap();
        body.asked = false;
        if end == End::Idle {
            body.wakes = Some(self.now.plus(self.random.span(body.habits.pause)));
        }
        self.obey(actions);
    }

    /// Runs for a second; gives the part of all cores that each class had.
    fn second(&mut self) -> [f64; 2] {
        self.cores = [Nanos(0); 2];
        let until = self.now.plus(Nanos::from_millis(1_000));
        while self.now < until {
            self.step();
        }
        let all = 1e9 * self.sched.settings().slots as f64;
        self.cores.map(|time| time.0 as f64 / all)
    }
}

const SATURATING: Habits = Habits {
    poll: (100, 2_000),
    pause: (0, 0),
    stretch: (50, 300),
};
const CPU_BOUND: Habits = Habits {
    poll: (5_000, 50_000),
    pause: (0, 100),
    stretch: (50, 600),
};
/// Waits for I/O after a tenth of a millisecond of work.
const IO_BOUND: Habits = Habits {
    poll: (100, 100),
    pause: (200, 400),
    stretch: (50, 100),
};

#[test]
fn batch_keeps_its_share_of_each_second_under_streams_that_never_stop() {
    for policy in [PolicyName::Neptune, PolicyName::Priority, PolicyName::Kill] {
        for slots in [1, 2] {
            for seed in 1..=2 {
                let mut machine = Machine::new(slots, policy, seed);
                machine.add(Class::Stream, 3 * slots, SATURATING);
                machine.add(Class::Batch, 2 * slots, CPU_BOUND);
                for second in 0..3 {
                    let [stream, batch] = machine.second();
                    let case = format!("{policy}, {slots} slots, seed {seed}, second {second}");
                    assert!(batch >= 0.05, "{case}: batch had {batch}");
                    // Only a policy that preempts keeps batch to it.
                    let most = if policy == PolicyName::Neptune {
                        0.075
                    } else {
                        1.0
                    };
                    assert!(batch <= most, "{case}: batch had {batch}");
                    assert!(
                        stream + batch > 0.97,
                        "{case}: cores were idle: {stream} + {batch}"
                    );
                }
                let starved = machine
                    .tasks
                    .values()
                    .filter(|b| b.class == Class::Batch && b.core_time == Nanos(0));
                assert_eq!(
                    starved.count(),
                    0,
                    "{policy}, {slots} slots, seed {seed}: a batch task never ran"
                );
            }
        }
    }
}

#[test]
fn batch_that_waits_for_io_keeps_its_share_too() {
    for seed in 1..=4 {
        let mut machine = Machine::new(1, PolicyName::Neptune, seed);
        machine.add(Class::Stream, 3, SATURATING);
        machine.add(Class::Batch, 1, IO_BOUND);
        machine.second();
        let [_, batch] = machine.second();
        assert!(batch >= 0.03, "seed {seed}: batch had {batch}");
    }
}

#[test]
fn streams_below_capacity_are_not_held_up_for_batch() {
    // 90 % of the cores: 1.8 of 2, in bursts.
    let burst = Habits {
        poll: (400, 1_400),
        pause: (50, 150),
        stretch: (50, 300),
    };
    for seed in 1..=4 {
        let mut alone = Machine::new(2, PolicyName::Neptune, seed);
        alone.add(Class::Stream, 2, burst);
        let [load, _] = alone.second();
        assert!(
            load > 0.85 && load < 0.95,
            "seed {seed}: the load is {load}"
        );
        let mut machine = Machine::new(2, PolicyName::Neptune, seed);
        machine.add(Class::Stream, 2, burst);
        machine.add(Class::Batch, 4, CPU_BOUND);
        for second in 0..3 {
            let [stream, batch] = machine.second();
            assert!(
                stream > load - 0.05,
                "seed {seed}, second {second}: streams {stream} of {load}"
            );
            assert!(batch >= 0.05, "seed {seed}, second {second}: batch {batch}");
        }
    }
}

#[test]
fn batch_has_everything_while_no_stream_runs() {
    for policy in PolicyName::ALL {
        let mut machine = Machine::new(2, policy, 1);
        machine.add(Class::Batch, 4, CPU_BOUND);
        let [_, batch] = machine.second();
        let wanted = if policy == PolicyName::Static {
            0.49
        } else {
            0.98
        };
        assert!(batch > wanted, "{policy}: {batch}");
        assert_eq!(machine.requests, 0, "{policy}: nobody was in the way");
    }
}

#[test]
fn tasks_of_a_class_share_its_slots_evenly() {
    let mut machine = Machine::new(2, PolicyName::Neptune, 3);
    machine.add(
        Class::Stream,
        1,
        Habits {
            poll: (500, 500),
            pause: (2_000, 2_000),
            stretch: (100, 100),
        },
    );
    machine.add(Class::Batch, 6, CPU_BOUND);
    for _ in 0..4 {
        machine.second();
    }
    let times = machine
        .tasks
        .values()
        .filter(|b| b.class == Class::Batch)
        .map(|b| b.core_time.0);
    let (least, most) = (times.clone().min().unwrap(), times.max().unwrap());
    assert!(most < 2 * least, "{least} to {most}");
}

/// A process with a quota of one core on two slots stays inside it, and batch is not starved by streams that use
/// nearly all of it.
#[test]
fn a_quota_is_kept_and_batch_still_gets_its_share() {
    for (streams, least) in [(0, 0.45), (1, 0.04)] {
        let mut machine = Machine::new(2, PolicyName::Neptune, 5);
        // Nearly one core of stream work.
        machine.add(
            Class::Stream,
            streams,
            Habits {
                poll: (970, 970),
                pause: (30, 30),
                stretch: (50, 300),
            },
        );
        machine.add(Class::Batch, 4, CPU_BOUND);
        let mut pacer = crate::Pacer::new(1.0, 4.0, machine.now, Nanos(0));
        let mut used = Vec::new();
        let mut total = Nanos(0);
        for step in 0..60_000 {
            machine.cores = [Nanos(0); 2];
            machine.step();
            let spent = Nanos(machine.cores[0].0 + machine.cores[1].0);
            used.push((spent.0, machine.cores[1].0));
            total = total.plus(spent);
            if step % 10 == 0 {
                let may_run = pacer.advance(machine.now, total).may_run;
                let mut actions = Vec::new();
                machine
                    .sched
                    .set_paced_out(machine.now, !may_run, &mut actions);
                machine.sched.tick(machine.now, &mut actions);
                machine.obey(actions);
            }
        }
        let batch =
            used.iter().map(|(_, batch)| batch).sum::<u64>() as f64 / (2.0 * machine.now.0 as f64);
        assert!(batch >= least, "{streams} streams: batch had {batch}");
        if streams == 0 {
            // 100 ms, the kernel's usual period.
            let worst = used
                .windows(2_000)
                .map(|w| w.iter().map(|(all, _)| all).sum::<u64>())
                .max()
                .unwrap();
            assert!(
                worst <= Nanos::from_millis(103).0,
                "{worst} ns of CPU time in 100 ms"
            );
        }
    }
}
