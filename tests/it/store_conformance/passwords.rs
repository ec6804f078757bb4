//! Passwords: changing them, revoking sessions with a change, and rehashing records.

use platypush_userd::model::User;
use platypush_userd::store::StoreError;

use super::Engine;
use super::bench::{Bench, proof, record, wait};
use crate::store_changes::Changes as _;

pub fn a_new_password_changes_nothing_else<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    bench.user("first");
    let alice = bench.user_with_factor("alice", 7);
    bench.session(1, &alice, None);
    let alice = bench.read("alice");
    let mut expected = bench.state();

    let set = bench
        .store()
        .set_password(proof(&alice), record("new"), false, None);
    let changed = wait(set).unwrap();
    let mut factor = alice.second_factor.clone();
    factor.as_mut().unwrap().last_step += 1;
    let alice = User {
        password: record("new"),
        second_factor: factor,
        ..alice
    };
    assert_eq!(changed, alice);
    expected.users[1] = alice.clone();
    expected.by_name[1] = Some(alice.clone());
    expected.sessions[0].as_mut().unwrap().1 = alice.into();
    assert_eq!(bench.state(), expected);
    bench.reopen();
    assert_eq!(bench.state(), expected);
}

pub fn revoking_ends_all_sessions_of_the_user_only<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    let [alice, bob] = ["alice", "bob"].map(|name| bench.user(name));
    for number in 0..20 {
        bench.session(number, [&alice, &bob][number as usize % 2], None);
    }
    let set = bench
        .store()
        .set_password(proof(&alice), record("new"), true, None);
    let alice = wait(set).unwrap();
    assert_eq!(alice, bench.read("alice"));
    assert_eq!(alice.password, record("new"));

    let alive = |bench: &Bench<E>| {
        (0..20)
            .filter(|n| bench.has_session(*n))
            .collect::<Vec<_>>()
    };
    let of_bob: Vec<_> = (0..20).filter(|number| number % 2 == 1).collect();
    assert_eq!(alive(&bench), of_bob);
    bench.reopen();
    assert_eq!(alive(&bench), of_bob);
    bench.session(20, &alice, None);
    assert!(bench.has_session(20), "later sessions are valid");
    assert_eq!(alive(&bench), of_bob);
}

pub fn a_rehashed_record_replaces_only_its_original<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    bench.user("first");
    let alice = bench.user_with_factor("alice", 7);
    bench.session(1, &alice, None);
    let (id, original) = (alice.id, alice.password);
    let replace =
        |bench: &Bench<E>, id, from, to| wait(bench.store().replace_password_record(id, from, to));
    let refused = |bench: &Bench<E>, id, from| {
        bench.refuses(
            &StoreError::Conflict,
            bench.store().replace_password_record(id, from, record("x")),
        );
    };

    refused(&bench, id, record("never stored"));
    refused(&bench, 1, original.clone());
    for unknown_id in [0, id + 1, u64::MAX] {
        refused(&bench, unknown_id, original.clone());
    }

    // Only the record changes: no code is used and no session ends.
    let before = bench.read("alice");
    replace(&bench, id, original.clone(), record("rehashed")).unwrap();
    let expected = User {
        password: record("rehashed"),
        ..before
    };
    assert_eq!(bench.read("alice"), expected);
    assert!(bench.has_session(1));

    refused(&bench, id, original.clone());
    bench.reopen();
    assert_eq!(bench.read("alice"), expected);
    refused(&bench, id, original);
    bench.delete("alice");
    refused(&bench, id, record("rehashed"));
}
