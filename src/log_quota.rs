//! Limits log lines that any client can cause without limit: the first lines of each kind within a
//! minute are written, the others are counted.
//!
//! A count is written when its minute has passed, and when the process stops. `kill -9` loses the
//! counts of at most one minute.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Maximum number of lines of one kind that are written within a [`PERIOD`].
pub const FIRST: u32 = 10;
/// Length of a period, which begins with the first line of a kind.
pub const PERIOD: Duration = Duration::from_secs(60);

thread_local! {
    /// Whether this thread formats its log lines without writing them.
    static IS_DISCARDING: Cell<bool> = const { Cell::new(false) };
}

/// Runs `log` with its lines formatted but not written. A counted line takes as long as a written
/// one this way: otherwise the response time would reveal which of the two it was.
pub fn discard(log: impl FnOnce()) {
    /// Resets the flag even if `log` panics.
    struct Discarding;
    impl Drop for Discarding {
        fn drop(&mut self) {
            IS_DISCARDING.set(false);
        }
    }
    IS_DISCARDING.set(true);
    let _discarding = Discarding;
    log();
}

/// Whether this thread is within [`discard`], so that its lines must not be written.
#[must_use]
pub fn is_discarding() -> bool {
    IS_DISCARDING.get()
}

/// Logs how many lines of a kind were not written.
type Report = fn(kind: &'static str, count: u64);

/// Quota of log lines for each kind.
#[derive(Clone)]
pub struct LogQuota {
    kinds: Arc<Mutex<HashMap<&'static str, Period>>>,
    report: Report,
    period: Duration,
}

/// State of one kind within its current period.
struct Period {
    end: Instant,
    written: u32,
    /// Lines over the quota.
    counted: u64,
}

impl LogQuota {
    /// Creates a quota whose counts are logged by `report`.
    #[must_use]
    pub fn new(report: Report) -> Self {
        Self {
            kinds: Arc::default(),
            report,
            period: PERIOD,
        }
    }

    /// Returns whether to write a line of this kind; otherwise counts it.
    #[must_use]
    pub fn admits(&self, kind: &'static str) -> bool {
        self.write_counts(|period| period.end <= Instant::now());
        let mut kinds = self.lock();
        let period = kinds.entry(kind).or_insert_with(|| Period {
            end: Instant::now() + self.period,
            written: 0,
            counted: 0,
        });
        if period.written < FIRST {
            period.written += 1;
            return true;
        }
        period.counted += 1;
        if period.counted == 1 {
            self.schedule_counts(period.end);
        }
        false
    }

    /// Writes all counts. Called before the process stops.
    pub fn flush(&self) {
        self.write_counts(|_| true);
    }

    /// Schedules writing the counts at the end of a period, in case no further line triggers it.
    fn schedule_counts(&self, end: Instant) {
        // Without a runtime, the next line or `flush` writes them.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let quota = self.clone();
            runtime.spawn(async move {
                tokio::time::sleep_until(end).await;
                quota.write_counts(|period| period.end <= Instant::now());
            });
        }
    }

    /// Ends the periods that match `is_over` and writes their counts.
    fn write_counts(&self, is_over: impl Fn(&Period) -> bool) {
        let mut ended = Vec::new();
        self.lock().retain(|kind, period| {
            let is_over = is_over(period);
            if is_over && period.counted > 0 {
                ended.push((*kind, period.counted));
            }
            !is_over
        });
        // After releasing the lock: writing a line may block.
        for (kind, count) in ended {
            (self.report)(kind, count);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<&'static str, Period>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static REPORTED: Mutex<Vec<(&str, u64)>> = Mutex::new(Vec::new());

    fn report(kind: &'static str, count: u64) {
        REPORTED.lock().unwrap().push((kind, count));
    }

    /// Returns the counts reported for a kind. Tests run concurrently, each with its own kind.
    fn reported(kind: &str) -> Vec<u64> {
        let reported = REPORTED.lock().unwrap();
        let of_kind = reported.iter().filter(|(of, _)| *of == kind);
        of_kind.map(|(_, count)| *count).collect()
    }

    #[test]
    fn the_first_lines_of_each_kind_are_written_and_the_others_counted() {
        let quota = LogQuota::new(report);
        let written = (0..1_000).filter(|_| quota.admits("flood")).count();
        assert_eq!(written, 10);
        assert!(quota.admits("another kind"), "one kind silences no other");
        assert!(reported("flood").is_empty());
        quota.flush();
        assert_eq!(reported("flood"), [990]);
        assert!(quota.admits("flood"), "a new period begins");
        quota.flush();
        assert_eq!(reported("flood"), [990], "no line was over the quota since");
    }

    #[tokio::test]
    async fn a_count_is_written_after_its_period_without_a_further_line() {
        let quota = LogQuota {
            period: Duration::from_millis(20),
            ..LogQuota::new(report)
        };
        let written = (0..1_000).filter(|_| quota.admits("silence")).count();
        let all_reported = async {
            while written as u64 + reported("silence").iter().sum::<u64>() < 1_000 {
                tokio::task::yield_now().await;
            }
        };
        let liveness = Duration::from_secs(60);
        tokio::time::timeout(liveness, all_reported).await.unwrap();
    }

    #[test]
    fn discarding_ends_with_a_panic_and_affects_one_thread() {
        let panic = std::panic::catch_unwind(|| {
            discard(|| {
                assert!(is_discarding());
                assert!(!std::thread::spawn(is_discarding).join().unwrap());
                panic!("a defect");
            });
        });
        assert!(panic.is_err() && !is_discarding());
    }

    #[test]
    fn flush_writes_the_counts() {
        let quota = LogQuota::new(report);
        for _ in 0..12 {
            let _ = quota.admits("end");
        }
        quota.flush();
        assert_eq!(reported("end"), [2]);
    }
}
