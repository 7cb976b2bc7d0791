//! The suites with everything that they measure, as `neptune bench` runs them.

use std::sync::Arc;

use neptune::PolicyName;
use neptune_exec::{Realtime, os};

use crate::baseline::Baseline;
use crate::design::Design;
use crate::error::{BenchError, Result};
use crate::neptune_design::{NeptuneDesign, SessionSettings};
use crate::neptune_engine::NeptuneEngine;
use crate::neptune_suspender::NeptuneSuspender;
use crate::overhead::{Overhead, PlainEngine};
use crate::preempt::Preempt;
use crate::stream::Stream;
use crate::suite::Suite;
use crate::suspend::Suspend;

/// Every suite, with stream threads raised as `realtime` says and further settings, by key and value, for every
/// Neptune session.
///
/// # Errors
/// When `realtime` is a must and the system refuses.
pub fn suites(realtime: Realtime, more: &[(String, String)]) -> Result<Vec<Box<dyn Suite>>> {
    if realtime == Realtime::On {
        check_realtime()?;
    }
    let settings = SessionSettings::new(realtime, more);
    let reference = Box::new(Baseline::shared_runtime());
    let preempt = Preempt::new(reference, designs(&settings), realtime);
    let suspended = settings.clone();
    let suspend = Suspend::new(
        Box::new(move |workload| Ok(Box::new(NeptuneSuspender::start(workload, &suspended)?))),
        realtime,
    );
    let stream = Stream::new(settings.clone());
    let overhead = Overhead::new(
        Box::new(|workload| Ok(Box::new(PlainEngine::start(workload)?))),
        Box::new(move |workload| Ok(Box::new(NeptuneEngine::start(workload, &settings)?))),
    );
    Ok(vec![
        Box::new(preempt),
        Box::new(suspend),
        Box::new(overhead),
        Box::new(stream),
    ])
}

/// All designs of `bench preempt`.
fn designs(settings: &SessionSettings) -> Vec<Box<dyn Design>> {
    let os_only = Baseline::os_only(Arc::new(|| {
        if let Err(error) = os::make_idle() {
            tracing::warn!(%error, "the system refuses SCHED_IDLE: os_only is not what it says");
        }
    }));
    let mut designs: Vec<Box<dyn Design>> = vec![
        Box::new(Baseline::shared_runtime()),
        Box::new(Baseline::two_runtimes()),
        Box::new(os_only),
        Box::new(NeptuneDesign::coroutine_only(settings.clone())),
    ];
    for policy in PolicyName::ALL {
        designs.push(Box::new(NeptuneDesign::policy(policy, settings.clone())));
    }
    designs
}

/// Tries real-time priority on a thread that ends at once.
fn check_realtime() -> Result<()> {
    let refused = |source| BenchError::Start {
        what: "threads with real-time priority, which --realtime on demands",
        source,
    };
    let tried = std::thread::Builder::new()
        .spawn(os::make_realtime)
        .map_err(refused)?
        .join();
    tried
        .unwrap_or_else(|_| Err(std::io::Error::other("the thread panicked")))
        .map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_design_of_the_contract_is_there() {
        let designs = designs(&SessionSettings::new(Realtime::Off, &[]));
        let names: Vec<_> = designs.iter().map(|design| design.name()).collect();
        let expected = "shared_runtime two_runtimes os_only coroutine_only \
                        fifo fair static priority kill neptune";
        assert_eq!(names.join(" "), expected);
        let suites = suites(Realtime::Off, &[]).unwrap();
        let names: Vec<_> = suites.iter().map(|suite| suite.name()).collect();
        assert_eq!(names, ["preempt", "suspend", "overhead", "stream"]);
    }
}
