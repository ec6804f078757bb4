//! Who of those who come is let in, under which number and which name.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Person, PersonRecord};
use crate::actions::{World, check_new_username};
use crate::error::Error;
use crate::model::{Sealed, User, UserId};
use crate::store::record::Malformed;
use crate::store::{Arrivals, NextIds, StoreError};

/// People whose fate is decided before others have a chance to run: requests
/// are served meanwhile.
const AT_A_TIME: usize = 64;

/// What to do about a name that somebody else has here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum OnConflict {
    /// Leave out who comes later, with all that goes along
    Skip,
    /// Give who comes later the first free name of NAME-2, NAME-3, …
    Rename,
}

/// Everybody who is to be let in, in one step.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// Who comes.
    pub people: Vec<PersonRecord>,
    /// What an export says beside the users; none where they come from a
    /// Platypush node.
    pub restore: Option<Restore>,
    /// What to do about names that are taken.
    pub on_conflict: OnConflict,
    /// Whether to say what would be, and to change nothing.
    pub dry_run: bool,
}

/// What an export says beside the users.
#[derive(Serialize, Deserialize)]
pub struct Restore {
    /// The next number of a user.
    pub next_user_id: u64,
    /// The next number of an API token.
    pub next_api_token_id: u64,
    /// The key that backup codes are hashed with, in hexadecimal.
    pub hash_key: Zeroizing<String>,
}

impl std::fmt::Debug for Restore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Restore(…)")
    }
}

/// What becomes of somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It comes.
    Comes {
        /// Its number here.
        id: UserId,
        /// Its name here.
        name: String,
    },
    /// It came before.
    IsHere {
        /// Its number here.
        id: UserId,
        /// Its name here.
        name: String,
    },
    /// Somebody else has its name.
    NameTaken,
    /// No user may have its name.
    UnusableName {
        /// Why.
        reason: String,
    },
}

/// Why nobody is let in.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    /// The store failed, or a secret could not be sealed.
    #[error(transparent)]
    Failed(#[from] Error),
    /// What was sent is not what it should be.
    #[error("{0}: nothing was changed")]
    Malformed(#[from] Malformed),
    /// Their backup codes would be void.
    #[error(
        "the backup codes in this export are hashed with the key of another database: it can be \
         read into an empty one, or back into the one that it is of; nothing was changed"
    )]
    ForeignKey,
    /// The running daemon has its key in memory.
    #[error(
        "a database that gets the key of an export must have no daemon running: stop it, and try \
         again; nothing was changed"
    )]
    StopTheDaemon,
}

impl From<StoreError> for AdmissionError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

/// Lets people in, all at once, or says what would become of them.
///
/// # Errors
/// When nobody was let in, unless the store has stopped.
pub async fn admit(
    world: &World,
    order: Order,
    is_serving: bool,
) -> Result<Vec<Fate>, AdmissionError> {
    let Order {
        people,
        restore,
        on_conflict,
        dry_run,
    } = order;
    let people: Vec<Person> = people
        .into_iter()
        .map(PersonRecord::into_person)
        .collect::<Result<_, _>>()?;
    loop {
        let before = world.store.next_ids().await?;
        let mut admission = Admission {
            world,
            on_conflict,
            keep_ids: restore.is_some() && before.user == 1,
            next: before,
            names: HashSet::new(),
            arrivals: Arrivals {
                before,
                after: before,
                users: Vec::new(),
                sessions: Vec::new(),
                hash_key: None,
            },
        };
        if let Some(restore) = &restore {
            admission.take_over(restore, &people, is_serving)?;
        }
        let mut fates = Vec::with_capacity(people.len());
        for (number, person) in people.iter().enumerate() {
            if number % AT_A_TIME == AT_A_TIME - 1 {
                tokio::task::yield_now().await;
            }
            fates.push(admission.judge(person, restore.is_some()).await?);
        }
        let arrivals = admission.finish();
        if dry_run || arrivals.users.is_empty() {
            return Ok(fates);
        }
        match world.store.admit(arrivals).await {
            // Somebody else was made meanwhile: decided anew.
            Err(StoreError::Changed) => {}
            Err(error) => return Err(error.into()),
            Ok(()) => return Ok(fates),
        }
    }
}

struct Admission<'a> {
    world: &'a World,
    on_conflict: OnConflict,
    /// Whether people keep their numbers: where nobody has ever had one.
    keep_ids: bool,
    next: NextIds,
    /// Names that were given in here.
    names: HashSet<String>,
    arrivals: Arrivals,
}

impl Admission<'_> {
    /// Takes over what an export says beside the users.
    fn take_over(
        &mut self,
        restore: &Restore,
        people: &[Person],
        is_serving: bool,
    ) -> Result<(), AdmissionError> {
        let mut key = Zeroizing::new([0; 32]);
        hex::decode_to_slice(restore.hash_key.as_bytes(), key.as_mut_slice())
            .map_err(|_| Malformed("the key of the backup codes"))?;
        let has_codes = |person: &Person| {
            let factor = person.user.second_factor.as_ref();
            factor.is_some_and(|factor| !factor.backup_codes.is_empty())
        };
        if !self.world.credentials.has_hash_key(&key) && people.iter().any(has_codes) {
            if !self.keep_ids {
                return Err(AdmissionError::ForeignKey);
            }
            if is_serving {
                return Err(AdmissionError::StopTheDaemon);
            }
            self.arrivals.hash_key = Some(self.world.credentials.seal_hash_key(&key)?);
        }
        if self.keep_ids {
            let after = &mut self.arrivals.after;
            after.user = restore.next_user_id;
            after.api_token = restore.next_api_token_id;
        }
        Ok(())
    }

    async fn judge(&mut self, person: &Person, restored: bool) -> Result<Fate, AdmissionError> {
        let username = &person.user.username;
        if let Some(user) = self.earlier(&person.user, restored).await? {
            return Ok(Fate::IsHere {
                id: user.id,
                name: user.username,
            });
        }
        if let Err(error) = check_new_username(username, &self.world.limits) {
            return Ok(Fate::UnusableName {
                reason: error.to_string(),
            });
        }
        let name = match self.on_conflict {
            _ if self.is_free(username).await? => username.clone(),
            OnConflict::Skip => return Ok(Fate::NameTaken),
            OnConflict::Rename => self.other_name(username).await?,
        };
        let id = self.let_in(person, &name)?;
        Ok(Fate::Comes { id, name })
    }

    /// The user here that somebody has become before.
    async fn earlier(&self, user: &User, restored: bool) -> Result<Option<User>, StoreError> {
        let store = &self.world.store;
        if let Some(origin) = user.origin
            && let Some(found) = store.user_by_origin(origin).await?
        {
            return Ok(Some(found));
        }
        if !restored {
            return Ok(None);
        }
        let found = store.user(user.id).await?;
        Ok(found
            .filter(|found| found.username == user.username && found.created_at == user.created_at))
    }

    async fn is_free(&self, name: &str) -> Result<bool, StoreError> {
        let taken = self.names.contains(name);
        Ok(!taken && self.world.store.user_by_name(name).await?.is_none())
    }

    async fn other_name(&self, name: &str) -> Result<String, StoreError> {
        let mut number = 2_u64;
        loop {
            let other = format!("{name}-{number}");
            if self.is_free(&other).await? {
                return Ok(other);
            }
            number += 1;
        }
    }

    fn let_in(&mut self, person: &Person, name: &str) -> Result<UserId, AdmissionError> {
        let mut user = person.user.clone();
        if !self.keep_ids {
            user.id = self.next.user;
            self.next.user += 1;
            for token in &mut user.api_tokens {
                token.id = self.next.api_token;
                self.next.api_token += 1;
            }
        }
        if name != user.username && !user.api_tokens.is_empty() {
            user.token_name.get_or_insert_with(|| user.username.clone());
        }
        name.clone_into(&mut user.username);
        if let (Some(factor), Some(secret)) = (&mut user.second_factor, &person.totp_secret) {
            factor.secret = self.world.credentials.seal_second_factor(user.id, secret)?;
        }
        let session = person.sessions.iter().cloned().map(|mut session| {
            session.user_id = user.id;
            session
        });
        self.arrivals.sessions.extend(session);
        self.names.insert(name.to_owned());
        let id = user.id;
        self.arrivals.users.push(user);
        Ok(id)
    }

    fn finish(mut self) -> Arrivals {
        if !self.keep_ids {
            self.arrivals.after = self.next;
        }
        self.arrivals
    }
}

/// What stands in the place of a secret that is open on the way.
#[must_use]
pub const fn not_sealed() -> Sealed {
    Sealed(Vec::new())
}
