//! Model of a store, made of maps. Every engine must agree with it.

use std::collections::BTreeMap;

use platypush_userd::clock::Timestamp;
use platypush_userd::model::{
    Attempted, CodeUse, Failures, NameHash, PasswordRecord, Profile, SecondFactor, Session,
    TokenHash, User, UserId,
};
use platypush_userd::store::{
    AdminUpdate, PasswordPrecondition, Precondition, Result, Store, StoreError,
};

use super::bench::rules;
use crate::store_changes::{Changes as _, NewSession, NewUser};

/// Operation with its arguments.
#[derive(Debug, Clone)]
pub enum Call {
    HasUsers,
    UserByName(String),
    Users,
    Session(TokenHash),
    CreateUser(NewUser, Precondition),
    SetPassword(PasswordPrecondition, PasswordRecord, bool),
    ReplacePasswordRecord(UserId, PasswordRecord, PasswordRecord),
    Accept(PasswordPrecondition),
    NoteFailure(Attempted, Timestamp),
    ForgetFailures(Attempted),
    Failures(NameHash),
    SetSecondFactor(PasswordPrecondition, Option<SecondFactor>),
    UpdateUser(String, AdminUpdate),
    EndSessions(PasswordPrecondition, Option<TokenHash>),
    /// Returns the sessions in the order of their tokens.
    SessionsOf(User),
    DeleteUser(String, Precondition),
    CreateSession(NewSession, PasswordPrecondition),
    DeleteSession(TokenHash, Timestamp),
    /// Sweeps all sessions in steps of at most that size.
    Sweep(usize, Timestamp),
}

/// Result of an operation, with the text of an error.
pub type Answer = std::result::Result<Output, String>;

#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    Done,
    Flag(bool),
    User(Option<User>),
    Users(Vec<User>),
    Failures(Failures),
    Session(Option<(Session, Profile)>),
    Created(Session, User),
    Sessions(Vec<Session>),
    Removed(usize),
}

impl Call {
    pub async fn on(self, store: &dyn Store) -> Answer {
        let found: Result<Output> = async {
            Ok(match self {
                Self::HasUsers => Output::Flag(store.has_users().await?),
                Self::UserByName(name) => Output::User(store.user_by_name(&name).await?),
                Self::Users => Output::Users(store.users().await?),
                Self::Session(token) => Output::Session(store.session(&token).await?),
                Self::CreateUser(new, precondition) => {
                    Output::User(Some(store.create_user(new, precondition, None).await?))
                }
                Self::SetPassword(precondition, password, revoke) => Output::User(Some(
                    store
                        .set_password(precondition, password, revoke, None)
                        .await?,
                )),
                Self::ReplacePasswordRecord(id, from, to) => {
                    store.replace_password_record(id, from, to).await?;
                    Output::Done
                }
                Self::Accept(precondition) => {
                    store.accept(precondition, None).await?;
                    Output::Done
                }
                Self::NoteFailure(attempted, at) => {
                    Output::Failures(store.note_failure(attempted, at, None).await?)
                }
                Self::ForgetFailures(attempted) => {
                    store.forget_failures(attempted).await?;
                    Output::Done
                }
                Self::Failures(name) => Output::Failures(store.failures(&name).await?),
                Self::UpdateUser(name, update) => {
                    Output::User(Some(store.update_user(&name, update).await?))
                }
                Self::EndSessions(precondition, which) => {
                    Output::Flag(store.end_sessions(precondition, which, None).await?)
                }
                Self::SessionsOf(user) => {
                    let mut sessions = store.sessions_of(user.id, user.generation).await?;
                    sessions.sort_by_key(|session| session.token);
                    Output::Sessions(sessions)
                }
                Self::SetSecondFactor(precondition, factor) => {
                    store.set_second_factor(precondition, factor, None).await?;
                    Output::Done
                }
                Self::DeleteUser(name, precondition) => {
                    store.delete_user(&name, precondition, None).await?;
                    Output::Done
                }
                Self::CreateSession(new, precondition) => {
                    let (session, user) = store.create_session(new, precondition, None).await?;
                    Output::Created(session, user)
                }
                Self::DeleteSession(token, now) => {
                    Output::Flag(store.delete_session(&token, rules(now), None).await?)
                }
                Self::Sweep(limit, now) => {
                    let (mut removed, mut after) = (0, None);
                    loop {
                        let step = store.sweep_sessions(after, limit, rules(now)).await?;
                        removed += step.removed;
                        assert!(step.next.is_none() || step.next > after, "must advance");
                        after = step.next;
                        if after.is_none() {
                            break Output::Removed(removed);
                        }
                    }
                }
            })
        }
        .await;
        found.map_err(|error| error.to_string())
    }
}

/// Users, sessions and failures in memory.
#[derive(Debug, Clone, Default)]
pub struct Model {
    pub users: BTreeMap<UserId, User>,
    pub sessions: BTreeMap<TokenHash, Session>,
    attempted: BTreeMap<[u8; 16], Failures>,
    last_id: UserId,
}

impl Model {
    pub fn run(&mut self, call: Call) -> Answer {
        // On a copy, so that an error changes nothing.
        let mut next = self.clone();
        let found = next.apply(call).map_err(|error| error.to_string())?;
        *self = next;
        Ok(found)
    }

    fn apply(&mut self, call: Call) -> Result<Output> {
        Ok(match call {
            Call::HasUsers => Output::Flag(!self.users.is_empty()),
            Call::UserByName(name) => Output::User(self.named(&name).cloned()),
            Call::Users => Output::Users(self.users.values().cloned().collect()),
            Call::Session(token) => Output::Session(self.session(&token)),
            Call::CreateUser(new, precondition) => {
                self.check(&precondition)?;
                if self.named(&new.username).is_some() {
                    return Err(StoreError::NameTaken);
                }
                self.last_id += 1;
                let user = User::new(self.last_id, new.username, new.created_at, new.password);
                self.users.insert(user.id, user.clone());
                Output::User(Some(user))
            }
            Call::SetPassword(precondition, password, revoke) => {
                let user = self.verify(&precondition)?;
                user.password = password;
                user.generation += u64::from(revoke);
                Output::User(Some(user.clone()))
            }
            Call::ReplacePasswordRecord(id, from, to) => {
                let user = self.users.get_mut(&id).ok_or(StoreError::Conflict)?;
                if user.password != from {
                    return Err(StoreError::Conflict);
                }
                user.password = to;
                Output::Done
            }
            Call::Accept(precondition) => {
                self.verify(&precondition)?;
                Output::Done
            }
            Call::NoteFailure(attempted, at) => Output::Failures(
                self.failures(attempted)
                    .map_or_else(Failures::default, |failures| {
                        *failures = failures.plus_one(at);
                        *failures
                    }),
            ),
            Call::ForgetFailures(attempted) => {
                if let Some(failures) = self.failures(attempted) {
                    *failures = Failures::default();
                }
                Output::Done
            }
            Call::Failures(name) => {
                Output::Failures(self.attempted.get(&name.0).copied().unwrap_or_default())
            }
            Call::UpdateUser(name, update) => Output::User(Some(self.update_user(&name, update)?)),
            Call::EndSessions(precondition, which) => {
                let user = self.verify(&precondition)?;
                let id = user.id;
                let Some(token) = which else {
                    user.generation += 1;
                    return Ok(Output::Flag(true));
                };
                let is_own = self.session(&token).is_some_and(|(_, user)| user.id == id);
                if is_own {
                    self.sessions.remove(&token);
                }
                Output::Flag(is_own)
            }
            Call::SessionsOf(user) => {
                let all = self.sessions.values();
                Output::Sessions(all.filter(|s| s.belongs_to(&user)).cloned().collect())
            }
            Call::SetSecondFactor(precondition, factor) => {
                self.verify(&precondition)?.set_second_factor(factor);
                Output::Done
            }
            Call::DeleteUser(name, precondition) => {
                self.check(&precondition)?;
                let id = self.named(&name).ok_or(StoreError::NoSuchUser)?.id;
                self.users.remove(&id);
                Output::Done
            }
            Call::CreateSession(new, precondition) => {
                let user = self.verify(&precondition)?.clone();
                let session = Session {
                    token: new.token,
                    user_id: user.id,
                    generation: user.generation,
                    created_at: new.created_at,
                    expires_at: new.expires_at,
                    used_at: new.created_at,
                };
                self.sessions.insert(session.token, session.clone());
                Output::Created(session, user)
            }
            Call::DeleteSession(token, now) => {
                let live = self
                    .session(&token)
                    .is_some_and(|(s, _)| !s.is_expired(&rules(now)));
                self.sessions.remove(&token);
                Output::Flag(live)
            }
            Call::Sweep(_, now) => {
                let before = self.sessions.len();
                let users = &self.users;
                self.sessions.retain(|_, session| {
                    let user = users.get(&session.user_id);
                    user.is_some_and(|user| session.is_valid(user, &rules(now)))
                });
                Output::Removed(before - self.sessions.len())
            }
        })
    }

    fn named(&self, name: &str) -> Option<&User> {
        self.users.values().find(|user| user.username == name)
    }

    fn failures(&mut self, attempted: Attempted) -> Option<&mut Failures> {
        match attempted {
            Attempted::User(id) => Some(&mut self.users.get_mut(&id)?.failures),
            Attempted::UnknownName(name) => Some(self.attempted.entry(name.0).or_default()),
        }
    }

    fn update_user(&mut self, name: &str, update: AdminUpdate) -> Result<User> {
        let id = self.named(name).ok_or(StoreError::NoSuchUser)?.id;
        let user = self.users.get_mut(&id).ok_or(StoreError::NoSuchUser)?;
        match update {
            AdminUpdate::DropSecondFactor => user.set_second_factor(None),
            AdminUpdate::EndSessions => user.generation += 1,
            AdminUpdate::DropApiTokens => user.api_tokens = Vec::new(),
            AdminUpdate::ResetPassword {
                record,
                keep_api_tokens,
            } => {
                user.password = record;
                user.generation += 1;
                user.failures = Failures::default();
                if !keep_api_tokens {
                    user.api_tokens = Vec::new();
                }
            }
        }
        Ok(user.clone())
    }

    fn session(&self, token: &TokenHash) -> Option<(Session, Profile)> {
        let session = self.sessions.get(token)?;
        let user = self.users.get(&session.user_id)?;
        session
            .belongs_to(user)
            .then(|| (session.clone(), user.clone().into()))
    }

    fn check(&mut self, precondition: &Precondition) -> Result<()> {
        let holds = match precondition {
            Precondition::NoUsers => self.users.is_empty(),
            Precondition::Session(token) => self.session(token).is_some(),
            Precondition::Password(precondition) => return self.verify(precondition).map(drop),
        };
        holds.then_some(()).ok_or(StoreError::Conflict)
    }

    /// Checks a precondition. Returns its user, with the code used and the failures reset.
    fn verify(&mut self, precondition: &PasswordPrecondition) -> Result<&mut User> {
        let user = self.users.get_mut(&precondition.user_id);
        let user = user.ok_or(StoreError::Conflict)?;
        let matches =
            user.password == precondition.record && user.generation == precondition.generation;
        match (&mut user.second_factor, &precondition.code) {
            (None, None) if matches => {}
            (Some(factor), Some(CodeUse::Step(step))) if matches && *step > factor.last_step => {
                factor.last_step = *step;
            }
            (Some(factor), Some(CodeUse::Backup(code)))
                if matches && factor.backup_codes.contains(code) =>
            {
                factor.backup_codes.retain(|left| left != code);
            }
            _ => return Err(StoreError::Conflict),
        }
        user.failures = Failures::default();
        Ok(user)
    }
}
