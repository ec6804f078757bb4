//! Storage of users and sessions: atomic operations behind the [`Store`] trait.
//!
//! The trait makes the engine replaceable, and every engine passes the same tests
//! (`tests/it/store_conformance/`).
//!
//! The store enforces no policy. A caller states the data that its decision rests on as a
//! [`Precondition`]. The engine checks it again in the step that writes. If it no longer holds,
//! the operation fails with [`StoreError::Conflict`], and the caller decides again.
//!
//! An operation can record an [`Outcome`] under the delivery id of its request, in the same
//! atomic step. If the process dies before it sends the reply, the redelivered request is
//! answered from the outcome and does not run twice.

mod error;
mod operands;
pub mod operations;
pub mod record;
pub mod rows;
pub mod sled;

use async_trait::async_trait;

pub use self::error::StoreError;
pub use self::operands::{
    AdminUpdate, ImportBatch, ImportProgress, NextIds, Outcome, Page, PasswordPrecondition,
    Precondition, Record, Resealed, SealedItem,
};
use self::operations::{Job, Operation, Pending};
pub use self::rows::Counters;
use crate::model::{
    DeliveryId, Failures, NameHash, Origin, Profile, Session, SessionRules, TokenHash, User, UserId,
};

/// Token hashes of dead sessions, and the last session examined, after which the next step
/// continues (`None` at the end).
pub type DeadSessions = (Vec<TokenHash>, Option<TokenHash>);

/// Result of a store operation.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Durable storage of users and sessions. [`StoreExt`] runs the [`operations`] that change it.
///
/// A read returns only data that is on disk.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Submits an operation to the engine, which sends the result to the job's caller once the
    /// operation is on disk.
    ///
    /// # Errors
    /// `Stopped` if the engine has stopped.
    fn submit(&self, job: Box<dyn Job>) -> Result<()>;

    /// Returns the counters.
    async fn counters(&self) -> Result<Counters>;

    /// Returns the user with that name, compared byte for byte.
    async fn user_by_name(&self, username: &str) -> Result<Option<User>>;

    /// Returns the user with that id.
    async fn user(&self, id: UserId) -> Result<Option<User>>;

    /// Returns all users in the order of their ids.
    async fn users(&self) -> Result<Vec<User>>;

    /// Returns the profiles of all users in the order of their ids.
    async fn profiles(&self) -> Result<Vec<Profile>>;

    /// Returns the session with that token hash and its user, or `None` if the user was deleted
    /// or has revoked the session. The caller checks whether the session has expired.
    async fn session(&self, token: &TokenHash) -> Result<Option<(Session, Profile)>>;

    /// Returns the failures under an unknown name.
    async fn failures(&self, name: &NameHash) -> Result<Failures>;

    /// Returns the sessions of a user with that generation, oldest first. With the user's current
    /// generation these are the sessions that are not revoked.
    async fn sessions_of(&self, user: UserId, generation: u64) -> Result<Vec<Session>>;

    /// Returns the users that have that name in [`User::token_names`]: their API tokens may carry
    /// it instead of the username.
    async fn users_by_token_name(&self, name: &str) -> Result<Vec<User>>;

    /// Returns the dead sessions among up to `limit` sessions after `after`, and where to
    /// continue. A session is dead if it has expired, is revoked, or its user was deleted.
    async fn dead_sessions(
        &self,
        after: Option<TokenHash>,
        limit: usize,
        rules: SessionRules,
    ) -> Result<DeadSessions>;

    /// Returns the sealed outcome of a delivery.
    async fn outcome(&self, delivery: &DeliveryId) -> Result<Option<Vec<u8>>>;

    /// Returns all deliveries that have an outcome.
    async fn outcomes(&self) -> Result<Vec<DeliveryId>>;

    /// Removes outcomes of acknowledged deliveries. It does not wait for the disk: an outcome
    /// that survives a crash is harmless.
    fn forget_outcomes(&self, deliveries: Vec<DeliveryId>);

    /// Returns the sealed key of the keyed hashes, or `None` before the first start.
    async fn hash_key(&self) -> Result<Option<Vec<u8>>>;

    /// Returns up to `limit` users with ids of at least `from`.
    async fn users_from(&self, from: UserId, limit: usize) -> Result<Page<User, UserId>>;

    /// Examines up to `limit` sessions with token hashes of at least `from`, and returns the
    /// sessions that are not revoked and have a user.
    async fn sessions_from(
        &self,
        from: TokenHash,
        limit: usize,
    ) -> Result<Page<Session, TokenHash>>;

    /// Returns the id that the user imported from `origin` got, and the user unless it was
    /// deleted.
    async fn by_origin(&self, origin: Origin) -> Result<Option<(UserId, Option<User>)>>;

    /// Imports all users of a batch or none.
    ///
    /// The batch is written in parts, and readers may see the first parts before the last one is
    /// written. The parts are rolled back if the import fails, if it is interrupted
    /// (`ImportBatch::progress`), or if the process ends before the last part. `Conflict` if the
    /// next ids have changed, or a name or an origin of the batch already exists.
    async fn import(&self, batch: ImportBatch) -> Result<()>;
}

/// Runs operations on any engine.
pub trait StoreExt: Store {
    /// Runs an operation, and returns its result once its changes are on disk. If it has changes,
    /// `outcome` is recorded with them. The operation is submitted at the call, even if the future
    /// is dropped.
    fn run<O: Operation>(
        &self,
        operation: O,
        outcome: Option<Outcome<O::Output>>,
    ) -> impl Future<Output = Result<O::Output>> + Send {
        let (job, result) = Pending::job(operation, outcome);
        let submitted = self.submit(job);
        async move {
            submitted?;
            result.await.map_err(|_| StoreError::Stopped)?
        }
    }

    /// Submits an operation and does not wait for it. A crash may lose its changes.
    fn post(&self, operation: impl Operation) {
        // No error handling: a stopped engine fails the operations that have a waiting caller.
        let _ = self.submit(Pending::job(operation, None).0);
    }
}

impl<S: Store + ?Sized> StoreExt for S {}
