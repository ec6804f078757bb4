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

/// How long a name with so many failures waits after the last of them.
fn whole_wait(count: u32) -> Option<u64> {
    let last = Some(at(0));
    Throttle::new(LIMIT).wait_of(Failures { count, last }, at(0))
}

#[test]
fn waits_double_from_a_second_to_a_minute_and_end_at_an_hour() {
    for count in 0..LIMIT {
        assert_eq!(whole_wait(count), None, "{count} failures");
    }
    for (count, seconds) in (LIMIT..).zip([1, 2, 4, 8, 16, 32]) {
        assert_eq!(whole_wait(count), Some(seconds), "{count} failures");
    }
    for count in 11..100 {
        assert_eq!(whole_wait(count), Some(60), "{count} failures");
    }
    for count in [100, 101, 1_000, u32::MAX] {
        assert_eq!(whole_wait(count), Some(3_600), "{count} failures");
    }
}

#[test]
fn nobody_waits_where_it_is_off_or_nothing_failed() {
    let failures = Failures {
        count: 1_000,
        last: Some(at(0)),
    };
    assert_eq!(Throttle::new(0).wait_of(failures, at(0)), None);
    let none = Failures::default();
    assert_eq!(Throttle::new(LIMIT).wait_of(none, at(0)), None);
}

proptest! {
    /// It is never too early: who comes after the seconds that were named is
    /// let in; nor too late: a second sooner is too soon.
    #[test]
    fn who_waits_the_seconds_that_were_named_is_let_in(
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
            let sooner = later - TimeDelta::seconds(1);
            let left = throttle.wait_of(failures, sooner);
            prop_assert!(seconds == 1 || left == Some(1), "{:?} left", left);
        } else {
            let whole = whole_wait(count).unwrap();
            prop_assert!(passed >= i64::try_from(whole).unwrap() * 1_000_000);
        }
    }

    /// A clock that was set back keeps nobody waiting until it has caught up:
    /// one attempt is let in, and counted at the new time.
    #[test]
    fn a_clock_set_back_locks_nobody_out(count in LIMIT..200, back in 1..i64::from(u32::MAX)) {
        let failures = Failures { count, last: Some(at(back)) };
        let throttle = Throttle::new(LIMIT);
        prop_assert_eq!(throttle.wait_of(failures, at(0)), None);
        let after = throttle.wait_of(failures.and_one(at(0)), at(0));
        prop_assert_eq!(after, whole_wait(count + 1));
    }

    /// Whatever the attempts turn out to be and however long each takes:
    /// never are more undecided than may still fail, all are decided or
    /// refused, and the gate goes with the last of them.
    #[test]
    fn never_more_are_undecided_than_may_fail(
        before in 0..8u32,
        attempts in prop::collection::vec((any::<bool>(), 0..4u8, 0..4u8), 1..60),
    ) {
        let name = Name::new(before);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let attempts = attempts.into_iter().map(|attempt| name.attempt(attempt));
        runtime.block_on(join_all(attempts));
        prop_assert_eq!(name.undecided.get(), 0);
        prop_assert!(lock(&name.throttle.gates).is_empty());
    }

    /// Where all fail, while time stands still: as many are tried as are
    /// missing to the limit.
    #[test]
    fn guesses_at_once_are_tried_up_to_the_limit(
        before in 0..8u32,
        pauses in prop::collection::vec((0..4u8, 0..4u8), 1..60),
    ) {
        let name = Name::new(before);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let guesses = pauses.iter().map(|(long, last)| name.attempt((false, *long, *last)));
        let tried = runtime.block_on(join_all(guesses));
        let tried = tried.into_iter().filter(|tried| *tried).count();
        let room = usize::try_from(LIMIT.saturating_sub(before)).unwrap();
        prop_assert_eq!(tried, room.min(pauses.len()));
    }
}

/// A name that is tried, its count of failures standing for the store.
struct Name {
    throttle: Throttle,
    failures: Cell<u32>,
    undecided: Cell<u32>,
}

impl Name {
    fn new(failures: u32) -> Self {
        Self {
            throttle: Throttle::new(LIMIT),
            failures: Cell::new(failures),
            undecided: Cell::new(0),
        }
    }

    /// One attempt, with pauses before it is decided and before its pass is
    /// given up; whether it was let in.
    async fn attempt(&self, (right, thinking, leaving): (bool, u8, u8)) -> bool {
        let read = || async {
            pause(thinking).await;
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
        let Ok((_, pass)) = entered else {
            return false;
        };
        self.undecided.set(self.undecided.get() + 1);
        let allowed = LIMIT.saturating_sub(self.failures.get()).max(1);
        assert!(self.undecided.get() <= allowed, "of {allowed}");
        pause(thinking).await;
        let failures = if right { 0 } else { self.failures.get() + 1 };
        self.failures.set(failures);
        self.undecided.set(self.undecided.get() - 1);
        pause(leaving).await;
        drop(pass);
        true
    }
}

async fn pause(turns: u8) {
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
}
