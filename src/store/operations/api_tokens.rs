//! Operations on API tokens.
//!
//! API tokens are part of their user's record. A token carries a name that identifies the user. It
//! differs from the username in imported tokens, and if the username must not be sent unchanged.

use super::Operation;
use crate::clock::Timestamp;
use crate::model::{ApiToken, ApiTokenId, ApiTokenRecord, PasswordRecord, TokenHash, User, UserId};
use crate::store::rows::{Reads, Rows};
use crate::store::{PasswordPrecondition, Result, StoreError};

/// Creates an API token for the precondition's user and returns it. Expired tokens of the user are
/// removed first. `TooManyApiTokens` if `limit` tokens remain.
#[derive(Debug, Clone)]
pub struct CreateApiToken {
    /// Name of the API token.
    pub name: String,
    /// Hash of the token.
    pub token: TokenHash,
    /// Username inside the token, if it differs from the user's name.
    pub name_in_token: Option<String>,
    /// Creation time.
    pub created_at: Timestamp,
    /// Expiry, or `None` if the token does not expire.
    pub expires_at: Option<Timestamp>,
    /// Maximum number of tokens of the user.
    pub limit: usize,
    /// The user's password.
    pub precondition: PasswordPrecondition,
}

impl Operation for CreateApiToken {
    type Output = ApiToken;

    fn reads(&self) -> Reads {
        self.precondition.reads().with_counters()
    }

    fn apply(&self, rows: &mut Rows) -> Result<ApiToken> {
        let mut user = self.precondition.check(rows)?;
        user.api_tokens
            .retain(|token| !token.is_expired(self.created_at));
        if user.api_tokens.iter().any(|token| token.name == self.name) {
            return Err(StoreError::ApiTokenNameTaken);
        }
        if user.api_tokens.len() >= self.limit {
            return Err(StoreError::TooManyApiTokens);
        }
        let token = ApiToken {
            id: rows.take_api_token_id()?,
            name: self.name.clone(),
            created_at: self.created_at,
            expires_at: self.expires_at,
            record: ApiTokenRecord::Hash(self.token),
        };
        user.api_tokens.push(token.clone());
        if let Some(name) = &self.name_in_token
            && !user.token_names.contains(name)
        {
            rows.token_names.put((name.clone(), user.id), ());
            user.token_names.push(name.clone());
        }
        rows.put_tokens_of(user)?;
        Ok(token)
    }
}

/// Removes an API token of the session's user and returns it, or `None` if the user has no token
/// with that id. `Conflict` if the session no longer exists or is revoked.
pub struct DeleteApiToken {
    /// Token hash of the session.
    pub session: TokenHash,
    /// Id of the API token.
    pub id: ApiTokenId,
}

impl Operation for DeleteApiToken {
    type Output = Option<ApiToken>;

    fn reads(&self) -> Reads {
        Reads::sessions(&[self.session]).with_counters()
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

/// Replaces the imported record of an API token with the hash of the token. `Conflict` if the
/// token's record is no longer `from`.
pub struct ReplaceApiTokenRecord {
    /// Id of the token's user.
    pub user_id: UserId,
    /// Id of the API token.
    pub id: ApiTokenId,
    /// The record that was checked.
    pub from: PasswordRecord,
    /// Hash of the token.
    pub to: TokenHash,
}

impl Operation for ReplaceApiTokenRecord {
    type Output = ();

    fn reads(&self) -> Reads {
        Reads::user(self.user_id).with_counters()
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
    /// Id of the user.
    pub user_id: UserId,
    /// Present time: tokens that have expired by then are removed.
    pub now: Timestamp,
}

impl Operation for DropExpiredTokens {
    type Output = ();

    fn reads(&self) -> Reads {
        Reads::user(self.user_id).with_counters()
    }

    fn apply(&self, rows: &mut Rows) -> Result<()> {
        let Some(mut user) = rows.user(self.user_id)? else {
            return Ok(());
        };
        let count = user.api_tokens.len();
        user.api_tokens.retain(|token| !token.is_expired(self.now));
        if user.api_tokens.len() == count {
            return Ok(());
        }
        rows.put_tokens_of(user)
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
