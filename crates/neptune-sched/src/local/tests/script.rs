//! A small language for what happens to a scheduler, and what it should answer.
//!
//! One event a line, and after `=>` what follows from it: the answer, then the actions, joined by `, `. Tasks are
//! named `job.number` and exist from their first mention.
//!
//! ```text
//! job b batch priority=1      a job; also weight=2, unkillable
//! b.1 b.2 begin               the runtime is about to poll them      => runs | waits
//! b.1 wakes                   something woke it               => polls | queued
//! b.1 pauses                  its poll ended with Pending            => idle | suspended after 1ms
//! b.1 ends                    its poll ended with Ready
//! hold b / resume b           by its user
//! priority b 7                changed by its user
//! +3ms / tick                 time passes; the ticker looks
//! policy kill / set grace 1ms / paced out / paced in
//! states                      => b.1 running, b.2 waiting
//! next tick                   => in 2ms | none
//! ```
//! A line without `=>` must not answer with anything but `runs`, `idle` or nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::*;

pub(super) struct World {
    pub(super) sched: LocalScheduler<TaskId>,
    pub(super) now: Nanos,
    jobs: BTreeMap<String, JobId>,
    tasks: BTreeMap<String, TaskId>,
}

/// Plays a script; panics at the first line that answers differently.
pub(super) fn play(slots: usize, policy: PolicyName, script: &str) {
    let mut world = World::new(slots, policy);
    for (number, line) in script.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (event, expected) = match line.split_once("=>") {
            Some((event, expected)) => (event.trim(), Some(expected.trim())),
            None => (line, None),
        };
        let answer = world.play(event);
        let ordinary = |answer: &str| {
            answer
                .split(", ")
                .all(|a| matches!(a, "runs" | "idle" | ""))
        };
        match expected {
            Some(expected) => {
                assert_eq!(answer, expected, "{policy}, line {}: {event}", number + 1)
            }
            None => assert!(
                ordinary(&answer),
                "{policy}, line {}: {event} => {answer}",
                number + 1
            ),
        }
        if let Err(broken) = world.sched.check() {
            panic!("{policy}, line {}: {event}: {broken}", number + 1);
        }
    }
}

fn span(text: &str) -> Nanos {
    let split = text
        .find(|c: char| c.is_alphabetic())
        .expect("a time has a unit");
    let number: u64 = text[..split].parse().expect("a time is a whole number");
    match &text[split..] {
        "ms" => Nanos::from_millis(number),
        "us" => Nanos::from_micros(number),
        unit => panic!("unit {unit}"),
    }
}

fn shown(span: Nanos) -> String {
    if span.0.is_multiple_of(1_000_000) {
        format!("{}ms", span.0 / 1_000_000)
    } else {
        format!("{}us", span.0 / 1_000)
    }
}

impl World {
    fn new(slots: usize, policy: PolicyName) -> Self {
        let sched = LocalScheduler::new(SchedSettings::new(slots), policy);
        Self {
            sched,
            now: Nanos(0),
            jobs: BTreeMap::new(),
            tasks: BTreeMap::new(),
        }
    }

    fn name(&self, id: TaskId) -> &str {
        self.tasks
            .iter()
            .find(|(_, task)| **task == id)
            .map_or("?", |(name, _)| name)
    }

    fn task(&mut self, name: &str) -> TaskId {
        if let Some(id) = self.tasks.get(name) {
            return *id;
        }
        let (job, _) = name.split_once('.').expect("tasks are named job.number");
        let id = self
            .sched
            .add_task(self.now, self.jobs[job], |id| id)
            .expect("the job exists");
        self.tasks.insert(name.to_owned(), id);
        id
    }

    fn play(&mut self, event: &str) -> String {
        let words: Vec<&str> = event.split_whitespace().collect();
        let now = self.now;
        let mut actions = Vec::new();
        let mut answers = Vec::new();
        match words.as_slice() {
            ["job", name, class, more @ ..] => {
                let id = JobId(self.jobs.len() as u64);
                self.jobs.insert((*name).to_owned(), id);
                self.sched.add_job(id, spec(class, more));
            }
            ["hold", job] => self.sched.hold_job(now, self.jobs[*job], &mut actions),
            ["resume", job] => {
                self.sched.resume_job(now, self.jobs[*job], &mut actions);
            }
            ["priority", job, priority] => {
                let priority = priority.parse().expect("a number");
                self.sched
                    .update_job(now, self.jobs[*job], Some(priority), None, &mut actions);
            }
            ["tick"] => self.sched.tick(now, &mut actions),
            ["paced", how] => self.sched.set_paced_out(now, *how == "out", &mut actions),
            ["policy", policy] => {
                let settings = self.sched.settings().clone();
                self.sched.configure(
                    now,
                    policy.parse().expect("a policy"),
                    settings,
                    &mut actions,
                );
            }
            ["set", key, value] => {
                let mut settings = self.sched.settings().clone();
                match *key {
                    "grace" => settings.grace = span(value),
                    "linger" => settings.linger = span(value),
                    "max_suspensions" => {
                        settings.max_suspensions = value.parse().expect("a number")
                    }
                    "stream_slots" => {
                        settings.static_stream_slots = value.parse().expect("a number")
                    }
                    key => panic!("setting {key}"),
                }
                self.sched
                    .configure(now, self.sched.policy(), settings, &mut actions);
            }
            ["next", "tick"] => answers.push(match self.sched.next_tick(now) {
                Some(at) => format!("in {}", shown(at.since(now))),
                None => "none".to_owned(),
            }),
            ["states"] => answers.push(self.states()),
            [time] if time.starts_with('+') => self.now = now.plus(span(&time[1..])),
            [tasks @ .., verb] => {
                for name in tasks {
                    let id = self.task(name);
                    answers.extend(self.poll(name, id, verb, &mut actions));
                    answers.extend(actions.drain(..).map(|action| self.shown(&action)));
                }
            }
            [] => {}
        }
        answers.extend(actions.into_iter().map(|action| self.shown(&action)));
        answers.join(", ")
    }

    fn poll(
        &mut self,
        name: &str,
        id: TaskId,
        verb: &str,
        actions: &mut Vec<Action<TaskId>>,
    ) -> Option<String> {
        match verb {
            "begin" | "begins" => Some(match self.sched.begin(self.now, id, actions) {
                Begin::Run {
                    resumed_after: None,
                } => "runs".to_owned(),
                Begin::Run {
                    resumed_after: Some(after),
                } => format!("runs resumed after {}", shown(after)),
                Begin::Wait => "waits".to_owned(),
            }),
            "wake" | "wakes" => Some(match self.sched.wake(self.now, id, actions) {
                Woken::Poll => "polls".to_owned(),
                Woken::Queued => "queued".to_owned(),
            }),
            "pause" | "pauses" => Some(match self.sched.end(self.now, id, actions) {
                End::Idle => "idle".to_owned(),
                End::Suspended { after, .. } => format!("suspended after {}", shown(after)),
            }),
            "end" | "ends" => {
                self.sched.remove(self.now, id, actions);
                self.tasks.remove(name);
                None
            }
            verb => panic!("unknown event '{verb}'"),
        }
    }

    fn shown(&self, action: &Action<TaskId>) -> String {
        match action {
            Action::Preempt(id, cause) => {
                format!("preempt {} for {}", self.name(*id), cause.name())
            }
            Action::Kill(id, cause) => format!("kill {} for {}", self.name(*id), cause.name()),
            Action::Wake(id) => format!("wake {}", self.name(*id)),
            Action::Stopped(id) => format!("stopped {}", self.name(*id)),
        }
    }

    fn states(&self) -> String {
        let mut text = String::new();
        for (name, id) in &self.tasks {
            let state = self
                .sched
                .state(*id)
                .map_or("gone".to_owned(), |s| format!("{s:?}").to_lowercase());
            let comma = if text.is_empty() { "" } else { ", " };
            write!(text, "{comma}{name} {state}").expect("writing to a string");
        }
        text
    }
}

pub(super) fn spec(class: &str, more: &[&str]) -> JobSpec {
    let class = class.parse().expect("a class");
    let mut spec = JobSpec {
        class,
        priority: 0,
        weight: 1,
        killable: true,
    };
    for word in more {
        match word.split_once('=').unwrap_or((word, "")) {
            ("priority", value) => spec.priority = value.parse().expect("a number"),
            ("weight", value) => spec.weight = value.parse().expect("a number"),
            ("unkillable", "") => spec.killable = false,
            _ => panic!("unknown property {word}"),
        }
    }
    spec
}
