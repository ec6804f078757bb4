//! Operations on sessions.

use chrono::TimeDelta;

use super::Operation;
use crate::clock::Timestamp;
use crate::model::{Session, SessionRules, TokenHash, User};
use crate::store::rows::{Reads, Rows};
use crate::store::{PasswordPrecondition, Result};

/// Creates a session for the precondition's user, and returns it with the user.
#[derive(Debug, Clone)]
pub struct CreateSession {
    /// Hash of the token.
    pub token: TokenHash,
    /// Creation time.
    pub created_at: Timestamp,
    /// Expiry, or `None` if the session does not expire.
    pub expires_at: Option<Timestamp>,
    /// The user's password.
    pub precondition: PasswordPrecondition,
}

impl Operation for CreateSession {
    type Output = (Session, User);

    fn reads(&self) -> Reads {
        self.precondition.reads()
    }

    fn apply(&self, rows: &mut Rows) -> Result<(Session, User)> {
        let user = self.precondition.check(rows)?;
        let session = Session {
            token: self.token,
            user_id: user.id,
            generation: user.generation,
            created_at: self.created_at,
            expires_at: self.expires_at,
            used_at: self.created_at,
        };
        rows.put_user_if_changed(user.clone())?;
        rows.sessions.put(session.token, session.clone());
        Ok((session, user))
    }
}

/// Ends one or all sessions of the precondition's user. Returns `false` if the user has no such
/// session.
pub struct EndSessions {
    /// The user's password.
    pub precondition: PasswordPrecondition,
    /// The session, or `None` for all.
    pub which: Option<TokenHash>,
}

impl Operation for EndSessions {
    type Output = bool;

    fn reads(&self) -> Reads {
        Reads {
            sessions: self.which.into_iter().collect(),
            ..self.precondition.reads()
        }
    }

    fn apply(&self, rows: &mut Rows) -> Result<bool> {
        let mut user = self.precondition.check(rows)?;
        let ended = match &self.which {
            None => {
                user.generation += 1;
                true
            }
            Some(token) => match rows.session(token)? {
                Some((_, owner)) if owner.id == user.id => {
                    rows.sessions.remove(*token);
                    true
                }
                _ => false,
            },
        };
        // Also without such a session, because the code is used.
        rows.put_user_if_changed(user)?;
        Ok(ended)
    }
}

/// Removes a session. Returns `false` if the session did not exist or was dead.
pub struct DeleteSession {
    /// Token hash of the session.
    pub token: TokenHash,
    /// Rules by which a session is dead.
    pub rules: SessionRules,
}

impl Operation for DeleteSession {
    type Output = bool;

    fn reads(&self) -> Reads {
        Reads::sessions(&[self.token])
    }

    fn apply(&self, rows: &mut Rows) -> Result<bool> {
        // No write for an unknown token, because any client can send one.
        let Some(session) = rows.sessions.get(&self.token)?.cloned() else {
            return Ok(false);
        };
        rows.sessions.remove(self.token);
        let user = rows.user(session.user_id)?;
        Ok(user.is_some_and(|user| session.is_valid(&user, &self.rules)))
    }
}

/// Records the use of a session, unless the recorded use is less than `step` earlier: many requests
/// may use a session at once. A use that a crash loses only makes an idle session expire slightly
/// earlier.
pub struct TouchSession {
    /// Token hash of the session.
    pub token: TokenHash,
    /// Time of the use.
    pub at: Timestamp,
    /// Minimum time since the recorded use.
    pub step: TimeDelta,
}

impl Operation for TouchSession {
    type Output = ();

    fn reads(&self) -> Reads {
        Reads::sessions(&[self.token])
    }

    fn apply(&self, rows: &mut Rows) -> Result<()> {
        if let Some(session) = rows.sessions.get(&self.token)?
            && session.used_at < self.at
            && self.at - session.used_at >= self.step
        {
            let session = Session {
                used_at: self.at,
                ..session.clone()
            };
            rows.sessions.put(self.token, session);
        }
        Ok(())
    }
}

/// Removes the sessions that are still dead, and returns their number. A session may have been used
/// since the scan that found it dead.
pub struct RemoveDeadSessions {
    /// Token hashes of the sessions.
    pub tokens: Vec<TokenHash>,
    /// Rules by which a session is dead.
    pub rules: SessionRules,
}

impl Operation for RemoveDeadSessions {
    type Output = usize;

    fn reads(&self) -> Reads {
        Reads::sessions(&self.tokens)
    }

    fn apply(&self, rows: &mut Rows) -> Result<usize> {
        let mut removed = 0;
        for token in &self.tokens {
            let Some(session) = rows.sessions.get(token)?.cloned() else {
                continue;
            };
            let user = rows.user(session.user_id)?;
            if !user.is_some_and(|user| session.is_valid(&user, &self.rules)) {
                rows.sessions.remove(*token);
                removed += 1;
            }
        }
        Ok(removed)
    }
}
