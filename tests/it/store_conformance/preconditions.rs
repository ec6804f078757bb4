//! Preconditions: the store checks again what a caller had read when it decided.

use platypush_userd::model::{CodeUse, User};
use platypush_userd::store::{PasswordPrecondition, Precondition, StoreError};

use super::Engine;
use super::bench::{Bench, factor, new_user, noon, proof, record, rules, token, wait};
use super::operations::Operation;
use crate::store_changes::Changes as _;

/// Change between reading a user and acting on it.
#[derive(Debug, Clone, Copy)]
enum Change {
    PasswordChanged,
    PasswordRehashed,
    SessionsRevoked,
    Deleted,
    DeletedAndRecreated,
    FactorSwitchedOn,
    FactorSwitchedOff,
    StepUsed,
    LaterStepUsed,
}

impl Change {
    const ALL: [Self; 9] = [
        Self::PasswordChanged,
        Self::PasswordRehashed,
        Self::SessionsRevoked,
        Self::Deleted,
        Self::DeletedAndRecreated,
        Self::FactorSwitchedOn,
        Self::FactorSwitchedOff,
        Self::StepUsed,
        Self::LaterStepUsed,
    ];

    const fn needs_factor(self) -> bool {
        matches!(
            self,
            Self::FactorSwitchedOff | Self::StepUsed | Self::LaterStepUsed
        )
    }

    fn apply<E: Engine>(self, bench: &Bench<E>, user: &User) {
        let store = bench.store();
        let (name, now) = (user.username.as_str(), proof(user));
        let same = user.password.clone();
        match self {
            Self::PasswordChanged => {
                wait(store.set_password(now, record("other"), false, None)).unwrap();
            }
            Self::PasswordRehashed => {
                wait(store.replace_password_record(user.id, same, record("stronger"))).unwrap();
            }
            Self::SessionsRevoked => {
                wait(store.set_password(now, same, true, None)).unwrap();
            }
            Self::Deleted => bench.delete(name),
            Self::DeletedAndRecreated => {
                bench.delete(name);
                assert_eq!(bench.user(name).password, user.password);
            }
            Self::FactorSwitchedOn => {
                wait(store.set_second_factor(now, Some(factor(0)), None)).unwrap();
            }
            Self::FactorSwitchedOff => wait(store.set_second_factor(now, None, None)).unwrap(),
            Self::StepUsed => wait(store.accept(now, None)).unwrap(),
            Self::LaterStepUsed => {
                let last_step = user.second_factor.as_ref().unwrap().last_step;
                let code = Some(CodeUse::Step(last_step + 2));
                wait(store.accept(PasswordPrecondition { code, ..now }, None)).unwrap();
            }
        }
    }
}

pub fn a_correct_password_authorizes_every_operation<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    bench.user("first");
    for (operation, number) in Operation::ALL.into_iter().zip(1..) {
        let name = format!("{operation:?}");
        let user = bench.user(&name);
        bench.watch(number);
        let before = bench.state();
        wait(operation.run(bench.store(), &name, proof(&user), number)).unwrap();
        let changed = bench.state() != before;
        // The user has no code to use, no second factor to switch off and no session to end.
        let has_no_effect = [
            Operation::Accept,
            Operation::SwitchFactorOff,
            Operation::EndSession,
        ]
        .contains(&operation);
        assert_eq!(changed, !has_no_effect, "{operation:?}");
    }
}

pub fn a_step_authorizes_one_operation<E: Engine>() {
    let bench = Bench::<E>::fresh();
    bench.user("first");
    for (operation, number) in Operation::ALL.into_iter().zip(1..) {
        let name = format!("{operation:?}");
        let user = bench.user_with_factor(&name, 41);
        let precondition = proof(&user);
        wait(operation.run(bench.store(), &name, precondition.clone(), number)).unwrap();
        for again in Operation::ALL {
            bench.refuses(
                &StoreError::Conflict,
                again.run(bench.store(), &name, precondition.clone(), number + 100),
            );
        }
        let now = wait(bench.store().user_by_name(&name)).unwrap();
        let last_step = now.and_then(|user| Some(user.second_factor?.last_step));
        let expected = match operation {
            Operation::DeleteUser | Operation::SwitchFactorOff => None,
            _ => Some(42),
        };
        assert_eq!(last_step, expected, "{operation:?}");
    }
}

pub fn a_stale_password_authorizes_no_operation<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    bench.user("first");
    bench.watch(1);
    for change in Change::ALL {
        let name = format!("{change:?}");
        let user = if change.needs_factor() {
            bench.user_with_factor(&name, 41)
        } else {
            bench.user(&name)
        };
        change.apply(&bench, &user);
        for operation in Operation::ALL {
            bench.refuses(
                &StoreError::Conflict,
                operation.run(bench.store(), &name, proof(&user), 1),
            );
        }
    }
    let last_id = wait(bench.store().users()).unwrap().last().unwrap().id;
    let next_id = bench.user("next").id;
    assert_eq!(next_id, last_id + 1, "refusals use no ids");
}

pub fn a_valid_session_is_accepted<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    let alice = bench.user("alice");
    bench.session(1, &alice, None);
    let store = bench.store();
    let session = || Precondition::Session(token(1));
    let bob = wait(store.create_user(new_user("bob"), session(), None)).unwrap();
    assert_eq!(bob.id, 2);
    wait(store.delete_user("bob", session(), None)).unwrap();
    bench.refuses(
        &StoreError::NoSuchUser,
        store.delete_user("bob", session(), None),
    );
    wait(store.delete_user("alice", session(), None)).unwrap();
    assert_eq!(bench.state().users, []);
}

pub fn a_dead_session_is_refused<E: Engine>() {
    let mut bench = Bench::<E>::fresh();
    bench.user("first");
    let [logged_out, deleted, revoked] =
        ["logged out", "deleted", "revoked"].map(|n| bench.user(n));
    bench.session(1, &logged_out, None);
    bench.session(2, &deleted, None);
    bench.session(3, &revoked, None);
    assert!(wait(bench.store().delete_session(&token(1), rules(noon()), None)).unwrap());
    bench.delete("deleted");
    let same = revoked.password.clone();
    wait(
        bench
            .store()
            .set_password(proof(&revoked), same, true, None),
    )
    .unwrap();

    let never_created = 4;
    for number in [1, 2, 3, never_created] {
        let precondition = || Precondition::Session(token(number));
        bench.refuses(
            &StoreError::Conflict,
            bench
                .store()
                .create_user(new_user("new"), precondition(), None),
        );
        for name in ["first", "revoked", "deleted"] {
            bench.refuses(
                &StoreError::Conflict,
                bench.store().delete_user(name, precondition(), None),
            );
        }
    }
    assert_eq!(bench.user("next").id, 5, "refusals use no ids");
}
