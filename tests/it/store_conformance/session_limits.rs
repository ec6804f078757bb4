//! Limits of session lifetime and idle time, which override a session's own expiry.

use chrono::TimeDelta;
use platypush_userd::clock::Timestamp;
use platypush_userd::model::{SessionLimits, SessionRules};

use super::Engine;
use super::bench::{Bench, noon, rules, token, wait};
use crate::store_changes::Changes as _;

const LIMIT: TimeDelta = TimeDelta::seconds(10);

const LIFETIME: SessionLimits = SessionLimits {
    max_lifetime: Some(LIMIT),
    idle_timeout: None,
};
const IDLE: SessionLimits = SessionLimits {
    max_lifetime: None,
    idle_timeout: Some(LIMIT),
};

/// Returns the last time at which a session since that time is valid, and the first at which it is
/// not.
fn around(since: Timestamp) -> [Timestamp; 2] {
    let end = since + LIMIT;
    [end - TimeDelta::microseconds(1), end]
}

/// Returns a bench with a session that was created at noon, and the later time of its last use.
fn used_later<E: Engine>() -> (Bench<E>, Timestamp) {
    let mut bench = Bench::<E>::fresh();
    let alice = bench.user("alice");
    bench.session(1, &alice, None);
    let used = noon() + TimeDelta::seconds(6);
    bench
        .store()
        .touch_session(&token(1), used, TimeDelta::zero());
    (bench, used)
}

fn is_swept<E: Engine>(bench: &Bench<E>, rules: SessionRules) -> bool {
    let removed = wait(bench.store().sweep_sessions(None, 10, rules));
    removed.unwrap().removed == 1
}

pub fn limits_end_sessions_at_the_exact_time<E: Engine>() {
    for (limits, used) in [(LIFETIME, false), (IDLE, true)] {
        let (mut bench, later) = used_later::<E>();
        bench.reopen();
        let [last, end] = around(if used { later } else { noon() });
        assert!(!is_swept(&bench, limits.at(last)), "{limits:?}");
        assert!(!is_swept(&bench, rules(end)), "without a limit");
        assert!(is_swept(&bench, limits.at(end)), "{limits:?}");
        assert!(!bench.has_session(1));
    }
}

pub fn deleting_a_session_past_its_limit_returns_false<E: Engine>() {
    for (limits, used) in [(LIFETIME, false), (IDLE, true)] {
        let [last, end] = around(if used { used_later::<E>().1 } else { noon() });
        for (now, was_valid) in [(last, true), (end, false)] {
            let bench = used_later::<E>().0;
            let (token, rules) = (token(1), limits.at(now));
            let deleted = bench.store().delete_session(&token, rules, None);
            assert_eq!(wait(deleted).unwrap(), was_valid, "{limits:?}, {now}");
            assert!(!bench.has_session(1));
        }
    }
}

pub fn the_earliest_limit_applies<E: Engine>() {
    let (both, expires_at) = (
        SessionLimits {
            max_lifetime: Some(LIMIT),
            idle_timeout: Some(LIMIT / 2),
        },
        noon() + LIMIT / 5,
    );
    let mut bench = Bench::<E>::fresh();
    let alice = bench.user("alice");
    bench.session(1, &alice, Some(expires_at));
    bench.session(2, &alice, None);
    bench.session(3, &alice, Some(noon() + LIMIT * 2));
    bench
        .store()
        .touch_session(&token(3), noon() + LIMIT / 2, TimeDelta::zero());
    let alive = |bench: &Bench<E>| {
        (1..=3)
            .filter(|n| bench.has_session(*n))
            .collect::<Vec<u64>>()
    };
    for (now, left) in [
        (expires_at, vec![2, 3]),
        (noon() + LIMIT / 2, vec![3]),
        (noon() + LIMIT, vec![]),
    ] {
        wait(bench.store().sweep_sessions(None, 10, both.at(now))).unwrap();
        assert_eq!(alive(&bench), left, "{now}");
    }
}
