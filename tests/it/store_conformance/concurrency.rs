//! Concurrent operations of which only one may succeed.

use platypush_userd::model::CodeUse;
use platypush_userd::store::{PasswordPrecondition, Precondition, StoreError};

use super::Engine;
use super::bench::{
    Bench, assert_fails, at_once, backup_code, new_session, new_user, noon, proof, record, rules,
    token, wait,
};
use super::operations::Operation;
use crate::store_changes::Changes as _;

/// Asserts that exactly one operation succeeded and all others failed with `others`. Returns the
/// index of the successful one.
#[track_caller]
fn single_winner<T>(results: &[Result<T, StoreError>], others: &StoreError) -> usize {
    let winners: Vec<_> = (0..results.len()).filter(|n| results[*n].is_ok()).collect();
    assert_eq!(winners.len(), 1);
    for loser in results.iter().filter(|result| result.is_err()) {
        assert_fails(loser, others);
    }
    winners[0]
}

pub fn of_100_concurrent_first_users_one_is_created<E: Engine>() {
    let bench = Bench::<E>::fresh();
    let results = at_once(100, async |number| {
        let new = new_user(&format!("user-{number}"));
        bench
            .store()
            .create_user(new, Precondition::NoUsers, None)
            .await
    });
    let winner = single_winner(&results, &StoreError::Conflict);
    let users = wait(bench.store().users()).unwrap();
    assert_eq!(users, [results[winner].clone().unwrap()]);
    assert_eq!((users[0].id, bench.user("next").id), (1, 2));
}

pub fn of_50_concurrent_users_of_a_name_one_is_created<E: Engine>() {
    let bench = Bench::<E>::fresh();
    let first = bench.user("first");
    let results = at_once(50, async |number| {
        let mut new = new_user("wanted");
        new.password = record(&number.to_string());
        let precondition = Precondition::Password(proof(&first));
        bench.store().create_user(new, precondition, None).await
    });
    let winner = single_winner(&results, &StoreError::NameTaken);
    assert_eq!(bench.read("wanted").password, record(&winner.to_string()));
    assert_eq!(bench.user("next").id, 3);
}

pub fn a_step_is_used_once<E: Engine>() {
    let bench = Bench::<E>::fresh();
    bench.user("first");
    let with_codes = [
        Operation::Accept,
        Operation::CreateSession,
        Operation::CreateUser,
        Operation::SetPassword,
    ];
    for (last_step, kinds) in [(10, &with_codes[..1]), (20, &with_codes)] {
        let name = format!("from {last_step}");
        let user = bench.user_with_factor(&name, last_step);
        let results = at_once(50, async |number| {
            let operation = kinds[number % kinds.len()];
            let number = last_step * 100 + number as u64;
            operation
                .run(bench.store(), &name, proof(&user), number)
                .await
        });
        single_winner(&results, &StoreError::Conflict);
        let used = bench.read(&name).second_factor.unwrap().last_step;
        assert_eq!(used, last_step + 1);
    }
}

pub fn a_backup_code_is_used_once<E: Engine>() {
    let bench = Bench::<E>::fresh();
    bench.user("first");
    let alice = bench.user_with_factor("alice", 41);
    let results = at_once(100, async |number| {
        let precondition = PasswordPrecondition {
            code: Some(CodeUse::Backup(backup_code(3))),
            ..proof(&alice)
        };
        let operation = [Operation::Accept, Operation::CreateSession][number % 2];
        operation
            .run(bench.store(), "alice", precondition, number as u64)
            .await
    });
    single_winner(&results, &StoreError::Conflict);
    let left = bench.read("alice").second_factor.unwrap().backup_codes;
    assert_eq!(left.len(), 9);
    assert!(!left.contains(&backup_code(3)));
}

pub fn a_password_record_is_replaced_once<E: Engine>() {
    let bench = Bench::<E>::fresh();
    let alice = bench.user("alice");
    let results = at_once(50, async |number| {
        let new = record(&number.to_string());
        if number % 2 == 0 {
            let set = bench
                .store()
                .set_password(proof(&alice), new, false, None)
                .await;
            set.map(drop)
        } else {
            let from = alice.password.clone();
            let replaced = bench.store().replace_password_record(alice.id, from, new);
            replaced.await
        }
    });
    let winner = single_winner(&results, &StoreError::Conflict);
    assert_eq!(bench.read("alice").password, record(&winner.to_string()));
}

pub fn a_session_is_deleted_once<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    let alice = bench.user("alice");
    bench.session(1, &alice, None);
    let deleted = at_once(50, async |_| {
        let deleted = bench
            .store()
            .delete_session(&token(1), rules(noon()), None)
            .await;
        deleted.unwrap()
    });
    assert_eq!(deleted.into_iter().filter(|deleted| *deleted).count(), 1);
}

pub fn no_session_outlives_its_user<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    bench.user("first");
    for round in 0..10 {
        let alice = bench.user("alice");
        bench.session(round * 100, &alice, None);
        let results = at_once(17, async |thread| {
            let store = bench.store();
            if thread == 16 {
                let precondition = Precondition::Session(token(round * 100));
                store
                    .delete_user("alice", precondition, None)
                    .await
                    .unwrap();
                return store.session(&token(round * 100)).await.unwrap().is_none();
            }
            let number = round * 100 + 1 + thread as u64;
            let session = store
                .create_session(new_session(number, None), proof(&alice), None)
                .await;
            let precondition = Precondition::Session(token(number));
            let user = store
                .create_user(new_user(&format!("{number}")), precondition, None)
                .await;
            // A session that was not created authorizes no operation.
            session.is_ok() || user.is_err()
        });
        assert_eq!(results, [true; 17]);
        assert!((0..=17).all(|number| !bench.has_session(round * 100 + number)));
    }
}
