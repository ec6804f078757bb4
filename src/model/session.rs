//! Sessions, and the rules for their validity.
//!
//! A session is valid only while its user exists and has the session's generation. So deleting a
//! user or ending all its sessions changes no session, and the sweeper removes the dead sessions
//! later.

use chrono::TimeDelta;

use super::{TokenHash, User, UserId};
use crate::clock::Timestamp;

/// A session as the store keeps it, under the hash of its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// SHA-256 of the session token. The token itself is not stored.
    pub token: TokenHash,
    /// Id of the user.
    pub user_id: UserId,
    /// Generation of the user at the creation of the session.
    pub generation: u64,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Time from which the session is invalid; `None` for never.
    pub expires_at: Option<Timestamp>,
    /// Time of the last recorded use: the creation without an idle timeout, else up to a minute
    /// before the last use.
    pub used_at: Timestamp,
}

/// The rules for the validity of a session: its limits at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionRules {
    /// The current time.
    pub now: Timestamp,
    /// The limits of all sessions.
    pub limits: SessionLimits,
}

/// Limits of all sessions, in addition to their own expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionLimits {
    /// Maximum time since the creation; `None` for no limit.
    pub max_lifetime: Option<TimeDelta>,
    /// Maximum time since the last use; `None` for no limit.
    pub idle_timeout: Option<TimeDelta>,
}

impl SessionLimits {
    /// Returns the rules of these limits at a time.
    #[must_use]
    pub const fn at(self, now: Timestamp) -> SessionRules {
        SessionRules { now, limits: self }
    }
}

impl Session {
    /// Returns the public id of the session: a part of the token's hash, which does not reveal the
    /// token.
    #[must_use]
    pub fn id(&self) -> String {
        hex::encode(&self.token.0[..8])
    }

    /// Returns whether the session authenticates `user`.
    #[must_use]
    pub fn is_valid(&self, user: &User, rules: &SessionRules) -> bool {
        self.belongs_to(user) && !self.is_expired(rules)
    }

    /// Returns whether `user` created the session and has not revoked it since.
    #[must_use]
    pub const fn belongs_to(&self, user: &User) -> bool {
        self.is_of(user.id, user.generation)
    }

    /// Returns whether the session belongs to the user with this id and generation.
    #[must_use]
    pub const fn is_of(&self, user_id: UserId, generation: u64) -> bool {
        self.user_id == user_id && self.generation == generation
    }

    /// Returns whether the session has expired.
    #[must_use]
    pub fn is_expired(&self, rules: &SessionRules) -> bool {
        let SessionRules { now, limits } = rules;
        let is_over = |since: Timestamp, limit: Option<TimeDelta>| {
            limit.is_some_and(|limit| *now - since >= limit)
        };
        self.expires_at.is_some_and(|at| at <= *now)
            || is_over(self.created_at, limits.max_lifetime)
            || is_over(self.used_at, limits.idle_timeout)
    }
}
