//! What an executor is started with, and told later.

use neptune_exec::{Executor, ExecutorConfig, NeptuneOptions, StartError};
use neptune_sched::{Nanos, PolicyName, SchedSettings};

use datafusion::common::config::ExtensionOptions;

use crate::support::executor;

#[test]
fn an_impossible_number_of_slots_is_refused() {
    for slots in [0, 1_000_000] {
        let mut sched = SchedSettings::new(1);
        sched.slots = slots;
        let started = Executor::start(ExecutorConfig {
            sched,
            ..ExecutorConfig::default()
        });
        assert!(
            matches!(started, Err(StartError::Slots { slots: told }) if told == slots),
            "{slots} slots"
        );
    }
}

#[test]
fn a_setting_leaves_the_others_as_they_are() {
    let executor = executor(1, PolicyName::Neptune);
    let mut options = NeptuneOptions {
        executor: Some(executor.clone()),
        ..NeptuneOptions::default()
    };
    executor.configure(|policy, sched| {
        *policy = PolicyName::Fifo;
        sched.max_suspensions = 77;
    });
    options.set("stream.linger", "7 ms").unwrap();
    executor.configure(|policy, sched| {
        assert_eq!(*policy, PolicyName::Fifo);
        assert_eq!(sched.max_suspensions, 77);
        assert_eq!(sched.linger, Nanos::from_millis(7));
    });
}
