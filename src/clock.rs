//! Injected time: the only place that asks the operating system; and how a
//! moment is written.

use std::fmt;

use chrono::{DateTime, Datelike as _, SubsecRound as _, Timelike as _, Utc};
use serde::Serializer;

/// A moment in UTC, to the microsecond.
pub type Timestamp = DateTime<Utc>;

/// Whether a moment lies in the years 1 to 9999, which is what ISO 8601 writes
/// with four digits and Python reads.
#[must_use]
pub fn is_in_iso_years(moment: Timestamp) -> bool {
    (1..=9999).contains(&moment.year())
}

/// Tells the time; tests set their own.
pub trait Clock: Send + Sync + 'static {
    /// The present moment, to the microsecond (what records and replies hold).
    fn now(&self) -> Timestamp;
}

/// The clock of the machine. It needs NTP: ages of requests and expiry of
/// sessions are judged by it.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where the injected time comes from"
    )]
    fn now(&self) -> Timestamp {
        Utc::now().trunc_subsecs(6)
    }
}

/// A moment as naive ISO 8601 in UTC with six digits of microseconds, which is
/// how Platypush writes it: `2026-11-24T02:09:52.538344`.
#[derive(Debug, Clone, Copy)]
pub struct Iso(pub Timestamp);

impl fmt::Display for Iso {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = self.0;
        let Ok(year @ 0..=9999) = u32::try_from(moment.year()) else {
            // Rare, and not of fixed width.
            return moment.format("%Y-%m-%dT%H:%M:%S%.6f").fmt(f);
        };
        // By hand: chrono reads its format anew each time, which costs more than
        // the rest of a reply.
        let mut text = *b"0000-00-00T00:00:00.000000";
        let mut write = |end: usize, digits: usize, mut number: u32| {
            for digit in text[end - digits..end].iter_mut().rev() {
                *digit = b"0123456789"[(number % 10) as usize];
                number /= 10;
            }
        };
        write(4, 4, year);
        write(7, 2, moment.month());
        write(10, 2, moment.day());
        write(13, 2, moment.hour());
        write(16, 2, moment.minute());
        write(19, 2, moment.second());
        // A leap second is the 60th of its minute in chrono, and has none here.
        write(26, 6, moment.nanosecond() / 1_000 % 1_000_000);
        f.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

/// Writes a time in that form.
///
/// # Errors
/// When the serializer fails.
pub fn iso<S: Serializer>(moment: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Iso(*moment))
}

/// The same for one that may not be.
///
/// # Errors
/// When the serializer fails.
pub fn optional_iso<S: Serializer>(
    moment: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match moment {
        Some(moment) => iso(moment, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_moment_is_written_as_chrono_would(micros in -80_000_000_000_000_000i64..400_000_000_000_000_000) {
            let moment = DateTime::from_timestamp_micros(micros).unwrap();
            let expected = moment.format("%Y-%m-%dT%H:%M:%S%.6f").to_string();
            prop_assert_eq!(Iso(moment).to_string(), expected);
        }
    }
}
