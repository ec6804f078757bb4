//! A store that is nothing but maps: what every engine must agree with.

use std::collections::BTreeMap;

use platypush_userd::clock::Timestamp;
use platypush_userd::model::{
    Attempted, CodeUse, Failures, NameHash, PasswordRecord, Profile, SecondFactor, Session,
    TokenHash, User, UserId,
};
use platypush_userd::store::{
    AdminUpdate, NewSession, NewUser, PasswordPrecondition, Precondition, Result, Store, StoreError,
};

use super::bench::rules;

/// An operation with its arguments.
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
    Amend(String, AdminUpdate),
    EndSessions(PasswordPrecondition, Option<TokenHash>),
    /// In the order of their tokens.
    SessionsOf(User),
    DeleteUser(String, Precondition),
    CreateSession(NewSession, PasswordPrecondition),
    DeleteSession(TokenHash, Timestamp),
    /// All steps, each of at most so many.
    Sweep(usize, Timestamp),
}

/// What came of it; an error by its text.
pub type Answer = std::result::Result<Found, String>;

#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    Done,
    Flag(bool),
    User(Option<User>),
    Users(Vec<User>),
    Failures(Failures),
    Session(Option<(Session, Profile)>),
    Made(Session, User),
    Sessions(Vec<Session>),
    Removed(usize),
}

impl Call {
    pub async fn on(self, store: &dyn Store) -> Answer {
        let found: Result<Found> = async {
            Ok(match self {
                Self::HasUsers => Found::Flag(store.has_users().await?),
                Self::UserByName(name) => Found::User(store.user_by_name(&name).await?),
                Self::Users => Found::Users(store.users().await?),
                Self::Session(token) => Found::Session(store.session(&token).await?),
                Self::CreateUser(new, precondition) => {
                    Found::User(Some(store.create_user(new, precondition, None).await?))
                }
                Self::SetPassword(precondition, password, revoke) => Found::User(Some(
                    store
                        .set_password(precondition, password, revoke, None)
                        .await?,
                )),
                Self::ReplacePasswordRecord(id, from, to) => {
                    store.replace_password_record(id, from, to).await?;
                    Found::Done
                }
                Self::Accept(precondition) => {
                    store.accept(precondition, None).await?;
                    Found::Done
                }
                Self::NoteFailure(attempted, at) => {
                    Found::Failures(store.note_failure(attempted, at, None).await?)
                }
                Self::ForgetFailures(attempted) => {
                    store.forget_failures(attempted).await?;
                    Found::Done
                }
                Self::Failures(name) => Found::Failures(store.failures(&name).await?),
                Self::Amend(name, update) => {
                    Found::User(Some(store.update_user(&name, update).await?))
                }
                Self::EndSessions(precondition, which) => {
                    Found::Flag(store.end_sessions(precondition, which, None).await?)
                }
                Self::SessionsOf(user) => {
                    let mut sessions = store.sessions_of(user.id, user.generation).await?;
                    sessions.sort_by_key(|session| session.token);
                    Found::Sessions(sessions)
                }
                Self::SetSecondFactor(precondition, factor) => {
                    store.set_second_factor(precondition, factor, None).await?;
                    Found::Done
                }
                Self::DeleteUser(name, precondition) => {
                    store.delete_user(&name, precondition, None).await?;
                    Found::Done
                }
                Self::CreateSession(new, precondition) => {
                    let (session, user) = store.create_session(new, precondition, None).await?;
                    Found::Made(session, user)
                }
                Self::DeleteSession(token, now) => {
                    Found::Flag(store.delete_session(&token, rules(now), None).await?)
                }
                Self::Sweep(limit, now) => {
                    let (mut removed, mut after) = (0, None);
                    loop {
                        let step = store.sweep_sessions(after, limit, rules(now)).await?;
                        removed += step.removed;
                        assert!(step.next.is_none() || step.next > after, "it goes forward");
                        after = step.next;
                        if after.is_none() {
                            break Found::Removed(removed);
                        }
                    }
                }
            })
        }
        .await;
        found.map_err(|error| error.to_string())
    }
}

/// Users and sessions, in memory.
#[derive(Debug, Clone, Default)]
pub struct Model {
    pub users: BTreeMap<UserId, User>,
    pub sessions: BTreeMap<TokenHash, Session>,
    attempted: BTreeMap<[u8; 16], Failures>,
    ids_given: UserId,
}

impl Model {
    pub fn run(&mut self, call: Call) -> Answer {
        // On a copy, so that an error leaves all as it was.
        let mut next = self.clone();
        let found = next.apply(call).map_err(|error| error.to_string())?;
        *self = next;
        Ok(found)
    }

    fn apply(&mut self, call: Call) -> Result<Found> {
        Ok(match call {
            Call::HasUsers => Found::Flag(!self.users.is_empty()),
            Call::UserByName(name) => Found::User(self.named(&name).cloned()),
            Call::Users => Found::Users(self.users.values().cloned().collect()),
            Call::Session(token) => Found::Session(self.session(&token)),
            Call::CreateUser(new, precondition) => {
                self.check(&precondition)?;
                if self.named(&new.username).is_some() {
                    return Err(StoreError::NameTaken);
                }
                self.ids_given += 1;
                let user = User::new(self.ids_given, new.username, new.created_at, new.password);
                self.users.insert(user.id, user.clone());
                Found::User(Some(user))
            }
            Call::SetPassword(precondition, password, revoke) => {
                let user = self.prove(&precondition)?;
                user.password = password;
                user.generation += u64::from(revoke);
                Found::User(Some(user.clone()))
            }
            Call::ReplacePasswordRecord(id, from, to) => {
                let user = self.users.get_mut(&id).ok_or(StoreError::Conflict)?;
                if user.password != from {
                    return Err(StoreError::Conflict);
                }
                user.password = to;
                Found::Done
            }
            Call::Accept(precondition) => {
                self.prove(&precondition)?;
                Found::Done
            }
            Call::NoteFailure(attempted, at) => Found::Failures(
                self.failures(attempted)
                    .map_or_else(Failures::default, |failures| {
                        *failures = failures.and_one(at);
                        *failures
                    }),
            ),
            Call::ForgetFailures(attempted) => {
                if let Some(failures) = self.failures(attempted) {
                    *failures = Failures::default();
                }
                Found::Done
            }
            Call::Failures(name) => {
                Found::Failures(self.attempted.get(&name.0).copied().unwrap_or_default())
            }
            Call::Amend(name, update) => Found::User(Some(self.amend(&name, update)?)),
            Call::EndSessions(precondition, which) => {
                let user = self.prove(&precondition)?;
                let id = user.id;
                let Some(token) = which else {
                    user.generation += 1;
                    return Ok(Found::Flag(true));
                };
                let own = self.session(&token).is_some_and(|(_, user)| user.id == id);
                if own {
                    self.sessions.remove(&token);
                }
                Found::Flag(own)
            }
            Call::SessionsOf(user) => {
                let all = self.sessions.values();
                Found::Sessions(all.filter(|s| s.belongs_to(&user)).cloned().collect())
            }
            Call::SetSecondFactor(precondition, factor) => {
                self.prove(&precondition)?.set_second_factor(factor);
                Found::Done
            }
            Call::DeleteUser(name, precondition) => {
                self.check(&precondition)?;
                let id = self.named(&name).ok_or(StoreError::NoSuchUser)?.id;
                self.users.remove(&id);
                Found::Done
            }
            Call::CreateSession(new, precondition) => {
                let user = self.prove(&precondition)?.clone();
                let session = Session {
                    token: new.token,
                    user_id: user.id,
                    generation: user.generation,
                    created_at: new.created_at,
                    expires_at: new.expires_at,
                    used_at: new.created_at,
                };
                self.sessions.insert(session.token, session.clone());
                Found::Made(session, user)
            }
            Call::DeleteSession(token, now) => {
                let live = self
                    .session(&token)
                    .is_some_and(|(s, _)| !s.is_expired(&rules(now)));
                self.sessions.remove(&token);
                Found::Flag(live)
            }
            Call::Sweep(_, now) => {
                let before = self.sessions.len();
                let users = &self.users;
                self.sessions.retain(|_, session| {
                    let user = users.get(&session.user_id);
                    user.is_some_and(|user| session.is_valid(user, &rules(now)))
                });
                Found::Removed(before - self.sessions.len())
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

    fn amend(&mut self, name: &str, update: AdminUpdate) -> Result<User> {
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
        let good = match precondition {
            Precondition::NoUsers => self.users.is_empty(),
            Precondition::Session(token) => self.session(token).is_some(),
            Precondition::Password(precondition) => return self.prove(precondition).map(drop),
        };
        good.then_some(()).ok_or(StoreError::Conflict)
    }

    /// The precondition's user, its code taken and its failures forgotten.
    fn prove(&mut self, precondition: &PasswordPrecondition) -> Result<&mut User> {
        let user = self.users.get_mut(&precondition.user_id);
        let user = user.ok_or(StoreError::Conflict)?;
        let same =
            user.password == precondition.record && user.generation == precondition.generation;
        match (&mut user.second_factor, &precondition.code) {
            (None, None) if same => {}
            (Some(factor), Some(CodeUse::Step(step))) if same && *step > factor.last_step => {
                factor.last_step = *step;
            }
            (Some(factor), Some(CodeUse::Backup(code)))
                if same && factor.backup_codes.contains(code) =>
            {
                factor.backup_codes.retain(|left| left != code);
            }
            _ => return Err(StoreError::Conflict),
        }
        user.failures = Failures::default();
        Ok(user)
    }
}
