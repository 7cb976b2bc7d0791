//! Directories of small files with events, and chance.

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, UNIX_EPOCH};

use super::support::Scene;

/// A small generator, so that a run is described by one number.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// Begins with `NEPTUNE_TEST_SEED`, or another number each time. It is printed, which shows when a test fails.
    pub(crate) fn from_seed() -> Self {
        let seed = match std::env::var("NEPTUNE_TEST_SEED") {
            Ok(text) => text.parse().unwrap(),
            Err(_) => RandomState::new().hash_one(0) >> 32,
        };
        eprintln!("NEPTUNE_TEST_SEED={seed}");
        Self(seed)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // The steps of splitmix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Event time between two events, and by how much events of neighbouring files may be out of order.
const STEP_MS: u64 = 300;
const DISORDER_MS: u64 = 2_000;

/// The statement for a table of events that come from files in the directory `name`. No event is too late.
pub(crate) fn table(name: &str, bounded: bool) -> String {
    format!(
        "CREATE TABLE {name} (ts TIMESTAMP, k BIGINT, id BIGINT, WATERMARK FOR ts AS ts - INTERVAL '2 seconds')\n  \
         WITH (connector = 'filesystem', path = '{name}', format = 'json', type = 'source', bounded = {bounded});\n"
    )
}

/// Writes some of the files of the directory `name`, with `rows` events each.
pub(crate) fn write_files(
    scene: &Scene,
    name: &str,
    files: std::ops::Range<u64>,
    rows: u64,
    random: &mut Random,
) {
    for file in files {
        let lines = (file * rows..(file + 1) * rows).map(|id| {
            let millis = id * STEP_MS + random.below(DISORDER_MS);
            let (minutes, seconds, millis) =
                (millis / 60_000, millis / 1000 % 60, millis % 1000);
            let k = random.below(4);
            format!(
                "{{\"ts\": \"2024-05-01T{:02}:{:02}:{seconds:02}.{millis:03}Z\", \"k\": {k}, \"id\": {id}}}\n",
                minutes / 60,
                minutes % 60
            )
        });
        // Whole when it is seen, and with its time, by which files are ordered.
        let unfinished = format!("{name}/{file:04}.tmp");
        scene.file(&unfinished, &lines.collect::<String>());
        let unfinished = scene.path(&unfinished);
        let time = UNIX_EPOCH + Duration::from_secs(1_000_000 + file);
        let written = File::options().write(true).open(&unfinished).unwrap();
        written.set_modified(time).unwrap();
        fs::rename(&unfinished, unfinished.with_extension("json")).unwrap();
    }
}
