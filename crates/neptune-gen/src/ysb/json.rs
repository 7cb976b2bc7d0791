//! The same events as lines of JSON, for engines that are to pay for parsing.

use std::ops::Range;

use datafusion::arrow::temporal_conversions::timestamp_s_to_datetime;

use super::pools::{POOLS, page, user};
use super::{SECOND, Ysb, ad, ad_type, event_type};
use crate::Result;

impl Ysb {
    /// Appends the events of a range to `lines`, one JSON object a line, about 240 bytes each.
    ///
    /// # Errors
    /// As [`Ysb::project`], but for any number of events.
    pub fn write_json(&self, range: Range<u64>, lines: &mut Vec<u8>) -> Result<()> {
        self.check(&range)?;
        let mut clock = Clock::default();
        for event in range {
            let fields: [(&str, &str); 5] = [
                ("{\"user_id\":\"", POOLS.users.value(user(event) as usize)),
                ("\",\"page_id\":\"", POOLS.pages.value(page(event) as usize)),
                ("\",\"ad_id\":\"", POOLS.ads.value(ad(event) as usize)),
                (
                    "\",\"ad_type\":\"",
                    POOLS.ad_types.value(ad_type(event) as usize),
                ),
                (
                    "\",\"event_type\":\"",
                    POOLS.event_types.value(event_type(event) as usize),
                ),
            ];
            for (name, value) in fields {
                lines.extend_from_slice(name.as_bytes());
                lines.extend_from_slice(value.as_bytes());
            }
            lines.extend_from_slice(b"\",\"event_time\":\"");
            clock.write(self.time(event), lines);
            lines.extend_from_slice(b"\",\"ip_address\":\"");
            lines.extend_from_slice(POOLS.ip_addresses.value(0).as_bytes());
            lines.extend_from_slice(b"\"}\n");
        }
        Ok(())
    }
}

/// Writes times; keeps the text of the second it wrote last.
#[derive(Debug, Default)]
struct Clock {
    second: Option<i64>,
    text: String,
}

impl Clock {
    fn write(&mut self, nanos: i64, out: &mut Vec<u8>) {
        let (second, mut rest) = (
            nanos.div_euclid(SECOND as i64),
            nanos.rem_euclid(SECOND as i64),
        );
        if self.second != Some(second) {
            self.second = Some(second);
            self.text.clear();
            if let Some(time) = timestamp_s_to_datetime(second) {
                self.text = time.to_string();
            }
        }
        out.extend_from_slice(self.text.as_bytes());
        let mut digits = *b".000000000";
        for digit in digits[1..].iter_mut().rev() {
            *digit += (rest % 10) as u8;
            rest /= 10;
        }
        out.extend_from_slice(&digits);
    }
}
