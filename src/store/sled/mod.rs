//! Store engine on sled 0.34.
//!
//! Reads go directly to the tree. All mutations go through one writer thread (`writer.rs`), which
//! applies them in order and in groups (`group.rs`). `records.rs` defines the format on disk.

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

pub use self::open::OpenError;
use self::session_cache::SessionCache;
pub use self::writer::Progress;
use self::{lookup::Lookup as _, writer::Writer};
use super::operations::Job;
use super::{Counters, DeadSessions, ImportBatch, Page, Result, Store, StoreError};
use crate::model::{
    DeliveryId, Failures, NameHash, Origin, Profile, Session, SessionRules, TokenHash, User, UserId,
};

/// Store in a sled database, in its own folder.
pub struct SledStore {
    tree: ::sled::Tree,
    sessions: Arc<SessionCache>,
    writer: Writer,
}

/// Resource limits of a store.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Maximum number of unknown names with failures.
    pub max_attempted: u64,
    /// Minimum free disk space in MiB for a write.
    pub reserved_mib: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            max_attempted: 1_000_000,
            reserved_mib: writer::RESERVED_MIB,
        }
    }
}

impl SledStore {
    /// Opens the database in `workdir`, or creates it.
    ///
    /// # Errors
    /// If it cannot be opened, has another schema version, or lacks commits that were answered.
    pub fn open(workdir: &Path) -> std::result::Result<Self, OpenError> {
        Self::open_bounded(workdir, Bounds::default())
    }

    /// Opens the database like [`Self::open`], with other bounds.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_bounded(workdir: &Path, bounds: Bounds) -> std::result::Result<Self, OpenError> {
        let disk = open::open(workdir, bounds)?;
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

    /// Returns the progress of the writer, for the watchdog.
    #[must_use]
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.writer.progress)
    }

    /// Reads from the tree, and returns once everything that was read is on disk.
    async fn read<T: Send>(
        &self,
        read: impl FnOnce(&::sled::Tree) -> Result<T> + Send,
    ) -> Result<T> {
        let result = read(&self.tree)?;
        self.writer.progress.wait_durable().await?;
        Ok(result)
    }

    /// Like [`Self::read`], but on a blocking thread. A read of many records on the runtime's
    /// thread would delay all other requests.
    async fn read_blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&::sled::Tree) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let tree = self.tree.clone();
        let result = tokio::task::spawn_blocking(move || read(&tree))
            .await
            .map_err(|_| StoreError::Engine("a read of many records panicked".into()))??;
        self.writer.progress.wait_durable().await?;
        Ok(result)
    }
}

#[async_trait]
impl Store for SledStore {
    fn submit(&self, job: Box<dyn Job>) -> Result<()> {
        self.writer.submit(job)
    }

    async fn counters(&self) -> Result<Counters> {
        self.read(|tree| tree.counters()).await
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
        self.read_blocking(scan::all_users).await
    }

    async fn profiles(&self) -> Result<Vec<Profile>> {
        self.read_blocking(scan::all_users).await
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

    async fn failures(&self, name: &NameHash) -> Result<Failures> {
        self.read(|tree| tree.failures(name)).await
    }

    async fn sessions_of(&self, user: UserId, generation: u64) -> Result<Vec<Session>> {
        self.read_blocking(move |tree| scan::sessions_of(tree, user, generation))
            .await
    }

    async fn users_by_token_name(&self, name: &str) -> Result<Vec<User>> {
        // Few stores have such names, but one name may have many users. Only then the look-up is
        // worth a blocking thread.
        let is_known = self.read(|tree| scan::is_token_name(tree, name)).await?;
        if !is_known {
            return Ok(Vec::new());
        }
        let name = name.to_owned();
        self.read_blocking(move |tree| scan::users_by_token_name(tree, &name))
            .await
    }

    async fn dead_sessions(
        &self,
        after: Option<TokenHash>,
        limit: usize,
        rules: SessionRules,
    ) -> Result<DeadSessions> {
        self.read_blocking(move |tree| scan::dead_sessions(tree, after, limit, &rules))
            .await
    }

    async fn outcome(&self, delivery: &DeliveryId) -> Result<Option<Vec<u8>>> {
        self.read(|tree| tree.bytes(&records::outcome_key(delivery)))
            .await
    }

    async fn outcomes(&self) -> Result<Vec<DeliveryId>> {
        self.read_blocking(|tree| {
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

    async fn users_from(&self, from: UserId, limit: usize) -> Result<Page<User, UserId>> {
        self.read_blocking(move |tree| scan::users_from(tree, from, limit))
            .await
    }

    async fn sessions_from(
        &self,
        from: TokenHash,
        limit: usize,
    ) -> Result<Page<Session, TokenHash>> {
        self.read_blocking(move |tree| scan::sessions_from(tree, from, limit))
            .await
    }

    async fn by_origin(&self, origin: Origin) -> Result<Option<(UserId, Option<User>)>> {
        self.read(|tree| tree.by_origin(origin)).await
    }

    async fn import(&self, batch: ImportBatch) -> Result<()> {
        self.writer.import(batch).await
    }
}

/// Converts an error of sled, without its `Debug` text, which can quote data.
fn engine_error(error: ::sled::Error) -> StoreError {
    StoreError::Engine(match error {
        ::sled::Error::Corruption { .. } => "the database is corrupt: restore a backup".into(),
        ::sled::Error::Io(error) => error.to_string(),
        ::sled::Error::CollectionNotFound(_)
        | ::sled::Error::Unsupported(_)
        | ::sled::Error::ReportableBug(_) => "an unexpected state of the database".into(),
    })
}

/// Returns the content of the commit file. Its fixed width allows overwriting in place.
fn commit_line(commit: u64) -> String {
    format!("{commit:020}\n")
}
