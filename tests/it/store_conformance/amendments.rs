//! Changes of a user by the operator, without a password of the user.

use platypush_userd::model::{Attempted, Failures, SecretFingerprint, UsedSecret, User};
use platypush_userd::store::{AdminUpdate, StoreError};

use super::Engine;
use super::bench::{Bench, at, proof, record, wait};
use super::operations::Operation;
use crate::store_changes::Changes as _;

fn all() -> [AdminUpdate; 5] {
    [
        AdminUpdate::DropSecondFactor,
        AdminUpdate::EndSessions,
        AdminUpdate::DropApiTokens,
        AdminUpdate::ResetPassword {
            record: record("reset"),
            keep_api_tokens: false,
        },
        AdminUpdate::ResetPassword {
            record: record("reset"),
            keep_api_tokens: true,
        },
    ]
}

pub fn an_update_changes_nothing_else<E: Engine>() {
    for update in all() {
        let mut bench = Bench::<E>::fresh();
        bench.session(1, &bench.user("first"), None);
        let alice = bench.user_with_factor("alice", 41);
        bench.session(2, &alice, None);
        let failed = Attempted::User(alice.id);
        wait(bench.store().note_failure(failed, at(7), None)).unwrap();
        bench.api_token("backup", &bench.read("alice"));
        let before = bench.read("alice");
        let used = before.second_factor.as_ref().unwrap().last_step;
        let expected = match &update {
            AdminUpdate::DropSecondFactor => User {
                second_factor: None,
                used_secrets: vec![UsedSecret {
                    fingerprint: SecretFingerprint([0; 16]),
                    last_step: used,
                }],
                ..before
            },
            AdminUpdate::EndSessions => User {
                generation: before.generation + 1,
                ..before
            },
            AdminUpdate::DropApiTokens => User {
                api_tokens: Vec::new(),
                ..before
            },
            AdminUpdate::ResetPassword {
                record,
                keep_api_tokens,
            } => User {
                password: record.clone(),
                generation: before.generation + 1,
                failures: Failures::default(),
                api_tokens: if *keep_api_tokens {
                    before.api_tokens.clone()
                } else {
                    Vec::new()
                },
                ..before
            },
        };
        let mut state = bench.state();
        state.users[1] = expected.clone();
        state.by_name[1] = Some(expected.clone());
        state.sessions[1] = state.sessions[1]
            .take()
            .filter(|(session, _)| session.belongs_to(&expected))
            .map(|(session, _)| (session, expected.clone().into()));

        let updated = bench.store().update_user("alice", update.clone());
        assert_eq!(wait(updated).unwrap(), expected, "{update:?}");
        assert_eq!(bench.state(), state, "{update:?}");
        bench.reopen();
        assert_eq!(bench.state(), state, "{update:?}");
    }
}

pub fn a_precondition_from_before_an_update_conflicts<E: Engine>() {
    // API tokens are not part of a precondition.
    let conflicts = |update: &AdminUpdate| !matches!(update, AdminUpdate::DropApiTokens);
    for update in all().into_iter().filter(conflicts) {
        let bench = Bench::<E>::fresh();
        bench.user("first");
        let alice = bench.user_with_factor("alice", 41);
        wait(bench.store().update_user("alice", update)).unwrap();
        for operation in Operation::ALL {
            bench.refuses(
                &StoreError::Conflict,
                operation.run(bench.store(), "alice", proof(&alice), 1),
            );
        }
    }
}

pub fn an_unknown_user_cannot_be_updated<E: Engine>() {
    let bench = Bench::<E>::fresh();
    for name in ["alice", "bob"] {
        bench.user(name);
    }
    bench.delete("bob");
    for update in all() {
        for name in ["bob", "", "Alice"] {
            bench.refuses(
                &StoreError::NoSuchUser,
                bench.store().update_user(name, update.clone()),
            );
        }
    }
}
