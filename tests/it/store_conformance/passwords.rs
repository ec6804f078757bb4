//! Changing a password, revoking sessions with it, strengthening a record.

use platypush_userd::model::User;
use platypush_userd::store::StoreError;

use super::Engine;
use super::bench::{Bench, proof, record, wait};

pub fn a_new_password_leaves_all_else_as_it_was<E: Engine>() {
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

pub fn revoking_ends_all_sessions_of_the_user_and_of_nobody_else<E: Engine>() {
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

    let alive = |bench: &Bench<E>| (0..20).filter(|n| bench.is_there(*n)).collect::<Vec<_>>();
    let of_bob: Vec<_> = (0..20).filter(|number| number % 2 == 1).collect();
    assert_eq!(alive(&bench), of_bob);
    bench.reopen();
    assert_eq!(alive(&bench), of_bob);
    bench.session(20, &alice, None);
    assert!(bench.is_there(20), "sessions from then on are good");
    assert_eq!(alive(&bench), of_bob);
}

pub fn a_stronger_record_takes_the_place_of_its_own_weaker_one_only<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    bench.user("first");
    let alice = bench.user_with_factor("alice", 7);
    bench.session(1, &alice, None);
    let (id, weak) = (alice.id, alice.password);
    let replace =
        |bench: &Bench<E>, id, from, to| wait(bench.store().replace_password_record(id, from, to));
    let refused = |bench: &Bench<E>, id, from| {
        bench.refuses(
            &StoreError::Conflict,
            bench.store().replace_password_record(id, from, record("x")),
        );
    };

    refused(&bench, id, record("never there"));
    refused(&bench, 1, weak.clone());
    for nobody in [0, id + 1, u64::MAX] {
        refused(&bench, nobody, weak.clone());
    }

    // All but the record is as it was: no code is spent, no session ends.
    let before = bench.read("alice");
    replace(&bench, id, weak.clone(), record("strong")).unwrap();
    let expected = User {
        password: record("strong"),
        ..before
    };
    assert_eq!(bench.read("alice"), expected);
    assert!(bench.is_there(1));

    refused(&bench, id, weak.clone());
    bench.reopen();
    assert_eq!(bench.read("alice"), expected);
    refused(&bench, id, weak);
    bench.delete("alice");
    refused(&bench, id, record("strong"));
}
