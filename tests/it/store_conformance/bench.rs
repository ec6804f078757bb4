//! Helpers of the cases: a store under test and its observable state.

use std::sync::Barrier;

use chrono::DateTime;
use platypush_userd::clock::Timestamp;
use platypush_userd::model::{
    ApiToken, CodeHash, CodeUse, PasswordRecord, Profile, Sealed, SecondFactor, SecretFingerprint,
    Session, SessionLimits, SessionRules, TokenHash, User,
};
use platypush_userd::store::{PasswordPrecondition, Precondition, Result, Store, StoreError};

use super::Engine;
use crate::store_changes::{Changes as _, NewApiToken, NewSession, NewUser};

/// Store under test, and the session tokens used on it.
pub struct Bench<E> {
    engine: E,
    tokens: Vec<TokenHash>,
}

/// Observable state of a store. Equal states mean that nothing changed in between.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    pub has_users: bool,
    pub users: Vec<User>,
    pub by_name: Vec<Option<User>>,
    pub sessions: Vec<Option<(Session, Profile)>>,
}

/// Runs a future to completion on this thread.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

/// Runs `work` concurrently on `threads` threads.
pub fn at_once<T: Send, F: Future<Output = T>>(
    threads: usize,
    work: impl Fn(usize) -> F + Sync,
) -> Vec<T> {
    let (start, work) = (&Barrier::new(threads), &work);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|number| {
                scope.spawn(move || {
                    start.wait();
                    wait(work(number))
                })
            })
            .collect();
        running.into_iter().map(|t| t.join().unwrap()).collect()
    })
}

/// Returns the time `micros` microseconds after the epoch.
pub fn at(micros: i64) -> Timestamp {
    DateTime::from_timestamp_micros(micros).unwrap()
}

/// Returns the rules for sessions at that time, without session limits.
pub fn rules(now: Timestamp) -> SessionRules {
    SessionLimits::default().at(now)
}

/// Returns an arbitrary time with microseconds.
pub fn noon() -> Timestamp {
    at(1_795_521_600_123_457)
}

pub fn record(text: &str) -> PasswordRecord {
    PasswordRecord::new(format!("$argon2id$v=19$m=8,t=1,p=1${text}"))
}

pub fn token(number: u64) -> TokenHash {
    // Spread over the whole key space, like hashes.
    let mut bytes = [0x5a; 32];
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bytes[..8].copy_from_slice(&spread.to_be_bytes());
    TokenHash(bytes)
}

pub fn new_user(name: &str) -> NewUser {
    NewUser {
        username: name.into(),
        created_at: noon(),
        password: record(name),
    }
}

pub fn new_session(number: u64, expires_at: Option<Timestamp>) -> NewSession {
    NewSession {
        token: token(number),
        created_at: noon(),
        expires_at,
    }
}

pub fn factor(last_step: u64) -> SecondFactor {
    factor_of(0, last_step)
}

/// Returns a second factor with the secret of that number.
pub fn factor_of(secret: u8, last_step: u64) -> SecondFactor {
    SecondFactor {
        secret: Sealed(b"sealed".to_vec()),
        fingerprint: SecretFingerprint([secret; 16]),
        last_step,
        backup_codes: (0..10).map(backup_code).collect(),
        imported_codes: Vec::new(),
    }
}

/// Returns the stored hash of a backup code.
pub const fn backup_code(number: u8) -> CodeHash {
    CodeHash([number; 32])
}

/// Returns the precondition of a correct password, with the next step if the user has a second
/// factor.
pub fn proof(user: &User) -> PasswordPrecondition {
    PasswordPrecondition {
        user_id: user.id,
        record: user.password.clone(),
        generation: user.generation,
        code: next_step(user),
    }
}

/// Returns the first unused step of a user with a second factor.
pub fn next_step(user: &User) -> Option<CodeUse> {
    let factor = user.second_factor.as_ref()?;
    Some(CodeUse::Step(factor.last_step + 1))
}

#[track_caller]
pub fn assert_fails<T>(result: &Result<T>, expected: &StoreError) {
    let error = result.as_ref().err().map(ToString::to_string);
    assert_eq!(error, Some(expected.to_string()));
}

impl<E: Engine> Bench<E> {
    /// Creates an API token of a user.
    pub fn api_token(&self, name: &str, user: &User) -> ApiToken {
        let new = NewApiToken {
            name: name.into(),
            token: token(1_000),
            name_in_token: None,
            created_at: noon(),
            expires_at: None,
        };
        wait(self.store().create_api_token(new, 100, proof(user), None)).unwrap()
    }

    /// Returns a bench with an empty store.
    pub fn fresh() -> Self {
        Self {
            engine: E::fresh(),
            tokens: Vec::new(),
        }
    }

    /// Returns a bench with an empty store that keeps the failures of at most `max_attempted`
    /// unknown names.
    pub fn with_max_attempted(max_attempted: u64) -> Self {
        Self {
            engine: E::with_max_attempted(max_attempted),
            tokens: Vec::new(),
        }
    }

    pub fn store(&self) -> &dyn Store {
        self.engine.store()
    }

    pub fn reopen(&mut self) {
        self.engine.reopen();
    }

    /// Creates a user, authorized by the password of the first user if one exists.
    pub fn user(&self, name: &str) -> User {
        let first = wait(self.store().users()).unwrap().into_iter().next();
        let precondition = first.map_or(Precondition::NoUsers, |user| {
            Precondition::Password(proof(&user))
        });
        wait(self.store().create_user(new_user(name), precondition, None)).unwrap()
    }

    /// Creates a user with a second factor.
    pub fn user_with_factor(&self, name: &str, last_step: u64) -> User {
        let user = self.user(name);
        let on = Some(factor(last_step));
        wait(self.store().set_second_factor(proof(&user), on, None)).unwrap();
        self.read(name)
    }

    /// Creates a session under `token(number)`.
    pub fn session(&mut self, number: u64, user: &User, expires_at: Option<Timestamp>) -> Session {
        let new = new_session(number, expires_at);
        self.watch(number);
        wait(self.store().create_session(new, proof(user), None))
            .unwrap()
            .0
    }

    /// Adds a session to [`Self::state`].
    pub fn watch(&mut self, number: u64) {
        self.tokens.push(token(number));
    }

    /// Returns the current user with that name.
    #[track_caller]
    pub fn read(&self, name: &str) -> User {
        wait(self.store().user_by_name(name)).unwrap().unwrap()
    }

    pub fn has_session(&self, number: u64) -> bool {
        wait(self.store().session(&token(number)))
            .unwrap()
            .is_some()
    }

    pub fn delete(&self, name: &str) {
        let user = self.read(name);
        let deleted = wait(self.store().delete_user(
            name,
            Precondition::Password(proof(&user)),
            None,
        ));
        assert_eq!(deleted.unwrap(), user.id);
    }

    pub fn state(&self) -> State {
        wait(async {
            let store = self.store();
            let users = store.users().await.unwrap();
            let mut by_name = Vec::new();
            for user in &users {
                by_name.push(store.user_by_name(&user.username).await.unwrap());
            }
            let mut sessions = Vec::new();
            for token in &self.tokens {
                sessions.push(store.session(token).await.unwrap());
            }
            State {
                has_users: store.has_users().await.unwrap(),
                users,
                by_name,
                sessions,
            }
        })
    }

    /// Asserts that an operation fails with `expected` and changes nothing.
    #[track_caller]
    pub fn refuses<T>(&self, expected: &StoreError, operation: impl Future<Output = Result<T>>) {
        let before = self.state();
        assert_fails(&wait(operation), expected);
        assert_eq!(self.state(), before);
    }
}
