//! An executor: slots, two class runtimes, a ticker and a memory pool, in one process.
//!
//! Stream and batch tasks run on separate tokio runtimes. The batch runtime has a thread for each slot: one more would be woken
//! for tasks that find no slot (see "Decisions" in ARCHITECTURE.md for what that cost). The stream runtime has a thread
//! more, for what is no task: the loops of stream jobs, and their timers, must not wait for a poll. The scheduler decides
//! who is polled; the operating system's settings ([`crate::os`]) decide whose thread wins a core while a victim is still on
//! its way to a yield point. Where the system refuses a setting, that is said once in the log, and the rest still holds.

use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::execution::memory_pool::{MemoryPool, UnboundedMemoryPool};
use neptune_sched::{Class, PolicyName, SchedSettings, SlotCounts};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

use crate::attempts::Attempts;
use crate::event_log::Event;
use crate::job::{Job, JobSettings};
use crate::memory::TaskMemoryPool;
use crate::node::Node;
use crate::task::Gate;
use crate::task_handle::{TaskError, TaskHandle};
use crate::{os, quota, tracer};

/// `neptune.os.realtime`: whether stream threads ask for real-time priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Realtime {
    /// Where the process may.
    #[default]
    Auto,
    /// Yes, and say loudly if it is refused.
    On,
    /// No.
    Off,
}

/// `neptune.os.demote`: what batch threads ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Demote {
    /// A long slice at the same weight: never starved by others, preempted by streams at once on Linux 6.12 and later.
    #[default]
    Auto,
    /// Nothing.
    Off,
    /// Ten nice levels: a tenth of the weight.
    Nice,
    /// `SCHED_IDLE`: only for a machine of one's own.
    Idle,
}

/// A value that a setting does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown value '{value}': use {allowed}")]
pub struct UnknownValue {
    /// What was given.
    pub value: String,
    /// What would be understood.
    pub allowed: &'static str,
}

macro_rules! names {
    ($type:ty, $allowed:literal, $($variant:ident = $name:literal),+) => {
        impl FromStr for $type {
            type Err = UnknownValue;

            fn from_str(s: &str) -> Result<Self, Self::Err> {
                match s.trim().to_ascii_lowercase().as_str() {
                    $($name => Ok(Self::$variant),)+
                    _ => Err(UnknownValue { value: s.to_owned(), allowed: $allowed }),
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $(Self::$variant => $name),+ })
            }
        }
    };
}

names!(
    Realtime,
    "auto, on or off",
    Auto = "auto",
    On = "on",
    Off = "off"
);
names!(
    Demote,
    "auto, off, nice or idle",
    Auto = "auto",
    Off = "off",
    Nice = "nice",
    Idle = "idle"
);

/// How an executor is set up.
#[derive(Debug, Clone)]
pub struct ExecutorConfig {
    /// Slots and scheduling numbers.
    pub sched: SchedSettings,
    /// The policy to begin with.
    pub policy: PolicyName,
    /// See [`Realtime`].
    pub realtime: Realtime,
    /// See [`Demote`].
    pub demote: Demote,
    /// The pool that sets memory limits; unlimited by default.
    pub memory: Arc<dyn MemoryPool>,
    /// CPU quota in cores to stay inside; by default that of the process's cgroup.
    pub cpu_quota: Option<f64>,
}

impl Default for ExecutorConfig {
    /// As many slots as the process may use cores.
    fn default() -> Self {
        Self {
            sched: SchedSettings::new(quota::default_slots()),
            policy: PolicyName::Neptune,
            realtime: Realtime::default(),
            demote: Demote::default(),
            memory: Arc::new(UnboundedMemoryPool::default()),
            cpu_quota: quota::cpu_quota(),
        }
    }
}

/// Each slot has threads of its own.
const MOST_SLOTS: usize = 4096;

/// Why an executor could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No executor has so many slots.
    #[error("an executor has 1 to {MOST_SLOTS} slots, not {slots}")]
    Slots {
        /// What was asked for.
        slots: usize,
    },
    /// The operating system gave no thread.
    #[error("cannot start the threads of class {class}: {source}")]
    Threads {
        /// The class.
        class: Class,
        /// The system's reason.
        source: io::Error,
    },
}

struct Shared {
    node: Arc<Node>,
    handles: [Handle; 2],
    runtimes: Option<[Runtime; 2]>,
    memory: Arc<dyn MemoryPool>,
    realtime: Arc<AtomicBool>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.node.stop();
        for runtime in self.runtimes.take().into_iter().flatten() {
            // The last owner may be a task of this very runtime: it must not wait for itself.
            runtime.shutdown_background();
        }
    }
}

/// One executor; clones share it. It ends when the last clone is dropped.
#[derive(Clone)]
pub struct Executor {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor")
            .field("slots", &self.counts())
            .finish_non_exhaustive()
    }
}

impl Executor {
    /// Starts the threads of an executor.
    ///
    /// # Errors
    /// If the operating system gives no threads.
    pub fn start(config: ExecutorConfig) -> Result<Self, StartError> {
        let slots = config.sched.slots;
        if !(1..=MOST_SLOTS).contains(&slots) {
            return Err(StartError::Slots { slots });
        }
        tracer::install();
        // A quota of all cores or more cannot be exceeded.
        let quota = config
            .cpu_quota
            .filter(|quota| *quota < quota::cores() as f64);
        let node = Arc::new(Node::new(config.sched, config.policy, quota));
        let realtime = Arc::new(AtomicBool::new(false));
        let stream = runtime(Class::Stream, slots + 1, {
            let (wanted, got) = (config.realtime, Arc::clone(&realtime));
            move || raise(wanted, &got)
        })?;
        let batch = runtime(Class::Batch, slots, {
            let demote = config.demote;
            move || lower(demote)
        })?;
        let ticker = Arc::clone(&node);
        let (wanted, got) = (config.realtime, Arc::clone(&realtime));
        std::thread::Builder::new()
            .name("neptune-ticker".into())
            .spawn(move || {
                raise(wanted, &got);
                warn_once("sharp timers", os::make_timers_sharp());
                ticker.run_ticker();
            })
            .map_err(|source| StartError::Threads {
                class: Class::Stream,
                source,
            })?;
        Ok(Self {
            shared: Arc::new(Shared {
                node,
                handles: [stream.handle().clone(), batch.handle().clone()],
                runtimes: Some([stream, batch]),
                memory: Arc::new(TaskMemoryPool::new(config.memory)),
                realtime,
            }),
        })
    }

    /// Makes a job, to which tasks are added by [`spawn`](Self::spawn) and by what they spawn themselves.
    pub fn job(&self, settings: &JobSettings) -> Arc<Job> {
        self.shared.node.new_job(settings)
    }

    /// Spawns a task of `job` on the runtime of its class. Dropping the handle cancels the task.
    ///
    /// What the future spawns through DataFusion becomes tasks of the same job.
    pub fn spawn<T: Send + 'static>(
        &self,
        job: &Arc<Job>,
        future: impl Future<Output = T> + Send + 'static,
    ) -> TaskHandle<T> {
        let attempt = job.attempt();
        let handle = job.add_task(attempt).map(|task| {
            task.arrives();
            let gate = Gate::new(Arc::clone(&task), Box::pin(future));
            let handle = self.shared.handles[job.class() as usize].spawn(gate);
            if task.is_cancelled() {
                job.node().abandon(&task);
            }
            (handle, task)
        });
        TaskHandle::new(handle, Arc::clone(job), attempt)
    }

    /// Spawns what `attempt` makes as a task of `job`, and again each time the `kill` policy took its slot, when all that
    /// the killed attempt was made of is gone. After `most_kills` of them the job is no longer killable: one that is
    /// killed for ever makes no progress. To end it, cancel the job: the handle alone only tells how it ended.
    ///
    /// A killed attempt may end with an error (or a panic) of its own, since its children are interrupted before it:
    /// that counts as killed too.
    pub fn spawn_attempts<T, E, F>(
        &self,
        job: &Arc<Job>,
        most_kills: u32,
        attempt: impl FnMut() -> F + Send + 'static,
    ) -> JoinHandle<Result<Result<T, E>, TaskError>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        // The first attempt begins here: a job that was submitted has a task, and one without a task is over.
        let attempts = Attempts::new(Arc::clone(job), most_kills, attempt);
        self.shared.handles[job.class() as usize].spawn(attempts.run())
    }

    /// The runtime on which tasks of `class` run, for work that must be near them but is no task.
    pub fn handle(&self, class: Class) -> &Handle {
        &self.shared.handles[class as usize]
    }

    /// The memory pool that books per task; to be used in the `RuntimeEnv` of whatever runs here.
    pub fn memory_pool(&self) -> Arc<dyn MemoryPool> {
        Arc::clone(&self.shared.memory)
    }

    /// The jobs that exist.
    pub fn jobs(&self) -> Vec<Arc<Job>> {
        self.shared.node.jobs()
    }

    /// How many tasks are where.
    pub fn counts(&self) -> SlotCounts {
        self.shared.node.counts()
    }

    /// The policy in force.
    pub fn policy(&self) -> PolicyName {
        self.shared.node.policy()
    }

    /// Changes policy and scheduling numbers while tasks run; the number of slots stays as it is.
    pub fn configure(&self, change: impl FnOnce(&mut PolicyName, &mut SchedSettings)) {
        self.shared.node.configure(change);
    }

    /// Whether stream threads were given real-time priority. Known once the first of them started.
    pub fn is_realtime(&self) -> bool {
        self.shared.realtime.load(Ordering::Relaxed)
    }

    /// The latest events of all tasks, oldest first.
    pub fn events(&self) -> Vec<Event> {
        self.shared.node.log.recent()
    }

    /// Also writes every further event to `path` as JSON lines.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn write_events_to(&self, path: &Path) -> io::Result<()> {
        self.shared.node.log.write_to(path)
    }

    /// Writes events that are still buffered.
    ///
    /// # Errors
    /// If a write fails now or failed before.
    pub fn flush_events(&self) -> io::Result<()> {
        self.shared.node.log.flush()
    }
}

fn runtime(
    class: Class,
    threads: usize,
    on_start: impl Fn() + Send + Sync + 'static,
) -> Result<Runtime, StartError> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        // Tasks cancelled from outside are waited for, and come before those that are there already.
        .global_queue_interval(1)
        .thread_name(format!("neptune-{class}"))
        .on_thread_start(on_start)
        .enable_all()
        .build()
        .map_err(|source| StartError::Threads { class, source })
}

/// What a thread of the stream class asks for.
fn raise(wanted: Realtime, got: &AtomicBool) {
    if wanted != Realtime::Off {
        match os::make_realtime() {
            Ok(()) => {
                got.store(true, Ordering::Relaxed);
                return;
            }
            Err(error) if wanted == Realtime::On => warn_once("real-time priority", Err(error)),
            Err(_) => {}
        }
    }
    warn_once("a short slice", os::make_short_slice());
}

/// What a thread of the batch class asks for.
fn lower(demote: Demote) {
    match demote {
        Demote::Off => {}
        Demote::Auto => warn_once("a long slice", os::make_long_slice()),
        Demote::Nice => warn_once("a nice level", os::make_nice()),
        Demote::Idle => warn_once("SCHED_IDLE", os::make_idle()),
    }
}

fn warn_once(what: &'static str, result: io::Result<()>) {
    static WARNED: parking_lot::Mutex<Vec<&str>> = parking_lot::Mutex::new(Vec::new());
    if let Err(error) = result {
        let mut warned = WARNED.lock();
        if !warned.contains(&what) {
            warned.push(what);
            tracing::warn!(%error, "the operating system refuses {what}; going on without");
        }
    }
}

/// Runs a thread as one of the stream class does, for drivers of benchmarks that must not be late themselves.
pub fn raise_this_thread(wanted: Realtime) {
    raise(wanted, &AtomicBool::new(false));
}
