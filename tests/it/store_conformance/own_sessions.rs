//! Sessions of one user: listing, ending and recording their use.

use chrono::TimeDelta;
use platypush_userd::model::{TokenHash, User};
use platypush_userd::store::{AdminUpdate, StoreError};

use super::Engine;
use super::bench::{Bench, at, noon, proof, record, rules, token, wait};
use crate::store_changes::Changes as _;

const NONE: [u64; 0] = [];

/// Returns the numbers of the tokens of a user's current sessions.
#[track_caller]
fn listed<E: Engine>(bench: &Bench<E>, name: &str) -> Vec<u64> {
    let user = bench.read(name);
    let sessions = wait(bench.store().sessions_of(user.id, user.generation)).unwrap();
    for session in &sessions {
        let found = wait(bench.store().session(&session.token)).unwrap();
        assert_eq!(found, Some((session.clone(), user.clone().into())));
    }
    let number = |token_hash: TokenHash| (0..100).find(|number| token(*number) == token_hash);
    let mut numbers: Vec<_> = sessions.iter().map(|s| number(s.token).unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

/// Returns a bench in which alice has sessions 1 to 3, of which 3 has expired, and bob has 11 and
/// 12.
fn bench_of_two<E: Engine>() -> (Bench<E>, User, User) {
    let mut bench = Bench::<E>::fresh();
    let [alice, bob] = ["alice", "bob"].map(|name| bench.user(name));
    for (number, user) in [(1, &alice), (2, &alice), (11, &bob), (12, &bob)] {
        bench.session(number, user, None);
    }
    bench.session(3, &alice, Some(at(0)));
    (bench, alice, bob)
}

pub fn sessions_are_listed_until_they_end<E: Engine>() {
    let (mut bench, alice, _) = bench_of_two::<E>();
    assert_eq!(listed(&bench, "alice"), [1, 2, 3], "expired or not");
    bench.reopen();
    assert_eq!(listed(&bench, "alice"), [1, 2, 3]);
    assert!(wait(bench.store().delete_session(&token(1), rules(noon()), None)).unwrap());
    assert_eq!(listed(&bench, "alice"), [2, 3]);
    wait(bench.store().sweep_sessions(None, 10, rules(noon()))).unwrap();
    assert_eq!(listed(&bench, "alice"), [2]);
    let revoked = bench
        .store()
        .set_password(proof(&alice), record("new"), true, None);
    let alice = wait(revoked).unwrap();
    assert_eq!(listed(&bench, "alice"), NONE);
    bench.session(4, &alice, None);
    assert_eq!(listed(&bench, "alice"), [4]);
    bench.reopen();
    assert_eq!(listed(&bench, "alice"), [4]);
    wait(bench.store().update_user("alice", AdminUpdate::EndSessions)).unwrap();
    assert_eq!(listed(&bench, "alice"), NONE);
    assert_eq!(listed(&bench, "bob"), [11, 12]);
}

pub fn a_user_can_end_one_session<E: Engine>() {
    let (mut bench, alice, _) = bench_of_two::<E>();
    let end = |bench: &Bench<E>, number| {
        let ended = bench
            .store()
            .end_sessions(proof(&alice), Some(token(number)), None);
        wait(ended).unwrap()
    };
    assert!(end(&bench, 1));
    let not_of_alice = [1, 11, 99];
    for number in not_of_alice {
        assert!(!end(&bench, number), "{number}");
    }
    bench.reopen();
    assert_eq!(listed(&bench, "alice"), [2, 3]);
    assert_eq!(listed(&bench, "bob"), [11, 12]);
    assert_eq!(bench.read("alice"), alice);
}

pub fn a_user_can_end_all_sessions<E: Engine>() {
    let (mut bench, alice, _) = bench_of_two::<E>();
    assert!(wait(bench.store().end_sessions(proof(&alice), None, None)).unwrap());
    bench.reopen();
    assert_eq!(listed(&bench, "alice"), NONE);
    assert!(!bench.has_session(1));
    assert_eq!(listed(&bench, "bob"), [11, 12]);
    // A precondition from before conflicts.
    bench.session(4, &bench.read("alice"), None);
    bench.refuses(
        &StoreError::Conflict,
        bench.store().end_sessions(proof(&alice), None, None),
    );
    assert_eq!(listed(&bench, "alice"), [4]);
}

pub fn ending_an_unknown_session_uses_the_code<E: Engine>() {
    let bench = Bench::<E>::fresh();
    bench.user("first");
    let alice = bench.user_with_factor("alice", 41);
    let end = || {
        let token = Some(token(1));
        bench.store().end_sessions(proof(&alice), token, None)
    };
    assert!(!wait(end()).unwrap());
    bench.refuses(&StoreError::Conflict, end());
}

pub fn the_time_of_last_use_only_increases<E: Engine>() {
    let (mut bench, alice, _) = bench_of_two::<E>();
    // `touch_session` does not wait, but a later operation does.
    let touch = |bench: &Bench<E>, number, micros| {
        bench
            .store()
            .touch_session(&token(number), at(micros), TimeDelta::zero());
        wait(bench.store().set_hash_key(Vec::new())).unwrap();
    };
    let used_at = |bench: &Bench<E>| {
        let (session, _) = wait(bench.store().session(&token(1))).unwrap().unwrap();
        session.used_at
    };
    let start = noon().timestamp_micros();
    for (offset, expected) in [(-1, 0), (9, 9), (8, 9)] {
        touch(&bench, 1, start + offset);
        assert_eq!(used_at(&bench), at(start + expected));
    }
    // Uses within one step are written once.
    let step = TimeDelta::microseconds(10);
    for (offset, expected) in [(18, 9), (19, 19)] {
        let used = at(start + offset);
        bench.store().touch_session(&token(1), used, step);
        touch(&bench, 99, start);
        assert_eq!(used_at(&bench), at(start + expected));
    }
    bench.reopen();
    assert_eq!(used_at(&bench), at(start + 19));
    assert_eq!(listed(&bench, "alice"), [1, 2, 3]);

    // A use does not restore an ended session.
    assert!(
        wait(
            bench
                .store()
                .end_sessions(proof(&alice), Some(token(1)), None)
        )
        .unwrap()
    );
    let before = bench.state();
    for number in [1, 99] {
        touch(&bench, number, start + 30);
    }
    assert_eq!(bench.state(), before);
    assert_eq!(listed(&bench, "alice"), [2, 3]);
}
