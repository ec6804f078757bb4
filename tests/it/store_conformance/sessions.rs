//! Sessions: stored data and all ways to end them.

use chrono::SubsecRound as _;
use platypush_userd::clock::Timestamp;
use platypush_userd::model::Session;

use super::Engine;
use super::bench::{Bench, at, new_session, noon, proof, rules, token, wait};
use crate::store_changes::Changes as _;

const SECOND: i64 = 1_000_000;

fn delete<E: Engine>(bench: &Bench<E>, number: u64) -> bool {
    wait(
        bench
            .store()
            .delete_session(&token(number), rules(noon()), None),
    )
    .unwrap()
}

pub fn a_session_is_stored_as_created<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    bench.user("first");
    let alice = bench.user("alice");
    let new = new_session(1, Some(at(1_795_521_660_000_001)));
    let expected = Session {
        token: token(1),
        user_id: alice.id,
        generation: alice.generation,
        created_at: noon(),
        expires_at: Some(at(1_795_521_660_000_001)),
        used_at: noon(),
    };
    let created = wait(bench.store().create_session(new, proof(&alice), None)).unwrap();
    assert_eq!(created, (expected.clone(), alice.clone()));
    let expected = (expected, alice.into());
    let read = |bench: &Bench<E>, number| wait(bench.store().session(&token(number))).unwrap();
    assert_eq!(read(&bench, 1), Some(expected.clone()));
    assert_eq!(read(&bench, 2), None);
    bench.reopen();
    assert_eq!(read(&bench, 1), Some(expected));
}

pub fn extreme_expiry_times_are_stored<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    let alice = bench.user("alice");
    let extremes = [
        None,
        Some(at(0)),
        Some(at(-1)),
        Some(at(1)),
        Some(at(i64::from(i32::MAX) * SECOND + 999_999)),
        Some(at(253_402_300_799_999_999)),
        Some(Timestamp::MIN_UTC),
        Some(Timestamp::MAX_UTC.trunc_subsecs(6)),
    ];
    for (expires_at, number) in extremes.into_iter().zip(0..) {
        let created = bench.session(number, &alice, expires_at);
        assert_eq!(created.expires_at, expires_at);
    }
    let stored = |bench: &Bench<E>| -> Vec<_> {
        let found = bench.state().sessions.into_iter();
        found.map(|session| session.unwrap().0.expires_at).collect()
    };
    assert_eq!(stored(&bench), extremes);
    bench.reopen();
    assert_eq!(stored(&bench), extremes);
}

pub fn expired_sessions_are_returned<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    let alice = bench.user("alice");
    bench.session(1, &alice, Some(Timestamp::MIN_UTC));
    let (session, _) = wait(bench.store().session(&token(1))).unwrap().unwrap();
    assert!(session.belongs_to(&alice) && !session.is_valid(&alice, &rules(noon())));
}

pub fn deleting_returns_true_once<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    let alice = bench.user("alice");
    bench.session(1, &alice, None);
    bench.session(2, &alice, None);
    assert!(!delete(&bench, 3), "unknown session");
    assert!(delete(&bench, 1));
    assert!(!bench.has_session(1) && bench.has_session(2));
    assert!(!delete(&bench, 1));
    bench.reopen();
    assert!(!bench.has_session(1) && bench.has_session(2));
    assert!(!delete(&bench, 1));
    assert!(delete(&bench, 2));
}

pub fn deleting_an_expired_session_returns_false<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    let alice = bench.user("alice");
    let around_now =
        [-SECOND, -1, 0, 1, SECOND].map(|micros| at(noon().timestamp_micros() + micros));
    for (expires_at, number) in around_now.into_iter().zip(0..) {
        bench.session(number, &alice, Some(expires_at));
    }
    let deleted = [0, 1, 2, 3, 4].map(|number| delete(&bench, number));
    assert_eq!(deleted, [false, false, false, true, true]);
    assert_eq!(bench.state().sessions, vec![None; 5], "all are removed");
}

pub fn deleting_a_session_without_its_user_returns_false<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    bench.user("first");
    let [deleted, revoked] = ["deleted", "revoked"].map(|name| bench.user(name));
    bench.session(1, &deleted, None);
    bench.session(2, &revoked, None);
    bench.delete("deleted");
    let same = revoked.password.clone();
    wait(
        bench
            .store()
            .set_password(proof(&revoked), same, true, None),
    )
    .unwrap();
    for number in [1, 2, 1, 2] {
        assert!(!delete(&bench, number));
    }
}

pub fn sessions_end_with_their_user<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    let [alice, bob] = ["alice", "bob"].map(|name| bench.user(name));
    for number in 0..300 {
        bench.session(number, [&alice, &bob][number as usize % 2], None);
    }
    bench.delete("bob");
    let of_alice =
        |bench: &Bench<E>| (0..300).all(|number| bench.has_session(number) == (number % 2 == 0));
    assert!(of_alice(&bench));
    bench.reopen();
    assert!(of_alice(&bench));
}

pub fn sessions_are_not_revived_by_a_new_user_with_the_same_name<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    // The only user, so that the store is empty after the deletion.
    let first = bench.user("alice");
    bench.session(1, &first, None);
    bench.delete("alice");
    let second = bench.user("alice");
    assert_eq!(second.password, first.password);
    assert!(!bench.has_session(1));
    bench.reopen();
    assert!(!bench.has_session(1));
    // The same token hash can be used again, for the new user.
    bench.session(1, &second, None);
    let found = wait(bench.store().session(&token(1))).unwrap();
    assert_eq!(found.map(|(_, user)| user), Some(second.into()));
}
