//! The state machine of a task.
//!
//! ```text
//!       begin or wake: no slot           dispatch
//!      Idle ───────────────────► Waiting ────────► Granted
//!       ▲ │                                          │ begin
//!       │ └──────────── begin: slot ──────────────┐  │
//!       │                                         ▼  ▼
//!       └──────────── end: pending ────────────── Running ──── end: ready ───► (removed)
//!                                                 │    ▲
//!                              end: was asked to  │    │ begin
//!                                                 ▼    │
//!                                Suspended ──► Granted ┘
//!                                    dispatch
//!      Held: its job was suspended by its user; entered from every state but Running, from Running
//!      by `end`; left only by the user's resume.
//! ```
//!
//! Races, and why none of them loses a task, a slot or a wake-up:
//!
//! 1. *Suspend against finish.* The request only sets a flag. If the poll ends with `Ready` the task is
//!    removed and the request is void; nothing waits for an acknowledgement.
//! 2. *Resume against suspend.* Both happen under the scheduler's lock, together with the flag that says which
//!    came last. A request is not withdrawn: a task that has not reached its yield point when it is resumed
//!    becomes `Suspended` there, and the dispatch that follows grants it a slot like any other.
//! 3. *Wake in any state.* A wake of an `Idle` task that could run makes the runtime poll its gate; one that could not
//!    becomes `Waiting` at once. A wake of a `Waiting`, `Suspended` or `Held` task does nothing: the grant wakes the gate,
//!    and the inner future is then polled whether or not it was woken itself. A spurious poll is allowed, a lost one is
//!    not. A wake during the poll is kept, and the task queues again when the poll ends. Wakes that come between
//!    two polls count once: the flag that says so is taken back after the slot was given and before the future is
//!    polled, so that a wake too late for the flag is in time for the poll.
//! 4. *Cancel in any state.* The gate is dropped, or polled and found cancelled: the task is removed, and
//!    a slot it held (`Granted`, `Running`) goes to the next in line.
//! 5. *Grant to a task that never comes.* `Granted` holds a slot until the gate is polled or dropped. The
//!    runtime guarantees one of the two for a woken task that exists; on shutdown all gates are dropped.
//! 6. *Panic inside a poll, or while the future is dropped.* The gate removes the task from a drop guard.

/// Where a task stands. See the module's text for the transitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskState {
    /// Blocked on something of its own, or not polled yet; holds no slot.
    Idle,
    /// Wants a slot and has none.
    Waiting,
    /// A slot is kept for it; its waker was called.
    Granted,
    /// Is being polled, on a slot.
    Running,
    /// Was asked to let go and did, with its state kept; goes on before new tasks start.
    Suspended,
    /// Its job is suspended by the user.
    Held,
}

impl TaskState {
    /// Whether a task in this state holds a slot.
    pub const fn holds_slot(self) -> bool {
        matches!(self, Self::Granted | Self::Running)
    }
}
