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
use chrono::TimeDelta;

pub use self::error::StoreError;
pub use self::operands::{
    AdminUpdate, ImportBatch, ImportProgress, NewApiToken, NewSession, NewUser, NextIds, Outcome,
    Page, PasswordPrecondition, Precondition, Record, Resealed, SealedItem, SweepStep,
};
use self::operations::api_tokens::*;
use self::operations::failures::*;
use self::operations::outcomes::{CanWrite, SetHashKey};
use self::operations::second_factor::*;
use self::operations::sessions::*;
use self::operations::users::*;
use self::operations::{Job, Operation, Pending};
use crate::clock::Timestamp;
use crate::model::{
    ApiToken, ApiTokenId, Attempted, CodeHash, DeliveryId, Failures, NameHash, Origin,
    PasswordRecord, Profile, SecondFactor, Session, SessionRules, TokenHash, User, UserId,
};

/// Token hashes of dead sessions, and the last session examined, after which the next step
/// continues (`None` at the end).
pub type DeadSessions = (Vec<TokenHash>, Option<TokenHash>);

/// Result of a store operation.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Durable storage of users and sessions.
///
/// A mutation is on disk when its future resolves, except where the method says that it does not
/// wait. A read returns only data that is on disk.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Submits an operation to the engine, which sends the result to the job's caller once the
    /// operation is on disk.
    ///
    /// # Errors
    /// `Stopped` if the engine has stopped.
    fn submit(&self, job: Box<dyn Job>) -> Result<()>;

    /// Returns whether any user exists.
    async fn has_users(&self) -> Result<bool>;

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

    /// Creates a user under the next id. `NameTaken` uses no id.
    async fn create_user(
        &self,
        user: NewUser,
        precondition: Precondition,
        outcome: Option<Outcome<User>>,
    ) -> Result<User> {
        self.run(CreateUser { user, precondition }, outcome).await
    }

    /// Replaces the password of the precondition's user and returns the changed user.
    /// `revoke_sessions` ends all sessions of the user in the same step.
    async fn set_password(
        &self,
        precondition: PasswordPrecondition,
        password: PasswordRecord,
        revoke_sessions: bool,
        outcome: Option<Outcome<User>>,
    ) -> Result<User> {
        let operation = SetPassword {
            precondition,
            password,
            revoke_sessions,
        };
        self.run(operation, outcome).await
    }

    /// Replaces the password record `from` with a record of the same password at another cost.
    /// `Conflict` if the user's record is no longer `from`.
    async fn replace_password_record(
        &self,
        user_id: UserId,
        from: PasswordRecord,
        to: PasswordRecord,
    ) -> Result<()> {
        self.run(ReplacePasswordRecord { user_id, from, to }, None)
            .await
    }

    /// Records a successful authentication: marks the precondition's code as used, so that it is
    /// never accepted again, and resets the user's failures.
    ///
    /// Every other operation with a password precondition does the same. If nothing changes,
    /// nothing is written and no outcome is recorded.
    async fn accept(
        &self,
        precondition: PasswordPrecondition,
        outcome: Option<Outcome<()>>,
    ) -> Result<()> {
        self.run(Accept { precondition }, outcome).await
    }

    /// Returns the failures under an unknown name.
    async fn failures(&self, name: &NameHash) -> Result<Failures>;

    /// Counts a failed attempt and returns the new failures, or no failures if the user was
    /// deleted. The store keeps a bounded number of unknown names and evicts the name with the
    /// oldest last attempt.
    async fn note_failure(
        &self,
        attempted: Attempted,
        at: Timestamp,
        outcome: Option<Outcome<Failures>>,
    ) -> Result<Failures> {
        self.run(NoteFailure { attempted, at }, outcome).await
    }

    /// Checks that the store accepts writes. A password check requires this, because its failure
    /// must be counted.
    async fn can_write(&self) -> Result<()> {
        self.run(CanWrite, None).await
    }

    /// Replaces the backup codes of the precondition's user, and removes imported codes. The rest
    /// of the stored second factor stays unchanged.
    async fn replace_backup_codes(
        &self,
        precondition: PasswordPrecondition,
        backup_codes: Vec<CodeHash>,
        outcome: Option<Outcome<()>>,
    ) -> Result<()> {
        let operation = ReplaceBackupCodes {
            precondition,
            backup_codes,
        };
        self.run(operation, outcome).await
    }

    /// Switches the second factor of the precondition's user on or off.
    ///
    /// Used steps belong to a secret. The store keeps the last used step for each of the last
    /// [`MAX_USED_SECRETS`] secrets of a user, so a secret that is enabled again keeps it.
    ///
    /// [`MAX_USED_SECRETS`]: crate::model::MAX_USED_SECRETS
    async fn set_second_factor(
        &self,
        precondition: PasswordPrecondition,
        second_factor: Option<SecondFactor>,
        outcome: Option<Outcome<()>>,
    ) -> Result<()> {
        let operation = SetSecondFactor {
            precondition,
            second_factor,
        };
        self.run(operation, outcome).await
    }

    /// Deletes a user and returns its id. Sessions and API tokens of the user become invalid in
    /// the same step.
    async fn delete_user(
        &self,
        username: &str,
        precondition: Precondition,
        outcome: Option<Outcome<UserId>>,
    ) -> Result<UserId> {
        let operation = DeleteUser {
            username: username.to_owned(),
            precondition,
        };
        self.run(operation, outcome).await
    }

    /// Returns the sessions of a user with that generation, oldest first. With the user's current
    /// generation these are the sessions that are not revoked.
    async fn sessions_of(&self, user: UserId, generation: u64) -> Result<Vec<Session>>;

    /// Ends one or all sessions of the precondition's user. Returns `false` if the user has no
    /// such session.
    async fn end_sessions(
        &self,
        precondition: PasswordPrecondition,
        which: Option<TokenHash>,
        outcome: Option<Outcome<bool>>,
    ) -> Result<bool> {
        self.run(
            EndSessions {
                precondition,
                which,
            },
            outcome,
        )
        .await
    }

    /// Creates a session for the precondition's user.
    async fn create_session(
        &self,
        session: NewSession,
        precondition: PasswordPrecondition,
        outcome: Option<Outcome<(Session, User)>>,
    ) -> Result<(Session, User)> {
        let operation = CreateSession {
            session,
            precondition,
        };
        self.run(operation, outcome).await
    }

    /// Creates an API token for the precondition's user. Expired tokens of the user are removed
    /// first. `TooManyApiTokens` if `limit` tokens remain.
    async fn create_api_token(
        &self,
        token: NewApiToken,
        limit: usize,
        precondition: PasswordPrecondition,
        outcome: Option<Outcome<ApiToken>>,
    ) -> Result<ApiToken> {
        let operation = CreateApiToken {
            token,
            limit,
            precondition,
        };
        self.run(operation, outcome).await
    }

    /// Removes an API token of the session's user and returns it, or `None` if the user has no
    /// token with that id. `Conflict` if the session no longer exists or is revoked.
    async fn delete_api_token(
        &self,
        session: TokenHash,
        id: ApiTokenId,
        outcome: Option<Outcome<Option<ApiToken>>>,
    ) -> Result<Option<ApiToken>> {
        self.run(DeleteApiToken { session, id }, outcome).await
    }

    /// Replaces the imported record `from` of an API token with the token's hash. `Conflict` if
    /// the token's record is no longer `from`.
    async fn replace_api_token_record(
        &self,
        user_id: UserId,
        id: ApiTokenId,
        from: PasswordRecord,
        to: TokenHash,
    ) -> Result<()> {
        let operation = ReplaceApiTokenRecord {
            user_id,
            id,
            from,
            to,
        };
        self.run(operation, None).await
    }

    /// Returns the users that have that name in [`User::token_names`]: their API tokens may carry
    /// it instead of the username.
    async fn users_by_token_name(&self, name: &str) -> Result<Vec<User>>;

    /// Returns whether any API token still has its imported record.
    async fn has_imported_tokens(&self) -> Result<bool>;

    /// Removes a session. Returns `false` if the session did not exist or was dead.
    async fn delete_session(
        &self,
        token: &TokenHash,
        rules: SessionRules,
        outcome: Option<Outcome<bool>>,
    ) -> Result<bool> {
        self.run(
            DeleteSession {
                token: *token,
                rules,
            },
            outcome,
        )
        .await
    }

    /// Records the use of a session, unless the recorded use is less than `step` earlier: many
    /// requests may use a session at once. It does not wait for the disk: a use that a crash
    /// loses only makes an idle session expire slightly earlier.
    fn touch_session(&self, token: &TokenHash, at: Timestamp, step: TimeDelta) {
        let operation = TouchSession {
            token: *token,
            at,
            step,
        };
        self.post(Pending::job(operation, None).0);
    }

    /// Returns the dead sessions among up to `limit` sessions after `after`, and where to
    /// continue. A session is dead if it has expired, is revoked, or its user was deleted.
    async fn dead_sessions(
        &self,
        after: Option<TokenHash>,
        limit: usize,
        rules: SessionRules,
    ) -> Result<DeadSessions>;

    /// Removes the dead sessions among up to `limit` sessions after `after`.
    async fn sweep_sessions(
        &self,
        after: Option<TokenHash>,
        limit: usize,
        rules: SessionRules,
    ) -> Result<SweepStep> {
        let (tokens, next) = self.dead_sessions(after, limit, rules).await?;
        let removed = if tokens.is_empty() {
            0
        } else {
            self.run(RemoveDeadSessions { tokens, rules }, None).await?
        };
        Ok(SweepStep { removed, next })
    }

    /// Resets the failures of a user or of an unknown name.
    async fn forget_failures(&self, attempted: Attempted) -> Result<()> {
        self.run(ForgetFailures { attempted }, None).await
    }

    /// Changes a user without a precondition. `NoSuchUser` if no user has that name.
    async fn update_user(&self, username: &str, update: AdminUpdate) -> Result<User> {
        let operation = UpdateUser {
            username: username.to_owned(),
            update,
        };
        self.run(operation, None).await
    }

    /// Returns the sealed outcome of a delivery.
    async fn outcome(&self, delivery: &DeliveryId) -> Result<Option<Vec<u8>>>;

    /// Returns all deliveries that have an outcome.
    async fn outcomes(&self) -> Result<Vec<DeliveryId>>;

    /// Removes outcomes of acknowledged deliveries. It does not wait for the disk: an outcome
    /// that survives a crash is harmless.
    fn forget_outcomes(&self, deliveries: Vec<DeliveryId>);

    /// Returns the sealed key of the keyed hashes, or `None` before the first start.
    async fn hash_key(&self) -> Result<Option<Vec<u8>>>;

    /// Sets the sealed key of the keyed hashes.
    async fn set_hash_key(&self, sealed: Vec<u8>) -> Result<()> {
        self.run(SetHashKey { sealed }, None).await
    }

    /// Returns up to `limit` users with ids of at least `from`.
    async fn users_from(&self, from: UserId, limit: usize) -> Result<Page<User, UserId>>;

    /// Examines up to `limit` sessions with token hashes of at least `from`, and returns the
    /// sessions that are not revoked and have a user.
    async fn sessions_from(
        &self,
        from: TokenHash,
        limit: usize,
    ) -> Result<Page<Session, TokenHash>>;

    /// Returns the next ids.
    async fn next_ids(&self) -> Result<NextIds>;

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

    /// Removes the expired API tokens of a user. It does not wait for the disk.
    fn drop_expired_tokens(&self, user: UserId, now: Timestamp) {
        self.post(Pending::job(DropExpiredTokens { user_id: user, now }, None).0);
    }

    /// Replaces each sealed item that is still as it was read with its resealed form.
    async fn reseal(&self, items: Vec<Resealed>) -> Result<()> {
        self.run(Reseal { items }, None).await
    }
}

/// Runs typed operations on any engine.
#[async_trait]
trait Run {
    async fn run<O: Operation>(
        &self,
        operation: O,
        outcome: Option<Outcome<O::Output>>,
    ) -> Result<O::Output>;
    fn post(&self, job: Box<dyn Job>);
}

#[async_trait]
impl<S: Store + ?Sized> Run for S {
    async fn run<O: Operation>(
        &self,
        operation: O,
        outcome: Option<Outcome<O::Output>>,
    ) -> Result<O::Output> {
        let (job, result) = Pending::job(operation, outcome);
        self.submit(job)?;
        result.await.map_err(|_| StoreError::Stopped)?
    }

    /// Submits an operation without waiting for its result.
    fn post(&self, job: Box<dyn Job>) {
        // No error handling: a stopped engine fails the operations that have a waiting caller.
        let _ = self.submit(job);
    }
}
