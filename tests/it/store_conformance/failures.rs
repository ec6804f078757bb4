//! Failed attempts of users and under unknown names.

use platypush_userd::model::{Attempted, Failures, NameHash, User};
use platypush_userd::store::Store;

use super::Engine;
use super::bench::{Bench, at, at_once, proof, wait};
use super::operations::Operation;
use crate::store_changes::Changes as _;

const fn name(number: u8) -> NameHash {
    NameHash([number; 16])
}

const fn unknown_name(number: u8) -> Attempted {
    Attempted::UnknownName(name(number))
}

/// Counts a failed attempt and returns the new failures.
fn note<E: Engine>(bench: &Bench<E>, attempted: Attempted, micros: i64) -> Failures {
    wait(bench.store().note_failure(attempted, at(micros), None)).unwrap()
}

fn read(store: &dyn Store, number: u8) -> Failures {
    wait(store.failures(&name(number))).unwrap()
}

/// Returns failures with a count and the time of the last one.
fn failures(count: u32, micros: i64) -> Failures {
    Failures {
        count,
        last: Some(at(micros)),
    }
}

pub fn failures_of_a_user_are_counted<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    let [first, alice] = ["first", "alice"].map(|name| bench.user(name));
    for (micros, count) in [(-5, 1), (i64::from(u32::MAX) << 20, 2), (3, 3)] {
        let noted = note(&bench, Attempted::User(alice.id), micros);
        assert_eq!(noted, failures(count, micros));
        let expected = User {
            failures: noted,
            ..alice.clone()
        };
        assert_eq!(bench.read("alice"), expected);
        bench.reopen();
        assert_eq!(bench.read("alice"), expected);
    }
    assert_eq!(bench.read("first"), first);
}

pub fn any_success_resets_the_failures<E: Engine>() {
    let bench = Bench::<E>::fresh();
    bench.user("first");
    for (operation, number) in Operation::ALL.into_iter().zip(1..) {
        for last_step in [None, Some(41)] {
            let name = format!("{operation:?}, {last_step:?}");
            let user = match last_step {
                None => bench.user(&name),
                Some(step) => bench.user_with_factor(&name, step),
            };
            note(&bench, Attempted::User(user.id), 1);
            let number = 2 * number + u64::from(last_step.is_some());
            wait(operation.run(bench.store(), &name, proof(&user), number)).unwrap();
            let user = wait(bench.store().user_by_name(&name)).unwrap();
            let left = user.map_or_else(Failures::default, |user| user.failures);
            assert_eq!(left, Failures::default(), "{name}");
        }
    }
}

pub fn a_refused_operation_resets_no_failures<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    bench.user("first");
    let alice = bench.user_with_factor("alice", 41);
    bench.watch(1);
    note(&bench, Attempted::User(alice.id), 1);
    let mut stale = proof(&alice);
    stale.generation += 1;
    for operation in Operation::ALL {
        let refused = operation.run(bench.store(), "alice", stale.clone(), 1);
        bench.refuses(&platypush_userd::store::StoreError::Conflict, refused);
    }
    assert_eq!(bench.read("alice").failures, failures(1, 1));
}

pub fn failures_of_a_deleted_user_are_not_counted<E: Engine>() {
    let bench = Bench::<E>::fresh();
    bench.user("first");
    let deleted = bench.user("alice").id;
    bench.delete("alice");
    let before = bench.state();
    for id in [0, deleted, deleted + 1, u64::MAX] {
        let noted = note(&bench, Attempted::User(id), 1);
        assert_eq!(noted, Failures::default());
        wait(bench.store().forget_failures(Attempted::User(id))).unwrap();
    }
    assert_eq!(bench.state(), before);
    assert_eq!(bench.user("alice").failures, Failures::default());
}

pub fn failures_of_unknown_names_are_counted_by_name<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    for (number, micros, count) in [(1, 10, 1), (2, 20, 1), (1, 30, 2), (1, 15, 3)] {
        let noted = note(&bench, unknown_name(number), micros);
        assert_eq!(noted, failures(count, micros));
    }
    let expected = [Failures::default(), failures(3, 15), failures(1, 20)];
    let all = |bench: &Bench<E>| [0, 1, 2].map(|number| read(bench.store(), number));
    assert_eq!(all(&bench), expected);
    bench.reopen();
    assert_eq!(all(&bench), expected);
}

pub fn failures_are_reset_on_demand<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    let [alice, bob] = ["alice", "bob"].map(|name| bench.user(name));
    let attempted = [
        Attempted::User(alice.id),
        Attempted::User(bob.id),
        unknown_name(1),
        unknown_name(2),
    ];
    for attempted in attempted {
        note(&bench, attempted, 1);
    }
    for again in [false, true] {
        for forgotten in [attempted[0], attempted[2], unknown_name(3)] {
            wait(bench.store().forget_failures(forgotten)).unwrap();
        }
        assert_eq!(bench.read("alice"), alice, "again: {again}");
        assert_eq!(bench.read("bob").failures, failures(1, 1));
        assert_eq!(read(bench.store(), 1), Failures::default());
        assert_eq!(read(bench.store(), 2), failures(1, 1));
        bench.reopen();
    }
    note(&bench, unknown_name(1), 2);
    assert_eq!(read(bench.store(), 1), failures(1, 2), "restarts at 1");
}

pub fn the_name_with_the_oldest_attempt_is_evicted<E: Engine>() {
    let mut bench = Bench::<E>::with_max_attempted(3);
    let known = |bench: &Bench<E>| -> Vec<u8> {
        let known = |number: &u8| read(bench.store(), *number).count > 0;
        (1..=9).filter(known).collect()
    };
    // 1 is tried again, so that 2 has the oldest last attempt.
    for (number, micros) in [(1, 10), (2, 20), (3, 30), (1, 40)] {
        note(&bench, unknown_name(number), micros);
    }
    assert_eq!(known(&bench), [1, 2, 3]);
    note(&bench, unknown_name(4), 50);
    assert_eq!(known(&bench), [1, 3, 4]);
    assert_eq!(read(bench.store(), 1), failures(2, 40));
    // A known name and a user need no further entry.
    let alice = bench.user("alice");
    note(&bench, unknown_name(3), 60);
    note(&bench, Attempted::User(alice.id), 60);
    assert_eq!(known(&bench), [1, 3, 4]);

    bench.reopen();
    note(&bench, unknown_name(5), 70);
    assert_eq!(known(&bench), [3, 4, 5]);
    // A reset frees an entry, once.
    wait(bench.store().forget_failures(unknown_name(3))).unwrap();
    wait(bench.store().forget_failures(unknown_name(3))).unwrap();
    note(&bench, unknown_name(6), 80);
    assert_eq!(known(&bench), [4, 5, 6]);
    note(&bench, unknown_name(2), 90);
    assert_eq!(known(&bench), [2, 5, 6]);
    assert_eq!(read(bench.store(), 2), failures(1, 90), "restarts at 1");
}

pub fn concurrent_failures_are_all_counted<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    let alice = bench.user("alice");
    let attempted = [Attempted::User(alice.id), unknown_name(1)];
    at_once(60, async |number| {
        let noted = bench
            .store()
            .note_failure(attempted[number % 2], at(number as i64), None);
        noted.await.unwrap();
    });
    let counts = |bench: &Bench<E>| {
        let of_alice = bench.read("alice").failures.count;
        (of_alice, read(bench.store(), 1).count)
    };
    assert_eq!(counts(&bench), (30, 30));
    bench.reopen();
    assert_eq!(counts(&bench), (30, 30));
}
