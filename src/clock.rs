//! Injected time: the only place that asks the operating system.

use chrono::{DateTime, SubsecRound as _, Utc};

/// A moment in UTC, to the microsecond.
pub type Timestamp = DateTime<Utc>;

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
