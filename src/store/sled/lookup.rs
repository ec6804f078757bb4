//! Look-ups of single records by key.

use super::records;
use crate::model::{Failures, NameHash, Origin, Session, TokenHash, User, UserId};
use crate::store::{Counters, NextIds, Result};

pub(super) trait Lookup {
    /// Returns the value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<::sled::IVec>>;

    fn bytes(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.get(key)?.map(|bytes| bytes.to_vec()))
    }

    fn number(&self, key: &[u8]) -> Result<Option<u64>> {
        self.get(key)?
            .map(|bytes| records::number(&bytes))
            .transpose()
    }

    fn counters(&self) -> Result<Counters> {
        let next = NextIds {
            user: self.number(records::NEXT_USER_ID)?.unwrap_or(1),
            api_token: self.number(records::NEXT_TOKEN_ID)?.unwrap_or(1),
        };
        Ok(Counters {
            next,
            users: self.number(records::USER_COUNT)?.unwrap_or(0),
            attempted: self.number(records::ATTEMPTED_COUNT)?.unwrap_or(0),
            imported_tokens: self.number(records::IMPORTED_TOKENS)?.unwrap_or(0),
        })
    }

    /// Returns the failures under an unknown name.
    fn failures(&self, name: &NameHash) -> Result<Failures> {
        match self.get(&records::attempts_key(name))? {
            Some(bytes) => records::decode_failures(&bytes),
            None => Ok(Failures::default()),
        }
    }

    fn id_of(&self, username: &str) -> Result<Option<UserId>> {
        self.number(&records::name_key(username))
    }

    /// Returns the id of the user that was imported from an origin, and the user unless it was
    /// deleted.
    fn by_origin(&self, origin: Origin) -> Result<Option<(UserId, Option<User>)>> {
        let Some(id) = self.number(&records::origin_key(origin))? else {
            return Ok(None);
        };
        Ok(Some((id, self.user(id)?)))
    }

    fn user(&self, id: UserId) -> Result<Option<User>> {
        self.get(&records::user_key(id))?
            .map(|bytes| records::decode_user(id, &bytes))
            .transpose()
    }

    /// Returns a session, even if it is revoked or its user was deleted.
    fn session_record(&self, token: &TokenHash) -> Result<Option<Session>> {
        self.get(&records::session_key(token))?
            .map(|bytes| records::decode_session(*token, &bytes))
            .transpose()
    }

    /// Returns a session and its user, or `None` if the session is revoked or its user was
    /// deleted.
    fn session(&self, token: &TokenHash) -> Result<Option<(Session, User)>> {
        let Some(session) = self.session_record(token)? else {
            return Ok(None);
        };
        let user = self.user(session.user_id)?;
        Ok(user
            .filter(|user| session.belongs_to(user))
            .map(|user| (session, user)))
    }
}

impl Lookup for ::sled::Tree {
    fn get(&self, key: &[u8]) -> Result<Option<::sled::IVec>> {
        Self::get(self, key).map_err(super::engine_error)
    }
}
