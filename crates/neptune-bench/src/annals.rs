//! What Neptune's batch jobs say of themselves, added up over all stretches of a design: how often and how
//! fast they were suspended, and which operator worked longest without a yield point.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use neptune_exec::{Job, Latencies};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};

/// Name of the figure with the operators that worked longest between two yield points.
pub(crate) const LONGEST_STRETCHES: &str = "longest_stretches";
/// How many of them are reported.
const STRETCHES: usize = 12;

/// The annals of a design; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Annals(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// Jobs whose tasks may still have something to say.
    under_way: Vec<Arc<Job>>,
    suspensions: u64,
    kills: u64,
    suspend: Latencies,
    resume: Latencies,
    /// By operator and query.
    stretches: BTreeMap<(String, String), Duration>,
}

/// The longest time that an operator worked between two yield points.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LongStretch {
    /// The operator, as plans name it.
    pub operator: String,
    /// The query it was in.
    pub query: String,
    /// How long, in milliseconds.
    pub ms: f64,
}

impl Annals {
    /// Follows a job, whose name is the query's, until its last task has ended.
    pub fn follow(&self, job: &Arc<Job>) {
        let mut inner = self.0.lock();
        inner.absorb(|job| job.live_tasks() == 0);
        inner.under_way.push(Arc::clone(job));
    }

    /// Takes in the jobs still followed, whose tasks must have ended.
    pub fn close(&self) {
        self.0.lock().absorb(|_| true);
    }

    /// The operators that worked longest between two yield points, longest first.
    pub fn longest_stretches(&self) -> Vec<LongStretch> {
        let inner = self.0.lock();
        let mut found: Vec<_> = inner.stretches.iter().collect();
        found.sort_by_key(|(_, longest)| Reverse(**longest));
        found
            .into_iter()
            .take(STRETCHES)
            .map(|((operator, query), longest)| LongStretch {
                operator: operator.clone(),
                query: query.clone(),
                ms: longest.as_secs_f64() * 1e3,
            })
            .collect()
    }

    /// All of it, as figures of a report.
    pub fn figures(&self) -> BTreeMap<String, Value> {
        let stretches = json!(self.longest_stretches());
        let inner = self.0.lock();
        let mut figures = vec![
            ("suspensions", json!(inner.suspensions)),
            (LONGEST_STRETCHES, stretches),
        ];
        if inner.suspensions > 0 {
            figures.push(("suspend_ms", json!(inner.suspend.percentiles())));
            figures.push(("resume_ms", json!(inner.resume.percentiles())));
        }
        if inner.kills > 0 {
            figures.push(("kills", json!(inner.kills)));
        }
        figures
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}

impl Inner {
    /// Takes in what the jobs say that fit, and follows them no more.
    fn absorb(&mut self, over: impl Fn(&Job) -> bool) {
        let jobs = std::mem::take(&mut self.under_way);
        for job in jobs {
            if !over(&job) {
                self.under_way.push(job);
                continue;
            }
            let stats = job.suspensions();
            self.suspensions += stats.count;
            self.kills += u64::from(job.attempt());
            self.suspend.merge(&stats.suspend);
            self.resume.merge(&stats.resume);
            for (operator, stretch) in job.stretches() {
                let longest = self.stretches.entry((operator, job.name().to_string()));
                let longest = longest.or_default();
                *longest = stretch.max(*longest);
            }
        }
    }
}
