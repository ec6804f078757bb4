//! What operations of a store take and give, beside users and sessions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Result;
use crate::clock::Timestamp;
use crate::model::{
    ApiTokenId, CodeUse, DeliveryId, PasswordRecord, Session, TokenHash, User, UserId,
};

/// What a caller had read when it decided. Compared again, with what stands
/// in the store then, in the same step that changes it.
#[derive(Debug, Clone)]
pub enum Precondition {
    /// There was no user at all: the first one needs no authentication.
    NoUsers,
    /// A password (and a one-time code, where needed) was right.
    Password(PasswordPrecondition),
    /// A session was valid.
    Session(TokenHash),
}

/// The record a right password was checked against.
#[derive(Debug, Clone)]
pub struct PasswordPrecondition {
    /// Whose password.
    pub user_id: UserId,
    /// The record it was checked against.
    pub record: PasswordRecord,
    /// The user's generation at that time.
    pub generation: u64,
    /// The code that was right, for a user with a second factor: the writer
    /// takes it, if it still can be taken.
    pub code: Option<CodeUse>,
}

/// A user to be made; the writer gives the id.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// The name.
    pub username: String,
    /// When.
    pub created_at: Timestamp,
    /// The password, hashed.
    pub password: PasswordRecord,
}

/// A session to be made for the user of the precondition.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Hash of the token.
    pub token: TokenHash,
    /// When.
    pub created_at: Timestamp,
    /// When it ends; `None` is never.
    pub expires_at: Option<Timestamp>,
}

/// An API token to be made for the user of the precondition; the writer gives the
/// id.
#[derive(Debug, Clone)]
pub struct NewApiToken {
    /// What it is called.
    pub name: String,
    /// Hash of the token.
    pub token: TokenHash,
    /// The name that stands in the token, where it is not the user's.
    pub name_in_token: Option<String>,
    /// When.
    pub created_at: Timestamp,
    /// When it ends; `None` is never.
    pub expires_at: Option<Timestamp>,
}

/// What an operation leaves, in the same step, for the case that its request
/// is delivered again: a record made of its result.
pub struct Outcome<T> {
    /// Which delivery.
    pub delivery: DeliveryId,
    /// Makes the record, sealed with a nonce of its own each time: an engine may run the operation
    /// again.
    pub record: Record<T>,
}

/// Makes a record out of an operation's result.
pub type Record<T> = Box<dyn Fn(&T) -> Result<Vec<u8>> + Send>;

/// What an operator changes of a user, who proves nothing.
#[derive(Debug, Clone)]
pub enum AdminUpdate {
    /// No second factor any more.
    DropSecondFactor,
    /// Another password; sessions end and failures are forgotten with it.
    ResetPassword {
        /// The new password, hashed.
        record: PasswordRecord,
        /// Whether API tokens stay.
        keep_api_tokens: bool,
    },
    /// No sessions any more.
    EndSessions,
    /// No API tokens any more.
    DropApiTokens,
}

/// Something sealed that was sealed anew, under another key.
#[derive(Debug, Clone)]
pub struct Resealed {
    /// What it is.
    pub item: SealedItem,
    /// As it was read.
    pub from: Vec<u8>,
    /// As it is to be.
    pub to: Vec<u8>,
}

/// Everything that is kept sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealedItem {
    /// The key of the keyed hashes.
    HashKey,
    /// The secret of a user's second factor.
    SecondFactor(UserId),
    /// The outcome of a delivery.
    Outcome(DeliveryId),
}

/// A part of something long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, K> {
    /// What is in it.
    pub items: Vec<T>,
    /// Where the next page begins; `None` when this was the last.
    pub next: Option<K>,
}

/// The numbers that a store gives next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextIds {
    /// To a user.
    pub user: UserId,
    /// To an API token.
    pub api_token: ApiTokenId,
}

/// Users who come from elsewhere, all or none, with their sessions. Whoever
/// makes this gives the numbers: secrets are sealed under them.
#[derive(Debug, Clone)]
pub struct ImportBatch {
    /// The numbers as they were read before…
    pub before: NextIds,
    /// …and as they are to be afterwards.
    pub after: NextIds,
    /// Who comes, no two of one number, name or origin.
    pub users: Vec<User>,
    /// Their sessions.
    pub sessions: Vec<Session>,
    /// The key that their backup codes are hashed with, sealed: for a store
    /// that had no user yet.
    pub hash_key: Option<Vec<u8>>,
    /// How far they have come.
    pub progress: Arc<ImportProgress>,
}

/// How far an import has come, and whether it is to stop. The side that writes
/// shares it with the side that watches.
#[derive(Debug, Default)]
pub struct ImportProgress {
    users: AtomicU64,
    interrupted: AtomicBool,
}

impl ImportProgress {
    /// Returns the number of users written so far.
    #[must_use]
    pub fn users(&self) -> u64 {
        self.users.load(Ordering::Relaxed)
    }

    /// Notes the number of users written so far.
    pub fn set_users(&self, users: u64) {
        self.users.store(users, Ordering::Relaxed);
    }

    /// Asks the import to stop. Unless it is complete by then, nothing of it stays.
    pub fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Relaxed);
    }

    /// Whether the import is to stop.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}

/// What one sweeping step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepStep {
    /// Dead sessions removed.
    pub removed: usize,
    /// Where the next step goes on; `None` when all have been looked at.
    pub next: Option<TokenHash>,
}
