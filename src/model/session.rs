//! Sessions, and what they are judged by.

use chrono::TimeDelta;

use super::{TokenHash, User, UserId};
use crate::clock::Timestamp;

/// A session as the store keeps it, under the hash of its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// SHA-256 of the session token; the token itself is not kept.
    pub token: TokenHash,
    /// Whose session it is.
    pub user_id: UserId,
    /// The user's generation when the session was made.
    pub generation: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// From this moment on it authenticates nobody; `None` is never.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, as far as it was noted: exactly only where idle
    /// sessions end.
    pub used_at: Timestamp,
}

/// By what a session is judged: the time, and how long any session lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionRules {
    /// The time.
    pub now: Timestamp,
    /// How long.
    pub limits: SessionLimits,
}

/// How long any session lasts, whatever it was promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionLimits {
    /// Since it was made; `None`: for ever.
    pub max_lifetime: Option<TimeDelta>,
    /// Since its last use; `None`: for ever.
    pub idle_timeout: Option<TimeDelta>,
}

impl SessionLimits {
    /// These limits, at this time.
    #[must_use]
    pub const fn at(self, now: Timestamp) -> SessionRules {
        SessionRules { now, limits: self }
    }
}

impl Session {
    /// What the session is called where its token must not be: a part of the
    /// token's hash, from which the token cannot be found.
    #[must_use]
    pub fn id(&self) -> String {
        self.token.0[..8]
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect()
    }

    /// Whether the session authenticates `user`.
    #[must_use]
    pub fn is_valid(&self, user: &User, rules: &SessionRules) -> bool {
        self.belongs_to(user) && !self.is_expired(rules)
    }

    /// Whether the user still stands behind the session: the same user, and
    /// no revocation since.
    #[must_use]
    pub const fn belongs_to(&self, user: &User) -> bool {
        self.is_of(user.id, user.generation)
    }

    /// Whether it was made by that user, under that generation.
    #[must_use]
    pub const fn is_of(&self, user_id: UserId, generation: u64) -> bool {
        self.user_id == user_id && self.generation == generation
    }

    /// Whether its time is over.
    #[must_use]
    pub fn is_expired(&self, rules: &SessionRules) -> bool {
        let SessionRules { now, limits } = rules;
        let over = |since: Timestamp, limit: Option<TimeDelta>| {
            limit.is_some_and(|limit| *now - since >= limit)
        };
        self.expires_at.is_some_and(|at| at <= *now)
            || over(self.created_at, limits.max_lifetime)
            || over(self.used_at, limits.idle_timeout)
    }
}
