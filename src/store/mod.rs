//! What is kept: whole atomic operations on users and sessions, behind a
//! trait, so that an engine can be swapped and tests can hold every engine to
//! the same suite (`tests/it/store_conformance/`).
//!
//! The store knows no policy. A caller that decided on what it read names
//! that in a [`Precondition`]; the one writer compares it again and answers
//! [`StoreError::Conflict`] where it is no longer true, and the caller decides
//! anew.
//!
//! An operation can leave an [`Outcome`] under the id of its request's
//! delivery, in the same step: if the process dies before the reply is sent,
//! the request is answered from it instead of being run twice.

mod operands;
pub mod operations;
pub mod record;
pub mod rows;
pub mod sled;

use std::path::PathBuf;

use async_trait::async_trait;
use chrono::TimeDelta;

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
use crate::failure::{HasRemedy, Remedy};
use crate::model::{
    ApiToken, ApiTokenId, Attempted, CodeHash, DeliveryId, Failures, NameHash, Origin,
    PasswordRecord, Profile, SecondFactor, Session, SessionRules, TokenHash, User, UserId,
};

/// Why the store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// What the caller had read is no longer true; nothing was changed.
    #[error("what was read to decide has changed meanwhile")]
    Conflict,
    /// There is a user of that name; nothing was changed.
    #[error("a user of that name exists")]
    NameTaken,
    /// The user has an API token of that name; nothing was changed.
    #[error("an API token of that name exists")]
    ApiTokenNameTaken,
    /// The user has as many API tokens as one may have; nothing was changed.
    #[error("there are too many API tokens")]
    TooManyApiTokens,
    /// There is no user of that name; nothing was changed.
    #[error("there is no user of that name")]
    NoSuchUser,
    /// Too little room to write safely; nothing was changed.
    #[error(
        "the disk that holds {path} is full ({free_mib} MiB free, {needed_mib} MiB needed): free some space; nothing was changed", path = path.display()
    )]
    DiskFull {
        /// The database folder.
        path: PathBuf,
        /// Room left.
        free_mib: u64,
        /// Room the store insists on.
        needed_mib: u64,
    },
    /// An import was interrupted before it was complete; nothing of it stays.
    #[error("the import was interrupted")]
    Interrupted,
    /// The writer is gone. Whether the operation took effect is not known:
    /// only a restart can tell, and no answer may be given.
    #[error("the database writer has stopped")]
    Stopped,
    /// The engine failed while reading.
    #[error("the database failed: {0}")]
    Engine(String),
}

impl HasRemedy for StoreError {
    fn remedy(&self) -> Remedy {
        match self {
            Self::DiskFull { .. } => Remedy::Wait,
            Self::Conflict
            | Self::Interrupted
            | Self::NameTaken
            | Self::ApiTokenNameTaken
            | Self::TooManyApiTokens
            | Self::NoSuchUser
            | Self::Stopped
            | Self::Engine(_) => Remedy::Restart,
        }
    }
}

/// Tokens of dead sessions, and where the next look begins.
pub type DeadSessions = (Vec<TokenHash>, Option<TokenHash>);

/// What the store answers.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Users and sessions, durably. Every mutation is on disk when its future
/// resolves; a read never shows what could still be lost.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Hands an operation to the engine, which answers the job's caller once it is on disk.
    ///
    /// # Errors
    /// `Stopped` where the engine takes none any more.
    fn submit(&self, job: Box<dyn Job>) -> Result<()>;

    /// Whether there is any user.
    async fn has_users(&self) -> Result<bool>;

    /// The user of that name, byte for byte.
    async fn user_by_name(&self, username: &str) -> Result<Option<User>>;

    /// The user of that number.
    async fn user(&self, id: UserId) -> Result<Option<User>>;

    /// All users by id.
    async fn users(&self) -> Result<Vec<User>>;

    /// All users by id, as anybody may know them.
    async fn profiles(&self) -> Result<Vec<Profile>>;

    /// The session with that token hash and its user, unless the user is gone
    /// or has revoked it. Whether it has expired is for the caller to judge.
    async fn session(&self, token: &TokenHash) -> Result<Option<(Session, Profile)>>;

    /// Makes a user under the next id. `NameTaken` uses no id.
    async fn create_user(
        &self,
        user: NewUser,
        precondition: Precondition,
        outcome: Option<Outcome<User>>,
    ) -> Result<User> {
        self.run(CreateUser { user, precondition }, outcome).await
    }

    /// Replaces the password of the precondition's user; with `revoke_sessions`
    /// all its sessions end in the same step. Returns the new record's user.
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

    /// Puts a record of the same password, made at another cost, in the place
    /// of `from`; `Conflict` where `from` no longer stands there.
    async fn replace_password_record(
        &self,
        user_id: UserId,
        from: PasswordRecord,
        to: PasswordRecord,
    ) -> Result<()> {
        self.run(ReplacePasswordRecord { user_id, from, to }, None)
            .await
    }

    /// Notes a complete success: takes the code of the precondition, so that it is
    /// never accepted again, and forgets the failures before it. (Every other
    /// operation with a precondition does the same.) Where there is nothing to take or
    /// to forget it writes nothing and leaves no outcome.
    async fn accept(
        &self,
        precondition: PasswordPrecondition,
        outcome: Option<Outcome<()>>,
    ) -> Result<()> {
        self.run(Accept { precondition }, outcome).await
    }

    /// The failures under a name that nobody has.
    async fn failures(&self, name: &NameHash) -> Result<Failures>;

    /// Counts a failed attempt, and returns the failures with it; none where
    /// the user is gone. Of names that nobody has, the store keeps a bounded
    /// number: the one that was tried longest ago goes.
    async fn note_failure(
        &self,
        attempted: Attempted,
        at: Timestamp,
        outcome: Option<Outcome<Failures>>,
    ) -> Result<Failures> {
        self.run(NoteFailure { attempted, at }, outcome).await
    }

    /// Whether changes can be written: whoever lets somebody try a password
    /// must be able to count the failure.
    async fn can_write(&self) -> Result<()> {
        self.run(CanWrite, None).await
    }

    /// Gives a user other backup codes. The rest of the second factor stays as
    /// it stands in the store by then.
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

    /// Switches the second factor of a user on or off. Used steps belong to a
    /// secret: of the last [`MAX_USED_SECRETS`] secrets of a user the store keeps
    /// the last used step, and a secret that comes back keeps it.
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

    /// Removes the user; from then on nothing of it is valid. Returns the
    /// number it had.
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

    /// The sessions of a user under its generation, which are those that are
    /// not revoked, oldest first.
    async fn sessions_of(&self, user: UserId, generation: u64) -> Result<Vec<Session>>;

    /// Ends sessions of the precondition's user: one, or all. `false`: there is no
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

    /// Makes a session for the precondition's user.
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

    /// Makes an API token for the precondition's user. Those that have expired by
    /// then are removed, and then there may be `limit` of them.
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

    /// Removes an API token of the session's user, and returns it; `None` where
    /// the user has none of that id. `Conflict` where the session is no longer
    /// there.
    async fn delete_api_token(
        &self,
        session: TokenHash,
        id: ApiTokenId,
        outcome: Option<Outcome<Option<ApiToken>>>,
    ) -> Result<Option<ApiToken>> {
        self.run(DeleteApiToken { session, id }, outcome).await
    }

    /// Puts the hash of an API token in the place of what it was imported
    /// with; `Conflict` where that no longer stands there.
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

    /// The users in whose API tokens that name stands, though it is not theirs
    /// here.
    async fn users_by_token_name(&self, name: &str) -> Result<Vec<User>>;

    /// Whether any API token stands there as it was imported.
    async fn has_imported_tokens(&self) -> Result<bool>;

    /// Removes a session. `false`: there was none, or only a dead one.
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

    /// Notes that a session was used, unless a use is noted that is less than
    /// `step` before: many may ask at once. It does not wait: what a crash
    /// forgets makes an idle session end a little sooner.
    fn touch_session(&self, token: &TokenHash, at: Timestamp, step: TimeDelta) {
        let operation = TouchSession {
            token: *token,
            at,
            step,
        };
        self.post(Pending::new(operation, None).0);
    }

    /// Returns the dead ones among up to `limit` sessions behind `after`: those that have expired, or
    /// whose user is gone or has revoked them; and where to go on, `None` at the end.
    async fn dead_sessions(
        &self,
        after: Option<TokenHash>,
        limit: usize,
        rules: SessionRules,
    ) -> Result<DeadSessions>;

    /// Removes the dead ones among up to `limit` sessions behind `after`.
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

    /// Forgets the failed attempts of a user, or under a name that nobody has.
    async fn forget_failures(&self, attempted: Attempted) -> Result<()> {
        self.run(ForgetFailures { attempted }, None).await
    }

    /// Changes a user without a precondition. `NoSuchUser` where there is none.
    async fn update_user(&self, username: &str, update: AdminUpdate) -> Result<User> {
        let operation = UpdateUser {
            username: username.to_owned(),
            update,
        };
        self.run(operation, None).await
    }

    /// The record that an operation left for a delivery.
    async fn outcome(&self, delivery: &DeliveryId) -> Result<Option<Vec<u8>>>;

    /// All deliveries with a record.
    async fn outcomes(&self) -> Result<Vec<DeliveryId>>;

    /// Removes records that nobody will ask for any more. It does not wait:
    /// a record that comes back after a crash does no harm.
    fn forget_outcomes(&self, deliveries: Vec<DeliveryId>);

    /// The key of the keyed hashes, sealed; `None` before the first start.
    async fn hash_key(&self) -> Result<Option<Vec<u8>>>;

    /// Keeps it.
    async fn set_hash_key(&self, sealed: Vec<u8>) -> Result<()> {
        self.run(SetHashKey { sealed }, None).await
    }

    /// The first `limit` users from that number on.
    async fn users_from(&self, from: UserId, limit: usize) -> Result<Page<User, UserId>>;

    /// The first `limit` sessions from that one on, without those whose user
    /// no longer stands behind them.
    async fn sessions_from(
        &self,
        from: TokenHash,
        limit: usize,
    ) -> Result<Page<Session, TokenHash>>;

    /// The numbers that are given next.
    async fn next_ids(&self) -> Result<NextIds>;

    /// Who came from there: the number, and the user unless it is gone.
    async fn by_origin(&self, origin: Origin) -> Result<Option<(UserId, Option<User>)>>;

    /// Lets users in who come from elsewhere, all or none: in parts, of which
    /// readers may see some before the last one, and which are taken back
    /// where it comes to an end before that, or is interrupted
    /// (`ImportBatch::progress`). `Conflict` where other numbers are
    /// given next by then, or a name or an origin of theirs is here.
    async fn import(&self, batch: ImportBatch) -> Result<()>;

    /// Removes the expired API tokens of a user. It does not wait.
    fn drop_expired_tokens(&self, user: UserId, now: Timestamp) {
        self.post(Pending::new(DropExpiredTokens { user_id: user, now }, None).0);
    }

    /// Puts what was sealed anew into the place of what it was made of, where
    /// that still stands there.
    async fn reseal(&self, items: Vec<Resealed>) -> Result<()> {
        self.run(Reseal { items }, None).await
    }
}

/// Runs operations on any engine.
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
        let (job, result) = Pending::new(operation, outcome);
        self.submit(job)?;
        result.await.map_err(|_| StoreError::Stopped)?
    }

    /// Hands over an operation that no caller waits for.
    fn post(&self, job: Box<dyn Job>) {
        // An engine that has stopped tells the callers that wait.
        let _ = self.submit(job);
    }
}
