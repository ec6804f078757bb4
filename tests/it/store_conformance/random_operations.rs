//! Model test with random sequential operations and reopening in between.

use platypush_userd::clock::Timestamp;
use platypush_userd::model::{Attempted, CodeUse, NameHash};
use platypush_userd::store::{AdminUpdate, PasswordPrecondition, Precondition};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;

use super::Engine;
use super::bench::{
    Bench, at, backup_code, factor_of, new_session, new_user, next_step, noon, record, token, wait,
};
use super::model::{Call, Model};

/// Parameters of a precondition that usually holds and is sometimes stale.
#[derive(Debug, Clone)]
pub struct PreconditionSpec {
    user: Index,
    other_record: bool,
    other_generation: bool,
    code: Option<CodeUse>,
    /// Whether the code is the next step of the user's second factor instead of `code`.
    is_next_step: bool,
}

#[derive(Debug, Clone)]
pub enum Kind {
    HasUsers,
    UserByName,
    Users,
    Session,
    CreateUser,
    CreateUserBySession,
    CreateFirstUser,
    SetPassword,
    Rehash,
    Accept,
    NoteFailure,
    NoteFailureOfUnknownName,
    ForgetFailures,
    UpdateUser,
    EndSession,
    EndSessions,
    SessionsOf,
    SwitchOn,
    SwitchOff,
    DeleteUser,
    DeleteUserBySession,
    CreateSession,
    DeleteSession,
    Sweep,
    Reopen,
}

/// Operation that takes its arguments from the current state of the model.
#[derive(Debug, Clone)]
pub struct Step {
    pub kind: Kind,
    name: u8,
    precondition: PreconditionSpec,
    session: Index,
    password: u8,
    flag: bool,
    micros: i8,
}

fn precondition() -> impl Strategy<Value = PreconditionSpec> {
    (
        any::<Index>(),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
        prop::option::of(prop_oneof![
            (0..20_u64).prop_map(CodeUse::Step),
            (8..12_u8).prop_map(|number| CodeUse::Backup(backup_code(number))),
        ]),
        prop::bool::weighted(0.8),
    )
        .prop_map(
            |(user, other_record, other_generation, code, is_next_step)| PreconditionSpec {
                user,
                other_record,
                other_generation,
                code,
                is_next_step,
            },
        )
}

pub fn step(kinds: impl Strategy<Value = Kind>) -> impl Strategy<Value = Step> {
    (
        kinds,
        0..4_u8,
        precondition(),
        any::<Index>(),
        0..3_u8,
        any::<bool>(),
        -2..=2_i8,
    )
        .prop_map(
            |(kind, name, precondition, session, password, flag, micros)| Step {
                kind,
                name,
                precondition,
                session,
                password,
                flag,
                micros,
            },
        )
}

pub fn any_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        1 => Just(Kind::HasUsers),
        1 => Just(Kind::UserByName),
        1 => Just(Kind::Users),
        2 => Just(Kind::Session),
        3 => Just(Kind::CreateUser),
        1 => Just(Kind::CreateUserBySession),
        3 => Just(Kind::CreateFirstUser),
        2 => Just(Kind::SetPassword),
        1 => Just(Kind::Rehash),
        2 => Just(Kind::Accept),
        2 => Just(Kind::NoteFailure),
        1 => Just(Kind::NoteFailureOfUnknownName),
        1 => Just(Kind::ForgetFailures),
        1 => Just(Kind::UpdateUser),
        1 => Just(Kind::EndSession),
        1 => Just(Kind::EndSessions),
        2 => Just(Kind::SessionsOf),
        1 => Just(Kind::SwitchOn),
        1 => Just(Kind::SwitchOff),
        2 => Just(Kind::DeleteUser),
        1 => Just(Kind::DeleteUserBySession),
        4 => Just(Kind::CreateSession),
        2 => Just(Kind::DeleteSession),
        1 => Just(Kind::Sweep),
        1 => Just(Kind::Reopen),
    ]
}

impl PreconditionSpec {
    fn of(&self, model: &Model) -> PasswordPrecondition {
        let users: Vec<_> = model.users.values().collect();
        let Some(user) = (!users.is_empty()).then(|| users[self.user.index(users.len())]) else {
            return PasswordPrecondition {
                user_id: 1,
                record: record("0"),
                generation: 0,
                code: self.code,
            };
        };
        PasswordPrecondition {
            user_id: user.id,
            record: if self.other_record {
                record("other")
            } else {
                user.password.clone()
            },
            generation: user.generation + u64::from(self.other_generation),
            code: if self.is_next_step {
                next_step(user)
            } else {
                self.code
            },
        }
    }
}

impl Step {
    /// Returns the call in a state of the model, or `None` to reopen the store. `sessions` is the
    /// number of session tokens used so far.
    pub fn call(&self, model: &Model, sessions: &mut u64) -> Option<Call> {
        let name = format!("user-{}", self.name);
        let precondition = self.precondition.of(model);
        let session = token(self.session.index(*sessions as usize + 1) as u64);
        let password = record(&self.password.to_string());
        let by_session = Precondition::Session(session);
        let mut new = new_user(&name);
        new.password = password.clone();
        Some(match self.kind {
            Kind::HasUsers => Call::HasUsers,
            Kind::UserByName => Call::UserByName(name),
            Kind::Users => Call::Users,
            Kind::Session => Call::Session(session),
            Kind::CreateUser => Call::CreateUser(new, Precondition::Password(precondition)),
            Kind::CreateUserBySession => Call::CreateUser(new, by_session),
            Kind::CreateFirstUser => Call::CreateUser(new, Precondition::NoUsers),
            Kind::SetPassword => Call::SetPassword(precondition, password, self.flag),
            Kind::Rehash => {
                Call::ReplacePasswordRecord(precondition.user_id, precondition.record, password)
            }
            Kind::Accept => Call::Accept(precondition),
            Kind::NoteFailure => {
                Call::NoteFailure(Attempted::User(precondition.user_id), self.time())
            }
            Kind::NoteFailureOfUnknownName => {
                let name = Attempted::UnknownName(unknown_name(self.name));
                Call::NoteFailure(name, self.time())
            }
            Kind::ForgetFailures => Call::ForgetFailures(if self.flag {
                Attempted::User(precondition.user_id)
            } else {
                Attempted::UnknownName(unknown_name(self.name))
            }),
            Kind::UpdateUser => Call::UpdateUser(
                name,
                match self.micros {
                    0.. => AdminUpdate::DropSecondFactor,
                    -1 => AdminUpdate::EndSessions,
                    _ => AdminUpdate::ResetPassword {
                        record: password,
                        keep_api_tokens: self.flag,
                    },
                },
            ),
            Kind::EndSession => Call::EndSessions(precondition, Some(session)),
            Kind::EndSessions => Call::EndSessions(precondition, None),
            Kind::SessionsOf => {
                let user = model.users.get(&precondition.user_id).cloned();
                user.map_or(Call::Users, Call::SessionsOf)
            }
            Kind::SwitchOn => {
                let last_step = u64::from(self.micros.unsigned_abs());
                let secret = u8::from(self.flag);
                Call::SetSecondFactor(precondition, Some(factor_of(secret, last_step)))
            }
            Kind::SwitchOff => Call::SetSecondFactor(precondition, None),
            Kind::DeleteUser => Call::DeleteUser(name, Precondition::Password(precondition)),
            Kind::DeleteUserBySession => Call::DeleteUser(name, by_session),
            Kind::CreateSession => {
                // Tokens are random, so each is used once.
                *sessions += 1;
                let expires_at = self.flag.then(|| self.time());
                Call::CreateSession(new_session(*sessions, expires_at), precondition)
            }
            Kind::DeleteSession => Call::DeleteSession(session, self.time()),
            Kind::Sweep => Call::Sweep(usize::from(self.password) + 1, self.time()),
            Kind::Reopen => return None,
        })
    }

    fn time(&self) -> Timestamp {
        at(noon().timestamp_micros() + i64::from(self.micros))
    }
}

/// Returns the hash of an unknown name.
const fn unknown_name(number: u8) -> NameHash {
    NameHash([number; 16])
}

/// Returns whether the observable state of a store equals the model.
pub fn agrees<E: Engine>(bench: &Bench<E>, model: &Model, sessions: u64) -> bool {
    let mut reads = vec![Call::HasUsers, Call::Users];
    reads.extend((0..4).map(|name| Call::UserByName(format!("user-{name}"))));
    reads.extend((0..4).map(|name| Call::Failures(unknown_name(name))));
    reads.extend(model.users.values().cloned().map(Call::SessionsOf));
    reads.extend((0..=sessions).map(|number| Call::Session(token(number))));
    let model = &mut model.clone();
    reads
        .into_iter()
        .all(|read| wait(read.clone().on(bench.store())) == model.run(read))
}

pub fn agree_with_the_model<E: Engine>() {
    let config = ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let steps = prop::collection::vec(step(any_kind()), 1..80);
    TestRunner::new(config)
        .run(&steps, |steps| {
            let mut bench = Bench::<E>::fresh();
            let (mut model, mut sessions) = (Model::default(), 0);
            for step in steps {
                let Some(call) = step.call(&model, &mut sessions) else {
                    bench.reopen();
                    prop_assert!(agrees(&bench, &model, sessions), "after reopening");
                    continue;
                };
                let answer = wait(call.clone().on(bench.store()));
                prop_assert_eq!(&answer, &model.run(call.clone()), "{:?}", call);
            }
            prop_assert!(agrees(&bench, &model, sessions), "at the end");
            bench.reopen();
            prop_assert!(agrees(&bench, &model, sessions), "at the end, reopened");
            Ok(())
        })
        .unwrap();
}
