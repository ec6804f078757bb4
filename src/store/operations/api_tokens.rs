//! Operations on API tokens.
//!
//! API tokens are part of their user's record. A token carries a name that identifies the user. It
//! differs from the username in imported tokens, and if the username must not be sent unchanged.

use super::Operation;
use crate::clock::Timestamp;
use crate::model::{ApiToken, ApiTokenId, ApiTokenRecord, PasswordRecord, TokenHash, User, UserId};
use crate::store::rows::{Reads, Rows};
use crate::store::{NewApiToken, PasswordPrecondition, Result, StoreError};

/// Creates an API token. Expired tokens of the user are removed first; fails if `limit` tokens
/// remain.
pub struct CreateApiToken {
    pub(in crate::store) token: NewApiToken,
    pub(in crate::store) limit: usize,
    pub(in crate::store) precondition: PasswordPrecondition,
}

impl Operation for CreateApiToken {
    type Output = ApiToken;

    fn reads(&self) -> Reads {
        Reads {
            counters: true,
            ..self.precondition.reads()
        }
    }

    fn apply(&self, rows: &mut Rows) -> Result<ApiToken> {
        let mut user = self.precondition.check(rows)?;
        let new = &self.token;
        user.api_tokens
            .retain(|token| !token.is_expired(new.created_at));
        if user.api_tokens.iter().any(|token| token.name == new.name) {
            return Err(StoreError::ApiTokenNameTaken);
        }
        if user.api_tokens.len() >= self.limit {
            return Err(StoreError::TooManyApiTokens);
        }
        let token = ApiToken {
            id: rows.take_api_token_id()?,
            name: new.name.clone(),
            created_at: new.created_at,
            expires_at: new.expires_at,
            record: ApiTokenRecord::Hash(new.token),
        };
        user.api_tokens.push(token.clone());
        if let Some(name) = &new.name_in_token
            && !user.token_names.contains(name)
        {
            rows.token_names.put((name.clone(), user.id), ());
            user.token_names.push(name.clone());
        }
        rows.put_tokens_of(user)?;
        Ok(token)
    }
}

/// Removes an API token of the session's user and returns it.
pub struct DeleteApiToken {
    pub(in crate::store) session: TokenHash,
    pub(in crate::store) id: ApiTokenId,
}

impl Operation for DeleteApiToken {
    type Output = Option<ApiToken>;

    fn reads(&self) -> Reads {
        Reads {
            counters: true,
            sessions: vec![self.session],
            ..Reads::default()
        }
    }

    fn apply(&self, rows: &mut Rows) -> Result<Option<ApiToken>> {
        let (_, mut user) = rows.session(&self.session)?.ok_or(StoreError::Conflict)?;
        let mut tokens = user.api_tokens.iter();
        let Some(index) = tokens.position(|token| token.id == self.id) else {
            return Ok(None);
        };
        let token = user.api_tokens.remove(index);
        rows.put_tokens_of(user)?;
        Ok(Some(token))
    }
}

/// Replaces the imported record of an API token with the hash of the token.
pub struct ReplaceApiTokenRecord {
    pub(in crate::store) user_id: UserId,
    pub(in crate::store) id: ApiTokenId,
    pub(in crate::store) from: PasswordRecord,
    pub(in crate::store) to: TokenHash,
}

impl Operation for ReplaceApiTokenRecord {
    type Output = ();

    fn reads(&self) -> Reads {
        Reads {
            counters: true,
            users: vec![self.user_id],
            ..Reads::default()
        }
    }

    fn apply(&self, rows: &mut Rows) -> Result<()> {
        let mut user = rows.user(self.user_id)?.ok_or(StoreError::Conflict)?;
        let is_expected = |token: &&mut ApiToken| {
            token.id == self.id
                && matches!(&token.record, ApiTokenRecord::Imported(record) if *record == self.from)
        };
        let token = user.api_tokens.iter_mut().find(is_expected);
        token.ok_or(StoreError::Conflict)?.record = ApiTokenRecord::Hash(self.to);
        rows.put_tokens_of(user)
    }
}

/// Removes the expired API tokens of a user.
pub struct DropExpiredTokens {
    pub(in crate::store) user_id: UserId,
    pub(in crate::store) now: Timestamp,
}

impl Operation for DropExpiredTokens {
    type Output = ();

    fn reads(&self) -> Reads {
        Reads {
            counters: true,
            users: vec![self.user_id],
            ..Reads::default()
        }
    }

    fn apply(&self, rows: &mut Rows) -> Result<()> {
        match rows.user(self.user_id)? {
            Some(mut user)
                if user
                    .api_tokens
                    .iter()
                    .any(|token| token.is_expired(self.now)) =>
            {
                user.api_tokens.retain(|token| !token.is_expired(self.now));
                rows.put_tokens_of(user)
            }
            _ => Ok(()),
        }
    }
}

impl Rows {
    /// Writes a user with changed API tokens.
    pub(super) fn put_tokens_of(&mut self, mut user: User) -> Result<()> {
        let before = self.user(user.id)?;
        self.count_imported_tokens(before.as_ref(), Some(&user))?;
        if user.api_tokens.is_empty() {
            self.remove_token_names(&user);
            user.token_names = Vec::new();
        }
        self.put_user(user);
        Ok(())
    }

    pub(super) fn remove_token_names(&mut self, user: &User) {
        for name in &user.token_names {
            self.token_names.remove((name.clone(), user.id));
        }
    }

    /// Updates the number of users with imported API tokens for a change of one user.
    pub(super) fn count_imported_tokens(
        &mut self,
        before: Option<&User>,
        after: Option<&User>,
    ) -> Result<()> {
        let [before, after] =
            [before, after].map(|user| user.is_some_and(User::has_imported_tokens));
        match (before, after) {
            (false, true) => self.change_counters(|counters| counters.imported_tokens += 1),
            (true, false) => self.change_counters(|counters| {
                counters.imported_tokens = counters.imported_tokens.saturating_sub(1);
            }),
            _ => Ok(()),
        }
    }
}
