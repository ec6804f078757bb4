//! Who of those who come is let in, under which number and which name.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Person, PersonRecord};
use crate::clock::is_in_iso_years;
use crate::error::Error;
use crate::model::{ApiToken, User, UserId};
use crate::services::Services;
use crate::store::record::Malformed;
use crate::store::{ImportBatch, ImportProgress, NextIds, StoreError};
use crate::text;

/// People who are dealt with before others have a chance to run: requests are
/// served meanwhile.
const AT_A_TIME: usize = 16;
/// How often it is tried while others take the numbers.
const TRIES: usize = 20;

/// What to do about a name that somebody else has here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnConflict {
    /// Skip the imported user, with everything that belongs to it.
    Skip,
    /// Give the imported user the first free name of NAME-2, NAME-3, …
    Rename,
}

/// Everybody who is to be let in, all or none.
#[derive(Debug, Serialize, Deserialize)]
pub struct ImportRequest {
    /// Who comes.
    pub people: Vec<PersonRecord>,
    /// What an export says beside the users; none where they come from a
    /// Platypush node.
    pub restore: Option<Restore>,
    /// What to do about names that are taken.
    pub on_conflict: OnConflict,
    /// Whether those come again who were deleted here since they came.
    pub bring_deleted: bool,
    /// Whether to say what would be, and to change nothing.
    pub dry_run: bool,
    /// How far it has come; for whoever watches it in this process.
    #[serde(skip)]
    pub progress: Arc<ImportProgress>,
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
pub enum ImportOutcome {
    /// It comes.
    Comes {
        /// Its number here.
        id: UserId,
        /// Its name here.
        name: String,
        /// Whether its backup codes do not come: they are hashed with its
        /// number.
        loses_codes: bool,
        /// API tokens that get another name here, because theirs cannot be one: what they were
        /// called and what they are called now.
        renamed_tokens: Vec<(String, String)>,
    },
    /// It came before.
    IsHere {
        /// Its number here.
        id: UserId,
        /// Its name here.
        name: String,
    },
    /// It came before, and was deleted here.
    WasDeleted,
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
pub enum ImportError {
    /// The store failed, or a secret could not be sealed.
    #[error(transparent)]
    Failed(#[from] Error),
    /// What was sent is not what it should be.
    #[error("{0}: nothing was changed")]
    Malformed(#[from] Malformed),
    /// Whoever was made meanwhile took the numbers.
    #[error("so many users are made meanwhile that nobody could be let in: try again")]
    Busy,
    /// The running daemon has its key in memory.
    #[error(
        "a database that gets the key of an export must have no daemon running: stop it, and try \
         again; nothing was changed"
    )]
    StopTheDaemon,
    /// It was asked to stop before everybody was in.
    #[error("interrupted: nobody was brought")]
    Interrupted,
}

impl From<StoreError> for ImportError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Interrupted => Self::Interrupted,
            error => Self::Failed(error.into()),
        }
    }
}

/// Lets people in, all at once, or says what would become of them.
///
/// # Errors
/// When nobody was let in, unless the store has stopped.
pub async fn import(
    services: &Services,
    mut order: ImportRequest,
    is_serving: bool,
) -> Result<Vec<ImportOutcome>, ImportError> {
    let mut people = Vec::with_capacity(order.people.len());
    for (number, record) in order.people.drain(..).enumerate() {
        pause(number).await;
        let person = record.into_person()?;
        if !person.dates().all(is_in_iso_years) {
            return Err(Malformed("a date outside the years 1 to 9999").into());
        }
        people.push(person);
    }
    for _ in 0..TRIES {
        let mut importer = Importer::new(services, &order, &people).await?;
        if let Some(restore) = &order.restore {
            importer.take_over(restore, &people, is_serving)?;
        }
        let mut fates = Vec::with_capacity(people.len());
        for (number, person) in people.iter().enumerate() {
            pause(number).await;
            if order.progress.is_interrupted() {
                return Err(ImportError::Interrupted);
            }
            fates.push(importer.judge(person).await?);
        }
        let batch = importer.finish();
        if order.dry_run || batch.users.is_empty() {
            return Ok(fates);
        }
        match services.store.import(batch).await {
            // Somebody else was made meanwhile: decided anew.
            Err(StoreError::Conflict) => {}
            Err(error) => return Err(error.into()),
            Ok(()) => return Ok(fates),
        }
    }
    Err(ImportError::Busy)
}

/// Lets others run from time to time.
pub(crate) async fn pause(number: usize) {
    if number % AT_A_TIME == AT_A_TIME - 1 {
        tokio::task::yield_now().await;
    }
}

/// Gives API tokens whose names cannot be one the first free name of NAME, NAME-2, …, and returns
/// the names before and after.
fn rename_tokens(tokens: &mut [ApiToken]) -> Vec<(String, String)> {
    let mut taken: HashSet<_> = tokens.iter().map(|token| token.name.clone()).collect();
    let mut renamed = Vec::new();
    for token in tokens {
        let usable = text::usable_name(&token.name).into_owned();
        if usable == token.name {
            continue;
        }
        let numbered = (2_u64..).map(|number| format!("{usable}-{number}"));
        let mut free = std::iter::once(usable.clone()).chain(numbered);
        if let Some(name) = free.find(|name| !taken.contains(name)) {
            taken.insert(name.clone());
            renamed.push((std::mem::replace(&mut token.name, name.clone()), name));
        }
    }
    renamed
}

struct Importer<'a> {
    services: &'a Services,
    order: &'a ImportRequest,
    /// Whether people keep their numbers: where nobody has ever had one.
    keep_ids: bool,
    /// Whether what is hashed with a key and their numbers can be checked here.
    keep_keyed: bool,
    next: NextIds,
    /// Names that were given in here.
    names: HashSet<String>,
    /// Names that people bring; none where nobody can get another one here.
    own_names: HashSet<&'a str>,
    batch: ImportBatch,
}

impl<'a> Importer<'a> {
    async fn new(
        services: &'a Services,
        order: &'a ImportRequest,
        people: &'a [Person],
    ) -> Result<Self, StoreError> {
        let before = services.store.next_ids().await?;
        let own_names = || people.iter().map(|person| person.user.username.as_str());
        let may_rename = order.on_conflict == OnConflict::Rename
            || own_names().any(|name| text::check_name(name).is_err());
        Ok(Self {
            services,
            order,
            keep_ids: order.restore.is_some() && before.user == 1,
            keep_keyed: false,
            next: before,
            names: HashSet::new(),
            own_names: own_names().filter(|_| may_rename).collect(),
            batch: ImportBatch {
                before,
                after: before,
                users: Vec::new(),
                sessions: Vec::new(),
                hash_key: None,
                progress: Arc::clone(&order.progress),
            },
        })
    }

    /// Takes over what an export says beside the users: where nobody has ever
    /// been, they keep their numbers, and their backup codes with them.
    fn take_over(
        &mut self,
        restore: &Restore,
        people: &[Person],
        is_serving: bool,
    ) -> Result<(), ImportError> {
        if !self.keep_ids {
            return Ok(());
        }
        let mut key = Zeroizing::new([0; 32]);
        hex::decode_to_slice(restore.hash_key.as_bytes(), key.as_mut_slice())
            .map_err(|_| Malformed("the key of the backup codes"))?;
        let needs_key = |person: &Person| {
            let factor = person.user.second_factor.as_ref();
            factor.is_some_and(|factor| !factor.backup_codes.is_empty())
                || !person.user.used_secrets.is_empty()
        };
        self.keep_keyed = self.services.credentials.has_hash_key(&key);
        if !self.keep_keyed && people.iter().any(needs_key) {
            if is_serving {
                return Err(ImportError::StopTheDaemon);
            }
            self.batch.hash_key = Some(self.services.credentials.seal_hash_key(&key)?);
            self.keep_keyed = true;
        }
        // Users may have been made while the export was written.
        let tokens = people.iter().flat_map(|person| &person.user.api_tokens);
        let token = tokens.map(|token| token.id).max().unwrap_or(0);
        let user = people.iter().map(|person| person.user.id).max();
        self.next.user = restore.next_user_id.max(user.unwrap_or(0) + 1);
        self.next.api_token = restore.next_api_token_id.max(token + 1);
        Ok(())
    }

    async fn judge(&mut self, person: &Person) -> Result<ImportOutcome, ImportError> {
        let username = &*text::usable_name(&person.user.username);
        if let Some(outcome) = self.came_before(&person.user).await? {
            return Ok(outcome);
        }
        let is_own = username == person.user.username;
        let is_free =
            (is_own || !self.own_names.contains(username)) && !self.is_taken(username).await?;
        let name = if is_free {
            username.to_owned()
        } else if self.order.on_conflict == OnConflict::Rename {
            self.other_name(username).await?
        } else {
            return Ok(ImportOutcome::NameTaken);
        };
        if let Err(error) = self.services.limits.check_new_username(&name) {
            return Ok(ImportOutcome::UnusableName {
                reason: error.to_string(),
            });
        }
        self.let_in(person, name)
    }

    /// What became of somebody who came before.
    async fn came_before(&self, user: &User) -> Result<Option<ImportOutcome>, StoreError> {
        let store = &self.services.store;
        let is_here = |user: User| ImportOutcome::IsHere {
            id: user.id,
            name: user.username,
        };
        let found = match user.origin {
            Some(origin) => store.by_origin(origin).await?,
            None => None,
        };
        match found {
            Some((_, Some(user))) => return Ok(Some(is_here(user))),
            // Whoever restores an export wants them back.
            Some((_, None)) if !self.order.bring_deleted && self.order.restore.is_none() => {
                return Ok(Some(ImportOutcome::WasDeleted));
            }
            _ => {}
        }
        if self.order.restore.is_none() {
            return Ok(None);
        }
        let found = store.user(user.id).await?;
        let has_its_name =
            |name: &str| name == user.username || name == text::usable_name(&user.username);
        let is_same =
            |found: &User| has_its_name(&found.username) && found.created_at == user.created_at;
        Ok(found.filter(is_same).map(is_here))
    }

    async fn is_taken(&self, name: &str) -> Result<bool, StoreError> {
        Ok(self.names.contains(name) || self.services.store.user_by_name(name).await?.is_some())
    }

    async fn other_name(&self, name: &str) -> Result<String, StoreError> {
        let mut number = 2_u64;
        loop {
            let other = format!("{name}-{number}");
            // Whose own name it is keeps it.
            if !self.own_names.contains(&*other) && !self.is_taken(&other).await? {
                return Ok(other);
            }
            number += 1;
        }
    }

    fn let_in(&mut self, person: &Person, name: String) -> Result<ImportOutcome, ImportError> {
        let mut user = person.user.clone();
        let mut loses_codes = false;
        if !self.keep_ids {
            user.id = self.next.user;
            self.next.user += 1;
            for token in &mut user.api_tokens {
                token.id = self.next.api_token;
                self.next.api_token += 1;
            }
            if let Some(factor) = &mut user.second_factor {
                loses_codes = !factor.backup_codes.is_empty();
                factor.backup_codes.clear();
            }
        }
        if name != user.username && !user.api_tokens.is_empty() {
            user.token_names.push(std::mem::take(&mut user.username));
        }
        user.username.clone_from(&name);
        let credentials = &self.services.credentials;
        let renamed_tokens = rename_tokens(&mut user.api_tokens);
        if let (Some(factor), Some(secret)) = (&mut user.second_factor, &person.totp_secret) {
            factor.secret = credentials.seal_second_factor(user.id, secret)?;
            if !self.keep_keyed {
                factor.fingerprint = credentials.secret_fingerprint(user.id, secret);
            }
        }
        if !self.keep_keyed {
            // Fingerprints of secrets that are gone cannot be made anew.
            user.used_secrets.clear();
        }
        let session = person.sessions.iter().cloned().map(|mut session| {
            session.user_id = user.id;
            session
        });
        self.batch.sessions.extend(session);
        self.names.insert(name.clone());
        let id = user.id;
        self.batch.users.push(user);
        Ok(ImportOutcome::Comes {
            id,
            name,
            loses_codes,
            renamed_tokens,
        })
    }

    fn finish(mut self) -> ImportBatch {
        self.batch.after = self.next;
        self.batch
    }
}
