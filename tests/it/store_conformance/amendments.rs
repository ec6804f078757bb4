//! What an operator changes of a user, who proves nothing.

use platypush_userd::model::{Attempted, Failures, SecretFingerprint, UsedSecret, User};
use platypush_userd::store::{Amendment, StoreError};

use super::Engine;
use super::bench::{Bench, at, proof, record, wait};
use super::operations::Operation;

fn all() -> [Amendment; 5] {
    [
        Amendment::DropSecondFactor,
        Amendment::EndSessions,
        Amendment::DropApiTokens,
        Amendment::ResetPassword {
            record: record("reset"),
            keep_api_tokens: false,
        },
        Amendment::ResetPassword {
            record: record("reset"),
            keep_api_tokens: true,
        },
    ]
}

pub fn each_changes_what_it_names_and_nothing_else<E: Engine>() {
    for amendment in all() {
        let mut bench = Bench::<E>::fresh();
        bench.session(1, &bench.user("first"), None);
        let alice = bench.user_with_factor("alice", 41);
        bench.session(2, &alice, None);
        let failed = Attempted::User(alice.id);
        wait(bench.store().note_failure(failed, at(7), None)).unwrap();
        bench.api_token("backup", &bench.read("alice"));
        let before = bench.read("alice");
        let used = before.second_factor.as_ref().unwrap().last_step;
        let expected = match &amendment {
            Amendment::DropSecondFactor => User {
                second_factor: None,
                used_secrets: vec![UsedSecret {
                    fingerprint: SecretFingerprint([0; 16]),
                    last_step: used,
                }],
                ..before
            },
            Amendment::EndSessions => User {
                generation: before.generation + 1,
                ..before
            },
            Amendment::DropApiTokens => User {
                api_tokens: Vec::new(),
                ..before
            },
            Amendment::ResetPassword {
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

        let amended = bench.store().amend_user("alice", amendment.clone());
        assert_eq!(wait(amended).unwrap(), expected, "{amendment:?}");
        assert_eq!(bench.state(), state, "{amendment:?}");
        bench.reopen();
        assert_eq!(bench.state(), state, "{amendment:?}");
    }
}

pub fn what_was_proved_before_serves_for_nothing_after<E: Engine>() {
    let proves_nothing = |amendment: &Amendment| matches!(amendment, Amendment::DropApiTokens);
    for amendment in all().into_iter().filter(|a| !proves_nothing(a)) {
        let bench = Bench::<E>::fresh();
        bench.user("first");
        let alice = bench.user_with_factor("alice", 41);
        wait(bench.store().amend_user("alice", amendment)).unwrap();
        for operation in Operation::ALL {
            bench.refuses(
                &StoreError::Changed,
                operation.run(bench.store(), "alice", proof(&alice), 1),
            );
        }
    }
}

pub fn nobody_cannot_be_amended<E: Engine>() {
    let bench = Bench::<E>::fresh();
    for name in ["alice", "bob"] {
        bench.user(name);
    }
    bench.delete("bob");
    for amendment in all() {
        for name in ["bob", "", "Alice"] {
            bench.refuses(
                &StoreError::NoSuchUser,
                bench.store().amend_user(name, amendment.clone()),
            );
        }
    }
}
