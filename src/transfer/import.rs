//! Imports users: decides which ones are imported, and under which id and name.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{ImportedUser, ImportedUserRecord};
use crate::clock::is_in_iso_years;
use crate::error::Error;
use crate::model::{ApiToken, SecretFingerprint, User, UserId};
use crate::services::Services;
use crate::store::record::Malformed;
use crate::store::{ImportBatch, ImportProgress, NextIds, StoreError};
use crate::text;

/// Number of users that are processed before other tasks run, because the daemon serves requests
/// during an import.
const USERS_PER_YIELD: usize = 16;
/// Maximum number of attempts while requests create users, which changes the next ids.
const MAX_ATTEMPTS: usize = 20;

/// What to do if another user has the name of an imported user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnConflict {
    /// Skip the imported user, with everything that belongs to it.
    Skip,
    /// Give the imported user the first free name of NAME-2, NAME-3, …
    Rename,
}

/// A request to import users, all or none.
#[derive(Debug, Serialize, Deserialize)]
pub struct ImportRequest {
    /// Users to import.
    pub users: Vec<ImportedUserRecord>,
    /// Data of an export beside its users. `None` for users of a Platypush node.
    pub restore: Option<Restore>,
    /// What to do about names that are taken.
    pub on_conflict: OnConflict,
    /// Whether to import users again that were deleted here after an earlier import.
    pub bring_deleted: bool,
    /// Whether to return the outcomes without changing anything.
    pub dry_run: bool,
    /// Progress of the import. Only this process sees it.
    #[serde(skip)]
    pub progress: Arc<ImportProgress>,
}

/// Data of an export beside its users.
#[derive(Serialize, Deserialize)]
pub struct Restore {
    /// Next id of a user.
    pub next_user_id: u64,
    /// Next id of an API token.
    pub next_api_token_id: u64,
    /// Key that backup codes are hashed with, in hexadecimal.
    pub hash_key: Zeroizing<String>,
}

impl std::fmt::Debug for Restore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Restore(…)")
    }
}

/// Outcome of the import for one user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImportOutcome {
    /// The user was imported.
    Imported {
        /// Id of the user in this store.
        id: UserId,
        /// Name of the user in this store.
        name: String,
        /// Whether backup codes were dropped: they are hashed with the id, which has changed.
        loses_codes: bool,
        /// Old and new names of API tokens whose old names are not allowed.
        renamed_tokens: Vec<(String, String)>,
    },
    /// The user already exists, for example from an earlier import.
    Exists {
        /// Id of the user in this store.
        id: UserId,
        /// Name of the user in this store.
        name: String,
    },
    /// The user was deleted here after an earlier import.
    Deleted,
    /// Another user has the name.
    NameTaken,
    /// The name is not allowed.
    UnusableName {
        /// Why it is not allowed.
        reason: String,
    },
}

/// Why no user was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The store failed, or a secret could not be sealed.
    #[error(transparent)]
    Failed(#[from] Error),
    /// The request is malformed.
    #[error("{0}: nothing was changed")]
    Malformed(#[from] Malformed),
    /// In each attempt, a request created a user first and took an id of the import.
    #[error("other users are created at the same time, so no user was imported: try again")]
    Busy,
    /// The import replaces a key that the running daemon has in memory.
    #[error(
        "the import replaces the key of the backup codes, which a running daemon keeps in memory: \
         stop the daemon and try again; nothing was changed"
    )]
    DaemonRunning,
    /// The import was interrupted before it was complete.
    #[error("interrupted: no user was imported")]
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

/// Imports all users of a request or none, and returns an outcome for each user.
///
/// # Errors
/// When no user was imported. If the store stops during the import, the users may have been
/// imported.
pub async fn import(
    services: &Services,
    mut request: ImportRequest,
    is_serving: bool,
) -> Result<Vec<ImportOutcome>, ImportError> {
    let mut users = Vec::with_capacity(request.users.len());
    for (number, record) in request.users.drain(..).enumerate() {
        pause(number).await;
        let user = record.into_user()?;
        if !user.dates().all(is_in_iso_years) {
            return Err(Malformed("a date outside the years 1 to 9999").into());
        }
        users.push(user);
    }
    for _ in 0..MAX_ATTEMPTS {
        let mut importer = Importer::new(services, &request, &users).await?;
        if let Some(restore) = &request.restore {
            importer.apply_restore(restore, &users, is_serving)?;
        }
        let mut outcomes = Vec::with_capacity(users.len());
        for (number, user) in users.iter().enumerate() {
            pause(number).await;
            if request.progress.is_interrupted() {
                return Err(ImportError::Interrupted);
            }
            outcomes.push(importer.import(user).await?);
        }
        let batch = importer.batch;
        if request.dry_run || batch.users.is_empty() {
            return Ok(outcomes);
        }
        match services.store.import(batch).await {
            // A request created a user since the ids were read.
            Err(StoreError::Conflict) => {}
            Err(error) => return Err(error.into()),
            Ok(()) => return Ok(outcomes),
        }
    }
    Err(ImportError::Busy)
}

/// Yields to other tasks after every `USERS_PER_YIELD` items.
pub(crate) async fn pause(number: usize) {
    if number % USERS_PER_YIELD == USERS_PER_YIELD - 1 {
        tokio::task::yield_now().await;
    }
}

/// Gives each API token whose name is not allowed the first free name of NAME, NAME-2, …, where
/// NAME is its usable form. Returns the old and new names.
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
    request: &'a ImportRequest,
    /// Whether users keep their ids, because this store never had a user.
    keep_ids: bool,
    /// Whether keyed hashes, which include the id, stay valid.
    keep_keyed_hashes: bool,
    /// Names of the users in the batch.
    assigned_names: HashSet<String>,
    /// Names of the users in the source. Empty if no user can be renamed.
    source_names: HashSet<&'a str>,
    batch: ImportBatch,
}

impl<'a> Importer<'a> {
    async fn new(
        services: &'a Services,
        request: &'a ImportRequest,
        users: &'a [ImportedUser],
    ) -> Result<Self, StoreError> {
        let before = services.store.counters().await?.next;
        let source_names = || users.iter().map(|imported| imported.user.username.as_str());
        let may_rename = request.on_conflict == OnConflict::Rename
            || source_names().any(|name| text::check_name(name).is_err());
        Ok(Self {
            services,
            request,
            keep_ids: request.restore.is_some() && before.user == 1,
            keep_keyed_hashes: false,
            assigned_names: HashSet::new(),
            source_names: source_names().filter(|_| may_rename).collect(),
            batch: ImportBatch {
                before,
                after: before,
                users: Vec::new(),
                sessions: Vec::new(),
                hash_key: None,
                progress: Arc::clone(&request.progress),
            },
        })
    }

    /// Adopts the next ids and the hash key of an export if the store never had a user. The users
    /// then keep their ids and backup codes.
    fn apply_restore(
        &mut self,
        restore: &Restore,
        users: &[ImportedUser],
        is_serving: bool,
    ) -> Result<(), ImportError> {
        if !self.keep_ids {
            return Ok(());
        }
        let mut key = Zeroizing::new([0; 32]);
        hex::decode_to_slice(restore.hash_key.as_bytes(), key.as_mut_slice())
            .map_err(|_| Malformed("the key of the backup codes"))?;
        let needs_key = |imported: &ImportedUser| {
            let factor = imported.user.second_factor.as_ref();
            factor.is_some_and(|factor| !factor.backup_codes.is_empty())
                || !imported.user.used_secrets.is_empty()
        };
        self.keep_keyed_hashes = self.services.credentials.vault.has_hash_key(&key);
        if !self.keep_keyed_hashes && users.iter().any(needs_key) {
            if is_serving {
                return Err(ImportError::DaemonRunning);
            }
            self.batch.hash_key = Some(self.services.credentials.vault.seal_hash_key(&key)?);
            self.keep_keyed_hashes = true;
        }
        // Requests may have created users and tokens after the export recorded the next ids.
        let tokens = users.iter().flat_map(|imported| &imported.user.api_tokens);
        let max_token = tokens.map(|token| token.id).max().unwrap_or(0);
        let max_user = users.iter().map(|imported| imported.user.id).max();
        self.batch.after = NextIds {
            user: restore.next_user_id.max(max_user.unwrap_or(0) + 1),
            api_token: restore.next_api_token_id.max(max_token + 1),
        };
        Ok(())
    }

    /// Adds a user to the batch, unless its outcome is not to import it.
    async fn import(&mut self, imported: &ImportedUser) -> Result<ImportOutcome, ImportError> {
        let username = &*text::usable_name(&imported.user.username);
        if let Some(outcome) = self.find_existing(&imported.user).await? {
            return Ok(outcome);
        }
        let is_unchanged = username == imported.user.username;
        let is_free = (is_unchanged || !self.source_names.contains(username))
            && !self.is_taken(username).await?;
        let name = if is_free {
            username.to_owned()
        } else if self.request.on_conflict == OnConflict::Rename {
            self.free_name(username).await?
        } else {
            return Ok(ImportOutcome::NameTaken);
        };
        if let Err(error) = self.services.limits.check_new_username(&name) {
            return Ok(ImportOutcome::UnusableName {
                reason: error.to_string(),
            });
        }
        self.add_to_batch(imported, name)
    }

    /// Returns the outcome for a user that already exists, or was deleted after an earlier import.
    /// `None` for a new user.
    async fn find_existing(&self, user: &User) -> Result<Option<ImportOutcome>, StoreError> {
        let store = &self.services.store;
        let exists = |user: User| ImportOutcome::Exists {
            id: user.id,
            name: user.username,
        };
        let found = match user.origin {
            Some(origin) => store.by_origin(origin).await?,
            None => None,
        };
        match found {
            Some((_, Some(user))) => return Ok(Some(exists(user))),
            // An export is imported to restore deleted users.
            Some((_, None)) if !self.request.bring_deleted && self.request.restore.is_none() => {
                return Ok(Some(ImportOutcome::Deleted));
            }
            _ => {}
        }
        if self.request.restore.is_none() {
            return Ok(None);
        }
        let found = store.user(user.id).await?;
        let is_its_name =
            |name: &str| name == user.username || name == text::usable_name(&user.username);
        let is_same =
            |found: &User| is_its_name(&found.username) && found.created_at == user.created_at;
        Ok(found.filter(is_same).map(exists))
    }

    async fn is_taken(&self, name: &str) -> Result<bool, StoreError> {
        Ok(self.assigned_names.contains(name)
            || self.services.store.user_by_name(name).await?.is_some())
    }

    /// Returns the first free name of NAME-2, NAME-3, …
    async fn free_name(&self, name: &str) -> Result<String, StoreError> {
        let mut number = 2_u64;
        loop {
            let numbered = format!("{name}-{number}");
            // A user of the source with this very name keeps it.
            if !self.source_names.contains(&*numbered) && !self.is_taken(&numbered).await? {
                return Ok(numbered);
            }
            number += 1;
        }
    }

    fn add_to_batch(
        &mut self,
        imported: &ImportedUser,
        name: String,
    ) -> Result<ImportOutcome, ImportError> {
        let mut user = imported.user.clone();
        let mut loses_codes = false;
        if !self.keep_ids {
            let next = &mut self.batch.after;
            user.id = next.user;
            next.user += 1;
            for token in &mut user.api_tokens {
                token.id = next.api_token;
                next.api_token += 1;
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
        if let (Some(factor), Some(secret)) = (&mut user.second_factor, &imported.totp_secret) {
            factor.secret = credentials.vault.seal_totp(user.id, secret)?;
            // Versions before 0.1 exported none.
            let is_unknown = factor.fingerprint == SecretFingerprint::UNKNOWN;
            if !self.keep_keyed_hashes || (is_unknown && self.batch.hash_key.is_none()) {
                factor.fingerprint = credentials.vault.secret_fingerprint(user.id, secret);
            }
        }
        if !self.keep_keyed_hashes {
            // Only the fingerprints of these secrets were exported, and they use the old key or id.
            user.used_secrets.clear();
        }
        let session = imported.sessions.iter().cloned().map(|mut session| {
            session.user_id = user.id;
            session
        });
        self.batch.sessions.extend(session);
        self.assigned_names.insert(name.clone());
        let id = user.id;
        self.batch.users.push(user);
        Ok(ImportOutcome::Imported {
            id,
            name,
            loses_codes,
            renamed_tokens,
        })
    }
}
