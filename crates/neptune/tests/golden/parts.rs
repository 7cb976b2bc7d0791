//! The inputs of the cases, cut into many files, and chance.

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// Cuts each input into `count` files of a directory of its own, in order.
pub(crate) fn cut(golden: &Path, to: &Path, count: usize) {
    for name in ["cars", "impulse"] {
        let input = golden.join("inputs").join(format!("{name}.json"));
        let text = fs::read_to_string(input).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let directory = to.join(name);
        fs::create_dir_all(&directory).unwrap();
        for (number, part) in lines.chunks(lines.len().div_ceil(count)).enumerate() {
            let path = directory.join(format!("{number:04}.json"));
            fs::write(&path, part.join("\n") + "\n").unwrap();
            // Files come in the order of their times.
            let time = UNIX_EPOCH + Duration::from_secs(1_000_000 + number as u64);
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(time).unwrap();
        }
    }
}

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

    /// A time up to `longest`, mostly short.
    pub(crate) fn time(&mut self, longest: Duration) -> Duration {
        longest.mul_f64((self.below(1000) as f64 / 1000.0).powi(2))
    }
}
