//! Bounds log lines that any client can cause without end: of each kind the
//! first ones of a minute are written, and the others are counted.
//!
//! A count is written once its minute has passed, and when the process stops;
//! `kill -9` loses at most one minute's counts.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lines of one kind that are written in a [`PERIOD`].
pub const FIRST: u32 = 10;
/// From the first line of a kind on, the time for which its lines are counted.
pub const PERIOD: Duration = Duration::from_secs(60);

thread_local! {
    /// Whether what this thread logs is formatted only.
    static IS_DISCARDING: Cell<bool> = const { Cell::new(false) };
}

/// Logs for the time that it takes: lines are formatted and not written. Where a
/// line that is counted took less than one that is written, the time of a reply would
/// tell which it was.
pub fn discard(log: impl FnOnce()) {
    /// Ends it also where `log` panics.
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

/// Whether a line that this thread has formatted is not to be written.
#[must_use]
pub fn is_discarding() -> bool {
    IS_DISCARDING.get()
}

/// Writes how many lines of a kind were not written.
type Report = fn(kind: &'static str, count: u64);

/// The lines of each kind.
#[derive(Clone)]
pub struct LogQuota {
    kinds: Arc<Mutex<HashMap<&'static str, Period>>>,
    report: Report,
    period: Duration,
}

/// The lines of one kind since its first one.
struct Period {
    end: Instant,
    written: u32,
    /// Counted, not written.
    counted: u64,
}

impl LogQuota {
    /// A quota of which `report` writes the counts.
    #[must_use]
    pub fn new(report: Report) -> Self {
        Self {
            kinds: Arc::default(),
            report,
            period: PERIOD,
        }
    }

    /// Whether a line of this kind is to be written; otherwise it is counted.
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
            self.write_counts_at(period.end);
        }
        false
    }

    /// Writes all counts: the process is about to stop.
    pub fn flush(&self) {
        self.write_counts(|_| true);
    }

    /// Sees to it that the count of a period is written when no line comes that
    /// would do it.
    fn write_counts_at(&self, end: Instant) {
        // Without a runtime, the next line or the end does.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let quota = self.clone();
            runtime.spawn(async move {
                tokio::time::sleep_until(end).await;
                quota.write_counts(|period| period.end <= Instant::now());
            });
        }
    }

    /// Ends periods and writes their counts.
    fn write_counts(&self, ends: impl Fn(&Period) -> bool) {
        let mut ended = Vec::new();
        self.lock().retain(|kind, period| {
            let ends = ends(period);
            if ends && period.counted > 0 {
                ended.push((*kind, period.counted));
            }
            !ends
        });
        // Not under the lock: writing a line may take long.
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

    /// What was reported of a kind. Tests run at once, each with its own.
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
        assert!(quota.admits("flood"), "it begins anew");
        quota.flush();
        assert_eq!(reported("flood"), [990], "nothing was left out since");
    }

    #[tokio::test]
    async fn a_count_is_written_when_its_time_has_passed_and_nothing_else_comes() {
        let quota = LogQuota {
            period: Duration::from_millis(20),
            ..LogQuota::new(report)
        };
        let written = (0..1_000).filter(|_| quota.admits("silence")).count();
        let all_told = async {
            while written as u64 + reported("silence").iter().sum::<u64>() < 1_000 {
                tokio::task::yield_now().await;
            }
        };
        let liveness = Duration::from_secs(60);
        tokio::time::timeout(liveness, all_told).await.unwrap();
    }

    #[test]
    fn nothing_is_discarded_behind_what_is() {
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
    fn the_end_of_the_process_writes_what_was_counted() {
        let quota = LogQuota::new(report);
        for _ in 0..12 {
            let _ = quota.admits("end");
        }
        quota.flush();
        assert_eq!(reported("end"), [2]);
    }
}
