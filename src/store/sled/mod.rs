//! The store on sled 0.34.
//!
//! Readers go to the tree directly; all mutations go through the one writer
//! (`writer.rs`), which applies them in order (`group.rs`). `records.rs` says
//! how everything stands on disk.

mod files;
mod group;
mod lookup;
mod open;
mod records;
mod scan;
mod session_cache;
mod writer;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::TimeDelta;

pub use self::open::OpenError;
use self::session_cache::SessionCache;
pub use self::writer::Progress;
use self::{group::Group, lookup::Lookup as _, writer::Writer};
use super::{
    AdminUpdate, ImportBatch, NewApiToken, NewSession, NewUser, NextIds, Outcome, Page,
    PasswordPrecondition, Precondition, Resealed, Result, Store, StoreError, SweepStep,
};
use crate::clock::Timestamp;
use crate::model::{
    ApiToken, ApiTokenId, Attempted, CodeHash, DeliveryId, Failures, NameHash, Origin,
    PasswordRecord, Profile, SecondFactor, Session, SessionRules, TokenHash, User, UserId,
};

/// Users and sessions in a sled database in a folder of its own.
pub struct SledStore {
    tree: ::sled::Tree,
    sessions: Arc<SessionCache>,
    writer: Writer,
}

/// What a store does not exceed.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Most names of nobody whose failures are kept.
    pub max_attempted: u64,
    /// Room on the disk, in MiB, below which nothing is written.
    pub reserved_mib: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            max_attempted: open::MAX_ATTEMPTED,
            reserved_mib: writer::RESERVED_MIB,
        }
    }
}

impl SledStore {
    /// Opens the database below `workdir`, or makes it.
    ///
    /// # Errors
    /// When it cannot be opened, was written by a newer program, or is older
    /// than what had been acknowledged.
    pub fn open(workdir: &Path) -> std::result::Result<Self, OpenError> {
        Self::start(open::open(workdir)?)
    }

    /// The same, with other bounds.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_bounded(workdir: &Path, bounds: Bounds) -> std::result::Result<Self, OpenError> {
        Self::start(writer::Disk {
            max_attempted: bounds.max_attempted,
            reserved_mib: bounds.reserved_mib,
            ..open::open(workdir)?
        })
    }

    fn start(disk: writer::Disk) -> std::result::Result<Self, OpenError> {
        let tree = disk.tree.clone();
        let sessions = Arc::clone(&disk.sessions);
        let writer = Writer::start(disk).map_err(|error| OpenError::Threads {
            started: 0,
            needed: 1,
            error,
        })?;
        Ok(Self {
            tree,
            sessions,
            writer,
        })
    }

    /// What the writer is doing, for the watchdog.
    #[must_use]
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(self.writer.progress())
    }

    /// Reads, and lets the answer out only when nothing in it can get lost.
    async fn read<T: Send>(
        &self,
        read: impl FnOnce(&::sled::Tree) -> Result<T> + Send,
    ) -> Result<T> {
        let result = read(&self.tree)?;
        self.writer.progress().wait_durable().await?;
        Ok(result)
    }

    /// The same for what goes over many records: on a thread of its own, because
    /// look-ups wait for the thread that everything else runs on.
    async fn read_aside<T: Send + 'static>(
        &self,
        read: impl FnOnce(&::sled::Tree) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let tree = self.tree.clone();
        let result = tokio::task::spawn_blocking(move || read(&tree))
            .await
            .map_err(|_| StoreError::Engine("a read of many records panicked".into()))??;
        self.writer.progress().wait_durable().await?;
        Ok(result)
    }

    async fn run<T: Send + 'static>(
        &self,
        outcome: Option<Outcome<T>>,
        operation: impl FnOnce(&mut Group<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.commit(move |group| group.run(outcome, operation))
            .await
    }

    async fn commit<T: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Group<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.writer.commit(run).await
    }
}

#[async_trait]
impl Store for SledStore {
    async fn has_users(&self) -> Result<bool> {
        self.read(|tree| Ok(tree.user_count()? > 0)).await
    }

    async fn user_by_name(&self, username: &str) -> Result<Option<User>> {
        self.read(|tree| match tree.id_of(username)? {
            Some(id) => tree.user(id),
            None => Ok(None),
        })
        .await
    }

    async fn user(&self, id: UserId) -> Result<Option<User>> {
        self.read(|tree| tree.user(id)).await
    }

    async fn users(&self) -> Result<Vec<User>> {
        self.read_aside(scan::all_users).await
    }

    async fn profiles(&self) -> Result<Vec<Profile>> {
        self.read_aside(scan::all_users).await
    }

    async fn session(&self, token: &TokenHash) -> Result<Option<(Session, Profile)>> {
        let ticket = match self.sessions.get(token) {
            Ok(known) => return Ok(Some(known)),
            Err(ticket) => ticket,
        };
        let found = self.read(|tree| tree.session(token)).await?;
        Ok(found.map(|(session, user)| {
            let profile = Profile::from(user);
            self.sessions.offer(ticket, &session, &profile);
            (session, profile)
        }))
    }

    async fn create_user(
        &self,
        user: NewUser,
        precondition: Precondition,
        outcome: Option<Outcome<User>>,
    ) -> Result<User> {
        self.run(outcome, move |group| group.create_user(user, &precondition))
            .await
    }

    async fn set_password(
        &self,
        precondition: PasswordPrecondition,
        password: PasswordRecord,
        revoke_sessions: bool,
        outcome: Option<Outcome<User>>,
    ) -> Result<User> {
        self.run(outcome, move |group| {
            group.set_password(&precondition, password, revoke_sessions)
        })
        .await
    }

    async fn replace_password_record(
        &self,
        user_id: UserId,
        from: PasswordRecord,
        to: PasswordRecord,
    ) -> Result<()> {
        self.commit(move |group| group.replace_password_record(user_id, &from, to))
            .await
    }

    async fn accept(
        &self,
        precondition: PasswordPrecondition,
        outcome: Option<Outcome<()>>,
    ) -> Result<()> {
        self.run(outcome, move |group| group.accept(&precondition))
            .await
    }

    async fn failures(&self, name: &NameHash) -> Result<Failures> {
        self.read(|tree| tree.failures(name)).await
    }

    async fn note_failure(
        &self,
        attempted: Attempted,
        at: Timestamp,
        outcome: Option<Outcome<Failures>>,
    ) -> Result<Failures> {
        self.run(outcome, move |group| group.note_failure(attempted, at))
            .await
    }

    async fn can_write(&self) -> Result<()> {
        self.commit(|_| Ok(())).await
    }

    async fn replace_backup_codes(
        &self,
        precondition: PasswordPrecondition,
        backup_codes: Vec<CodeHash>,
        outcome: Option<Outcome<()>>,
    ) -> Result<()> {
        self.run(outcome, move |group| {
            group.replace_backup_codes(&precondition, backup_codes)
        })
        .await
    }

    async fn set_second_factor(
        &self,
        precondition: PasswordPrecondition,
        second_factor: Option<SecondFactor>,
        outcome: Option<Outcome<()>>,
    ) -> Result<()> {
        self.run(outcome, move |group| {
            group.set_second_factor(&precondition, second_factor)
        })
        .await
    }

    async fn delete_user(
        &self,
        username: &str,
        precondition: Precondition,
        outcome: Option<Outcome<UserId>>,
    ) -> Result<UserId> {
        let username = username.to_owned();
        self.run(outcome, move |group| {
            group.delete_user(&username, &precondition)
        })
        .await
    }

    async fn sessions_of(&self, user: UserId, generation: u64) -> Result<Vec<Session>> {
        self.read_aside(move |tree| scan::sessions_of(tree, user, generation))
            .await
    }

    async fn end_sessions(
        &self,
        precondition: PasswordPrecondition,
        which: Option<TokenHash>,
        outcome: Option<Outcome<bool>>,
    ) -> Result<bool> {
        self.run(outcome, move |group| {
            group.end_sessions(&precondition, which)
        })
        .await
    }

    async fn create_session(
        &self,
        session: NewSession,
        precondition: PasswordPrecondition,
        outcome: Option<Outcome<(Session, User)>>,
    ) -> Result<(Session, User)> {
        self.run(outcome, move |group| {
            group.create_session(session, &precondition)
        })
        .await
    }

    async fn create_api_token(
        &self,
        token: NewApiToken,
        limit: usize,
        precondition: PasswordPrecondition,
        outcome: Option<Outcome<ApiToken>>,
    ) -> Result<ApiToken> {
        self.run(outcome, move |group| {
            group.create_api_token(token, limit, &precondition)
        })
        .await
    }

    async fn delete_api_token(
        &self,
        session: TokenHash,
        id: ApiTokenId,
        outcome: Option<Outcome<Option<ApiToken>>>,
    ) -> Result<Option<ApiToken>> {
        self.run(outcome, move |group| group.delete_api_token(&session, id))
            .await
    }

    async fn replace_api_token_record(
        &self,
        user_id: UserId,
        id: ApiTokenId,
        from: PasswordRecord,
        to: TokenHash,
    ) -> Result<()> {
        self.commit(move |group| group.replace_api_token_record(user_id, id, &from, to))
            .await
    }

    async fn users_by_token_name(&self, name: &str) -> Result<Vec<User>> {
        // Hardly any store has such names: only where there are some, of which there
        // may be many, the look-up goes aside.
        let are_none = self.read(|tree| scan::is_no_token_name(tree, name)).await?;
        if are_none {
            return Ok(Vec::new());
        }
        let name = name.to_owned();
        self.read_aside(move |tree| scan::users_by_token_name(tree, &name))
            .await
    }

    async fn has_imported_tokens(&self) -> Result<bool> {
        self.read(|tree| Ok(tree.number(records::IMPORTED_TOKENS)?.unwrap_or(0) > 0))
            .await
    }

    async fn delete_session(
        &self,
        token: &TokenHash,
        rules: SessionRules,
        outcome: Option<Outcome<bool>>,
    ) -> Result<bool> {
        let token = *token;
        self.run(outcome, move |group| group.delete_session(&token, &rules))
            .await
    }

    fn touch_session(&self, token: &TokenHash, at: Timestamp, step: TimeDelta) {
        let token = *token;
        self.writer
            .post(move |group| group.touch_session(&token, at, step));
    }

    async fn sweep_sessions(
        &self,
        after: Option<TokenHash>,
        limit: usize,
        rules: SessionRules,
    ) -> Result<SweepStep> {
        let (dead, next) = self
            .read_aside(move |tree| scan::dead_sessions(tree, after, limit, &rules))
            .await?;
        let removed = if dead.is_empty() {
            0
        } else {
            self.commit(move |group| {
                let mut removed = 0;
                for token in &dead {
                    removed += usize::from(group.remove_dead_session(token, &rules)?);
                }
                Ok(removed)
            })
            .await?
        };
        Ok(SweepStep { removed, next })
    }

    async fn forget_failures(&self, attempted: Attempted) -> Result<()> {
        self.commit(move |group| group.forget_failures(attempted))
            .await
    }

    async fn update_user(&self, username: &str, update: AdminUpdate) -> Result<User> {
        let username = username.to_owned();
        self.commit(move |group| group.update_user(&username, update))
            .await
    }

    async fn outcome(&self, delivery: &DeliveryId) -> Result<Option<Vec<u8>>> {
        self.read(|tree| tree.bytes(&records::outcome_key(delivery)))
            .await
    }

    async fn outcomes(&self) -> Result<Vec<DeliveryId>> {
        self.read_aside(|tree| {
            tree.scan_prefix(records::OUTCOMES)
                .map(|entry| records::delivery_of_key(&entry.map_err(engine_error)?.0))
                .collect()
        })
        .await
    }

    fn forget_outcomes(&self, deliveries: Vec<DeliveryId>) {
        self.writer.forget_outcomes(deliveries);
    }

    async fn hash_key(&self) -> Result<Option<Vec<u8>>> {
        self.read(|tree| tree.bytes(records::HASH_KEY)).await
    }

    async fn set_hash_key(&self, sealed: Vec<u8>) -> Result<()> {
        self.commit(move |group| {
            group.set_hash_key(sealed);
            Ok(())
        })
        .await
    }

    async fn users_from(&self, from: UserId, limit: usize) -> Result<Page<User, UserId>> {
        self.read_aside(move |tree| scan::users_from(tree, from, limit))
            .await
    }

    async fn sessions_from(
        &self,
        from: TokenHash,
        limit: usize,
    ) -> Result<Page<Session, TokenHash>> {
        self.read_aside(move |tree| scan::sessions_from(tree, from, limit))
            .await
    }

    async fn next_ids(&self) -> Result<NextIds> {
        self.read(|tree| tree.next_ids()).await
    }

    async fn by_origin(&self, origin: Origin) -> Result<Option<(UserId, Option<User>)>> {
        self.read(|tree| match tree.number(&records::origin_key(origin))? {
            Some(id) => Ok(Some((id, tree.user(id)?))),
            None => Ok(None),
        })
        .await
    }

    async fn import(&self, batch: ImportBatch) -> Result<()> {
        self.writer.import(batch).await
    }

    fn drop_expired_tokens(&self, user: UserId, now: Timestamp) {
        self.writer
            .post(move |group| group.drop_expired_tokens(user, now));
    }

    async fn reseal(&self, items: Vec<Resealed>) -> Result<()> {
        self.commit(move |group| items.into_iter().try_for_each(|item| group.reseal(item)))
            .await
    }
}

/// sled's error without its `Debug`, which can quote data.
fn engine_error(error: ::sled::Error) -> StoreError {
    StoreError::Engine(match error {
        ::sled::Error::Corruption { .. } => "the database is corrupt: restore a backup".into(),
        ::sled::Error::Io(error) => error.to_string(),
        ::sled::Error::CollectionNotFound(_)
        | ::sled::Error::Unsupported(_)
        | ::sled::Error::ReportableBug(_) => "an unexpected state of the database".into(),
    })
}

/// The text of the commit file: of fixed width, so that it is overwritten in
/// place.
fn commit_line(commit: u64) -> String {
    format!("{commit:020}\n")
}
