//! Random rows, and random ways to cut them into files.

use std::path::Path;

use serde_json::{Value, json};

/// A small generator of numbers; the same seed gives the same ones.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Rows come at most so many seconds later than others of the same time.
pub(crate) const DISORDER: u64 = 20;

/// Seconds from the first row to the last.
const SPAN: u64 = 400;

/// Writes `count` rows, none of which is late by [`DISORDER`], into files of random lengths.
pub(crate) fn write(random: &mut Random, directory: &Path, count: u64) {
    let mut rows: Vec<(u64, Value)> = (0..count).map(|id| row(random, id)).collect();
    rows.sort_by_key(|(arrival, _)| *arrival);
    std::fs::create_dir(directory).unwrap();
    let mut rest = rows.as_slice();
    for number in 0.. {
        let length = 1 + random.below(count / 6);
        let (file, after) = rest.split_at(rest.len().min(length as usize));
        let lines: Vec<String> = file.iter().map(|(_, row)| row.to_string()).collect();
        let name = directory.join(format!("{number:03}.json"));
        std::fs::write(name, lines.join("\n") + "\n").unwrap();
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
}

/// When a row comes, and what it is.
fn row(random: &mut Random, id: u64) -> (u64, Value) {
    // Half seconds, and few of them, so that times are equal now and then.
    let half = random.below(SPAN * 2);
    let arrival = half + random.below(DISORDER * 2 + 1);
    let k = match random.below(5) {
        0 => Value::Null,
        n => json!(["ä", "b", "bb", ""][n as usize - 1]),
    };
    let v = match random.below(8) {
        0 => Value::Null,
        _ => json!(random.below(12)),
    };
    let tags: Vec<u64> = (0..random.below(4)).collect();
    let (second, millis) = (half / 2, half % 2 * 500);
    let ts = format!(
        "2024-01-01T00:{:02}:{:02}.{millis:03}",
        second / 60,
        second % 60
    );
    (
        arrival,
        json!({"id": id, "ts": ts, "k": k, "v": v, "tags": tags}),
    )
}
