//! Arguments and results of store operations, beside users and sessions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Result;
use crate::model::{
    ApiTokenId, CodeUse, DeliveryId, PasswordRecord, Session, TokenHash, User, UserId,
};

/// Data that a caller's decision rests on. The store checks that it still holds in the same step
/// as the change.
#[derive(Debug, Clone)]
pub enum Precondition {
    /// No user exists: creating the first user requires no authentication.
    NoUsers,
    /// A password was correct, and a one-time code if the user has a second factor.
    Password(PasswordPrecondition),
    /// The session exists and is not revoked.
    Session(TokenHash),
}

/// Password record that a correct password was checked against.
#[derive(Debug, Clone)]
pub struct PasswordPrecondition {
    /// Id of the user.
    pub user_id: UserId,
    /// Password record of the user at the check.
    pub record: PasswordRecord,
    /// Generation of the user at the check.
    pub generation: u64,
    /// Correct code, if the user has a second factor. The operation marks it as used, or fails
    /// with a conflict if it was used meanwhile.
    pub code: Option<CodeUse>,
}

/// Record of an operation's result, written in the same step as the operation. If its request is
/// delivered again, the request is answered from the record.
pub struct Outcome<T> {
    /// Delivery of the request.
    pub delivery: DeliveryId,
    /// Makes the record from the result. Each call seals with a new nonce, because an engine may
    /// run the operation again.
    pub record: Record<T>,
}

/// Function that makes a record from an operation's result.
pub type Record<T> = Box<dyn Fn(&T) -> Result<Vec<u8>> + Send>;

/// Change of a user by the operator, without a password of the user.
#[derive(Debug, Clone)]
pub enum AdminUpdate {
    /// Switches the second factor off.
    DropSecondFactor,
    /// Replaces the password, ends all sessions and resets the failures.
    ResetPassword {
        /// New hashed password.
        record: PasswordRecord,
        /// Whether the API tokens stay.
        keep_api_tokens: bool,
    },
    /// Ends all sessions.
    EndSessions,
    /// Removes all API tokens.
    DropApiTokens,
}

/// Item that was resealed under another key.
#[derive(Debug, Clone)]
pub struct Resealed {
    /// The item.
    pub item: SealedItem,
    /// Sealed bytes as they were read.
    pub from: Vec<u8>,
    /// Sealed bytes under the new key.
    pub to: Vec<u8>,
}

/// Item that the store holds sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealedItem {
    /// Key of the keyed hashes.
    HashKey,
    /// Secret of a user's second factor.
    SecondFactor(UserId),
    /// Outcome of a delivery.
    Outcome(DeliveryId),
}

/// Page of a longer list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, K> {
    /// Items of the page.
    pub items: Vec<T>,
    /// Start of the next page, or `None` if this is the last page.
    pub next: Option<K>,
}

/// Next ids that a store assigns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextIds {
    /// Next id of a user.
    pub user: UserId,
    /// Next id of an API token.
    pub api_token: ApiTokenId,
}

/// Users and sessions to import together. The caller assigns the ids, because it seals secrets
/// under them.
#[derive(Debug, Clone)]
pub struct ImportBatch {
    /// Next ids as the caller read them.
    pub before: NextIds,
    /// Next ids after the import.
    pub after: NextIds,
    /// Users with distinct ids, names and origins.
    pub users: Vec<User>,
    /// Sessions of the users.
    pub sessions: Vec<Session>,
    /// Sealed key of the users' backup code hashes. Accepted only by a store that has never had
    /// a user.
    pub hash_key: Option<Vec<u8>>,
    /// Progress of the import.
    pub progress: Arc<ImportProgress>,
}

/// Progress of an import and a request to interrupt it, shared by the writer and the caller.
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

    /// Sets the number of users written so far.
    pub fn set_users(&self, users: u64) {
        self.users.store(users, Ordering::Relaxed);
    }

    /// Requests that the import stops. An import that is not complete is rolled back.
    pub fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Relaxed);
    }

    /// Returns whether the import must stop.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}
