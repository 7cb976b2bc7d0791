//! What the query has to answer, in closed form: the oracle of every run.

use std::ops::Range;

use super::pools::POOLS;
use super::{ADS, ADS_PER_CAMPAIGN, CAMPAIGNS, EVENT_TYPES, SECOND, WINDOW_NANOS, Ysb};
use crate::Result;

/// Events after which advertisements and types come again together: 1000 and 3 have no common divisor.
const PERIOD: u64 = ADS * EVENT_TYPES.len() as u64;

/// A row of the query's answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WindowCount {
    /// When the window begins, in nanoseconds since 1970.
    pub window_start_nanos: i64,
    /// Whose views.
    pub campaign_id: String,
    /// How many.
    pub views: u64,
    /// When the last of them happened, in nanoseconds since 1970.
    pub last_view_nanos: i64,
}

impl Ysb {
    /// The query's answer over the events of a range, ordered by window and then by campaign as they are numbered.
    /// Takes time for each row of the answer, not for each event.
    ///
    /// # Errors
    /// A range that ends before it starts, after [`EVENTS_MAX`](super::EVENTS_MAX) or after the end of TIMESTAMP.
    pub fn expected(&self, range: Range<u64>) -> Result<Vec<WindowCount>> {
        self.check(&range)?;
        let mut answer = Vec::new();
        let mut first = range.start;
        while first < range.end {
            let window = self.time(first).div_euclid(WINDOW_NANOS) * WINDOW_NANOS;
            let end = self.first_event_at(window + WINDOW_NANOS).min(range.end);
            for campaign in 0..CAMPAIGNS {
                answer.extend(self.count(window, campaign, first..end));
            }
            first = end;
        }
        Ok(answer)
    }

    /// The views of a campaign among events that are all of the window.
    fn count(&self, window: i64, campaign: u64, events: Range<u64>) -> Option<WindowCount> {
        let ads = campaign * ADS_PER_CAMPAIGN..(campaign + 1) * ADS_PER_CAMPAIGN;
        let places = ads.map(view_of);
        let views = places
            .clone()
            .map(|place| before(place, events.end) - before(place, events.start))
            .sum();
        let last = places
            .filter_map(|place| {
                let earlier = before(place, events.end).checked_sub(1)?;
                Some(earlier * PERIOD + place)
            })
            .max()?;
        (views > 0).then(|| WindowCount {
            window_start_nanos: window,
            campaign_id: POOLS.campaigns.value(campaign as usize).to_owned(),
            views,
            last_view_nanos: self.time(last),
        })
    }

    /// The first event that happens at `nanos` or later.
    fn first_event_at(&self, nanos: i64) -> u64 {
        let since = i128::from(nanos) - i128::from(self.start_nanos);
        let since = u128::try_from(since).unwrap_or(0);
        let event = (since * u128::from(self.events_per_second.max(1))).div_ceil(SECOND.into());
        u64::try_from(event).unwrap_or(u64::MAX)
    }
}

/// Which event of a period is the view of an advertisement.
fn view_of(ad: u64) -> u64 {
    let types = EVENT_TYPES.len() as u64;
    // Each step of 1000 goes to the next type.
    let steps = (types - ad % types) % types;
    ad + ADS * steps
}

/// How many events of this place in the period there are before event `end`.
fn before(place: u64, end: u64) -> u64 {
    (end + PERIOD - 1 - place) / PERIOD
}
