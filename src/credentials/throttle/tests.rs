use std::cell::Cell;
use std::convert::Infallible;

use chrono::{DateTime, TimeDelta};
use futures_util::future::join_all;
use proptest::prelude::*;

use super::*;

const LIMIT: u32 = 5;

fn at(microseconds: i64) -> Timestamp {
    DateTime::from_timestamp_micros(microseconds).unwrap()
}

/// Returns the wait after the last of so many failures.
fn full_wait(count: u32) -> Option<u64> {
    let last = Some(at(0));
    Throttle::new(LIMIT).wait_of(Failures { count, last }, at(0))
}

#[test]
fn waits_double_from_a_second_to_a_minute_and_end_at_an_hour() {
    for count in 0..LIMIT {
        assert_eq!(full_wait(count), None, "{count} failures");
    }
    for (count, seconds) in (LIMIT..).zip([1, 2, 4, 8, 16, 32]) {
        assert_eq!(full_wait(count), Some(seconds), "{count} failures");
    }
    for count in 11..100 {
        assert_eq!(full_wait(count), Some(60), "{count} failures");
    }
    for count in [100, 101, 1_000, u32::MAX] {
        assert_eq!(full_wait(count), Some(3_600), "{count} failures");
    }
}

#[test]
fn a_disabled_throttle_or_no_failure_means_no_wait() {
    let failures = Failures {
        count: 1_000,
        last: Some(at(0)),
    };
    assert_eq!(Throttle::new(0).wait_of(failures, at(0)), None);
    let none = Failures::default();
    assert_eq!(Throttle::new(LIMIT).wait_of(none, at(0)), None);
}

proptest! {
    /// An attempt after the returned seconds is allowed; an attempt a second earlier is not.
    #[test]
    fn an_attempt_after_the_returned_seconds_is_allowed(
        count in LIMIT..200,
        last in 0..4_000_000_000_000_000i64,
        passed in 0..4_000_000_000i64,
    ) {
        let throttle = Throttle::new(LIMIT);
        let failures = Failures { count, last: Some(at(last)) };
        let now = at(last + passed);
        if let Some(seconds) = throttle.wait_of(failures, now) {
            let later = now + TimeDelta::seconds(i64::try_from(seconds).unwrap());
            prop_assert_eq!(throttle.wait_of(failures, later), None);
            let earlier = later - TimeDelta::seconds(1);
            let remaining = throttle.wait_of(failures, earlier);
            prop_assert!(seconds == 1 || remaining == Some(1), "{:?} remaining", remaining);
        } else {
            let full = full_wait(count).unwrap();
            prop_assert!(passed >= i64::try_from(full).unwrap() * 1_000_000);
        }
    }

    /// After a clock was set back, one attempt is allowed at once, and counted at the new time.
    #[test]
    fn a_clock_set_back_locks_no_name(count in LIMIT..200, back in 1..i64::from(u32::MAX)) {
        let failures = Failures { count, last: Some(at(back)) };
        let throttle = Throttle::new(LIMIT);
        prop_assert_eq!(throttle.wait_of(failures, at(0)), None);
        let after = throttle.wait_of(failures.plus_one(at(0)), at(0));
        prop_assert_eq!(after, full_wait(count + 1));
    }

    /// For all outcomes and durations of the attempts: never more attempts are pending than may
    /// still fail, each is decided or refused, and the last one removes the gate.
    #[test]
    fn never_more_attempts_are_pending_than_may_fail(
        before in 0..8u32,
        attempts in prop::collection::vec((any::<bool>(), 0..4u8, 0..4u8), 1..60),
    ) {
        let name = Name::new(before);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let attempts = attempts.into_iter().map(|attempt| name.attempt(attempt));
        runtime.block_on(join_all(attempts));
        prop_assert_eq!(name.pending.get(), 0);
        prop_assert!(lock(&name.throttle.gates).is_empty());
    }

    /// If all attempts fail while the clock stands still, only the failures left before the limit
    /// are tried.
    #[test]
    fn concurrent_guesses_are_tried_up_to_the_limit(
        before in 0..8u32,
        pauses in prop::collection::vec((0..4u8, 0..4u8), 1..60),
    ) {
        let name = Name::new(before);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let guesses = pauses.iter().map(|(check, release)| name.attempt((false, *check, *release)));
        let tried = runtime.block_on(join_all(guesses));
        let tried = tried.into_iter().filter(|tried| *tried).count();
        let allowed = usize::try_from(LIMIT.saturating_sub(before)).unwrap();
        prop_assert_eq!(tried, allowed.min(pauses.len()));
    }
}

/// A name with its count of failures, in place of the store.
struct Name {
    throttle: Throttle,
    failures: Cell<u32>,
    pending: Cell<u32>,
}

impl Name {
    fn new(failures: u32) -> Self {
        Self {
            throttle: Throttle::new(LIMIT),
            failures: Cell::new(failures),
            pending: Cell::new(0),
        }
    }

    /// Makes an attempt, with pauses before it is decided and before its permit is dropped. Returns
    /// whether it was admitted.
    async fn attempt(&self, (right, check, release): (bool, u8, u8)) -> bool {
        let read = || async {
            pause(check).await;
            Ok::<_, Infallible>(self.failures.get())
        };
        let judge = |count: &u32| {
            let failures = Failures {
                count: *count,
                last: Some(at(0)),
            };
            (failures, at(0))
        };
        let Ok(entered) = self.throttle.enter("alice", read, judge).await;
        let Ok((_, permit)) = entered else {
            return false;
        };
        self.pending.set(self.pending.get() + 1);
        let allowed = LIMIT.saturating_sub(self.failures.get()).max(1);
        assert!(self.pending.get() <= allowed, "of {allowed}");
        pause(check).await;
        let failures = if right { 0 } else { self.failures.get() + 1 };
        self.failures.set(failures);
        self.pending.set(self.pending.get() - 1);
        pause(release).await;
        drop(permit);
        true
    }
}

async fn pause(turns: u8) {
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
}
