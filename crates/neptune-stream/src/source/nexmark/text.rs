//! Texts, from pools that are made once: a column of text is made by taking from a pool, without copying letters.

use std::sync::LazyLock;

use datafusion::arrow::array::{Array, ArrayRef, StringViewArray, StringViewBuilder, UInt32Array};
use datafusion::arrow::buffer::Buffer;
use datafusion::arrow::compute::take;
use datafusion::common::Result;

use super::draws::{Purpose, below, draw};
use super::events::Events;

/// Different texts of a pool of random letters.
const TEXTS: u64 = 4096;
/// Letters that these are cut from.
const LETTERS: u64 = 1 << 16;
/// Channels that are not hot.
const CHANNELS: u64 = 10_000;
/// The channels that half of all bids come through.
const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];

const FIRST_NAMES: [&str; 11] = [
    "peter", "paul", "luke", "john", "saul", "vicky", "kate", "julie", "sarah", "deiter", "walter",
];
const LAST_NAMES: [&str; 9] = [
    "shultz", "abrams", "spencer", "white", "bartels", "walton", "smith", "jones", "noris",
];
const CITIES: [&str; 10] = [
    "phoenix",
    "los angeles",
    "san francisco",
    "boise",
    "portland",
    "bend",
    "redmond",
    "seattle",
    "kent",
    "cheyenne",
];
const STATES: [&str; 6] = ["az", "ca", "id", "or", "wa", "wy"];

/// Texts to take from.
#[derive(Debug)]
pub(super) struct Pool {
    texts: StringViewArray,
}

impl Pool {
    fn of<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self {
            texts: StringViewArray::from_iter_values(texts),
        }
    }

    /// Random letters, `shortest` to `longest` of them.
    fn letters(shortest: u64, longest: u64) -> Self {
        let letters: Vec<u8> = (0..LETTERS)
            .map(|place| letter(draw(place, Purpose::Letters)))
            .collect();
        let mut texts = StringViewBuilder::with_capacity(TEXTS as usize);
        let block = texts.append_block(Buffer::from_vec(letters));
        for number in 0..TEXTS {
            let bits = draw(number, Purpose::Extra);
            let length = shortest + below(bits << 32, longest - shortest + 1);
            let start = below(bits, LETTERS - length);
            // Cannot fail: the piece lies within the block, and letters are ASCII.
            let _ = texts.try_append_view(block, start as u32, length as u32);
        }
        Self {
            texts: texts.finish(),
        }
    }

    /// A column of texts, drawn for `purpose` at each event.
    pub(super) fn drawn(&self, events: &Events, purpose: Purpose) -> Result<ArrayRef> {
        let count = self.texts.len() as u64;
        self.column(events, |event| below(draw(event, purpose), count))
    }

    /// A column of the texts with the numbers that `number` gives for each event.
    pub(super) fn column(&self, events: &Events, number: impl Fn(u64) -> u64) -> Result<ArrayRef> {
        let numbers = events.numbers().map(|event| number(event) as u32);
        let numbers = UInt32Array::from_iter_values(numbers);
        Ok(take(&self.texts, &numbers, None)?)
    }
}

/// Full names.
pub(super) static NAMES: LazyLock<Pool> = LazyLock::new(|| {
    let names = FIRST_NAMES
        .iter()
        .flat_map(|first| LAST_NAMES.iter().map(move |last| format!("{first} {last}")));
    Pool::of(names)
});
/// Cities of persons.
pub(super) static PERSON_CITIES: LazyLock<Pool> = LazyLock::new(|| Pool::of(CITIES));
/// States of persons.
pub(super) static PERSON_STATES: LazyLock<Pool> = LazyLock::new(|| Pool::of(STATES));
/// Names of items.
pub(super) static ITEMS: LazyLock<Pool> = LazyLock::new(|| Pool::letters(20, 20));
/// Descriptions of items.
pub(super) static DESCRIPTIONS: LazyLock<Pool> = LazyLock::new(|| Pool::letters(100, 100));
/// What fills a person up to about 200 bytes.
pub(super) static PERSON_EXTRAS: LazyLock<Pool> = LazyLock::new(|| Pool::letters(108, 161));
/// What fills an auction up to about 500 bytes.
pub(super) static AUCTION_EXTRAS: LazyLock<Pool> = LazyLock::new(|| Pool::letters(266, 397));
/// What fills a bid up to about 100 bytes.
pub(super) static BID_EXTRAS: LazyLock<Pool> = LazyLock::new(|| Pool::letters(54, 81));
/// Channels of bids, the hot ones first.
pub(super) static BID_CHANNELS: LazyLock<Pool> = LazyLock::new(|| {
    let others = (0..CHANNELS).map(|number| format!("channel-{number}"));
    Pool::of(HOT_CHANNELS.into_iter().map(str::to_owned).chain(others))
});
/// The page of each channel, in the same order. Nine in ten of the channels that are not hot are named in theirs.
pub(super) static BID_URLS: LazyLock<Pool> = LazyLock::new(|| {
    let hot = HOT_CHANNELS.len() as u64;
    let urls = (0..hot + CHANNELS).map(|number| {
        let bits = draw(number, Purpose::Url);
        let mut url = "https://www.nexmark.com".to_owned();
        for directory in 0..3 {
            url.push('/');
            push_letters(&mut url, draw(3 * number + directory, Purpose::Letters), 3);
        }
        url.push_str("/item.htm?query=1");
        if number >= hot && below(bits, 10) > 0 {
            // Spread over the whole range of 32 bits, as a hash of the channel would be.
            let id = ((number - hot) as u32).reverse_bits().cast_signed();
            url.push_str(&format!("&channel_id={}", id.unsigned_abs()));
        }
        url
    });
    Pool::of(urls)
});

/// The channel of a bid, as its number in [`BID_CHANNELS`] and [`BID_URLS`]: a hot one half of the time.
pub(super) fn channel(event: u64) -> u64 {
    let bits = draw(event, Purpose::Channel);
    let hot = HOT_CHANNELS.len() as u64;
    match bits & 1 {
        0 => below(bits, hot),
        _ => hot + below(bits, CHANNELS),
    }
}

/// Appends `count` letters, at most 12, drawn with `bits`.
pub(super) fn push_letters(text: &mut String, bits: u64, count: u32) {
    for place in 0..count.min(12) {
        text.push(char::from(letter(bits << (5 * place))));
    }
}

fn letter(bits: u64) -> u8 {
    b'a' + below(bits, 26) as u8
}
