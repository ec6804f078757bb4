//! The clock, which tests replace, and the text form of times.

use std::fmt;

use chrono::{DateTime, Datelike as _, SubsecRound as _, Timelike as _, Utc};
use serde::Serializer;

/// A time in UTC, to the microsecond.
pub type Timestamp = DateTime<Utc>;

/// Returns whether a time is in the years 1 to 9999, which ISO 8601 writes with four digits and
/// Python supports.
#[must_use]
pub fn is_in_iso_years(time: Timestamp) -> bool {
    (1..=9999).contains(&time.year())
}

/// A source of the current time.
pub trait Clock: Send + Sync + 'static {
    /// Returns the current time to the microsecond, the precision of records and replies.
    fn now(&self) -> Timestamp;
}

/// The system clock. It needs NTP, because the age of requests and the expiry of sessions depend on
/// it.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the only place that reads the system clock"
    )]
    fn now(&self) -> Timestamp {
        Utc::now().trunc_subsecs(6)
    }
}

/// A time as ISO 8601 in UTC without an offset and with microseconds, as Platypush writes it:
/// `2026-11-24T02:09:52.538344`.
#[derive(Debug, Clone, Copy)]
pub struct Iso(pub Timestamp);

impl fmt::Display for Iso {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.0;
        let Ok(year @ 0..=9999) = u32::try_from(time.year()) else {
            // A rare year without a fixed width.
            return time.format("%Y-%m-%dT%H:%M:%S%.6f").fmt(f);
        };
        // Without chrono's formatter: it parses the format each time, which costs more than the
        // rest of a reply.
        let mut text = *b"0000-00-00T00:00:00.000000";
        let mut write = |end: usize, digits: usize, mut number: u32| {
            for digit in text[end - digits..end].iter_mut().rev() {
                *digit = b"0123456789"[(number % 10) as usize];
                number /= 10;
            }
        };
        write(4, 4, year);
        write(7, 2, time.month());
        write(10, 2, time.day());
        write(13, 2, time.hour());
        write(16, 2, time.minute());
        write(19, 2, time.second());
        // chrono represents a leap second as second 59 with a nanosecond of 1,000,000,000 or more.
        write(26, 6, time.nanosecond() / 1_000 % 1_000_000);
        f.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

/// Serializes a time as [`Iso`] text.
///
/// # Errors
/// When the serializer fails.
pub fn iso<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Iso(*time))
}

/// Serializes an optional time as [`Iso`] text or null.
///
/// # Errors
/// When the serializer fails.
pub fn optional_iso<S: Serializer>(
    time: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => iso(time, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn iso_text_is_that_of_chrono(micros in -80_000_000_000_000_000i64..400_000_000_000_000_000) {
            let time = DateTime::from_timestamp_micros(micros).unwrap();
            let expected = time.format("%Y-%m-%dT%H:%M:%S%.6f").to_string();
            prop_assert_eq!(Iso(time).to_string(), expected);
        }
    }
}
