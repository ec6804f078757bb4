//! Operations on sessions.

use chrono::TimeDelta;

use super::Operation;
use crate::clock::Timestamp;
use crate::model::{Session, SessionRules, TokenHash, User};
use crate::store::rows::{Reads, Rows};
use crate::store::{NewSession, PasswordPrecondition, Result};

fn reads_of(tokens: &[TokenHash]) -> Reads {
    Reads {
        sessions: tokens.to_vec(),
        ..Reads::default()
    }
}

/// Creates a session.
pub struct CreateSession {
    pub(in crate::store) session: NewSession,
    pub(in crate::store) precondition: PasswordPrecondition,
}

impl Operation for CreateSession {
    type Output = (Session, User);

    fn reads(&self) -> Reads {
        self.precondition.reads()
    }

    fn apply(&self, rows: &mut Rows) -> Result<(Session, User)> {
        let user = self.precondition.check(rows)?;
        let new = &self.session;
        let session = Session {
            token: new.token,
            user_id: user.id,
            generation: user.generation,
            created_at: new.created_at,
            expires_at: new.expires_at,
            used_at: new.created_at,
        };
        rows.put_user_if_changed(user.clone())?;
        rows.sessions.put(session.token, session.clone());
        Ok((session, user))
    }
}

/// Ends one or all sessions of a user. Returns `false` if the user has no such session.
pub struct EndSessions {
    pub(in crate::store) precondition: PasswordPrecondition,
    pub(in crate::store) which: Option<TokenHash>,
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
    pub(in crate::store) token: TokenHash,
    pub(in crate::store) rules: SessionRules,
}

impl Operation for DeleteSession {
    type Output = bool;

    fn reads(&self) -> Reads {
        reads_of(&[self.token])
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

/// Records the use of a session, unless the recorded use is less than `step` earlier.
pub struct TouchSession {
    pub(in crate::store) token: TokenHash,
    pub(in crate::store) at: Timestamp,
    pub(in crate::store) step: TimeDelta,
}

impl Operation for TouchSession {
    type Output = ();

    fn reads(&self) -> Reads {
        reads_of(&[self.token])
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
    pub(in crate::store) tokens: Vec<TokenHash>,
    pub(in crate::store) rules: SessionRules,
}

impl Operation for RemoveDeadSessions {
    type Output = usize;

    fn reads(&self) -> Reads {
        reads_of(&self.tokens)
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
