//! API tokens: they stand in the record of their user, and are found by the
//! name that stands in them, which need not be the user's here: in those that
//! were imported, and where the user's own name must not leave as it is.

use super::Group;
use crate::clock::Timestamp;
use crate::model::{ApiToken, ApiTokenId, ApiTokenRecord, PasswordRecord, TokenHash, User, UserId};
use crate::store::sled::{lookup::Lookup as _, records};
use crate::store::{NewApiToken, PasswordPrecondition, Result, StoreError};

impl Group<'_> {
    pub(in crate::store::sled) fn create_api_token(
        &mut self,
        new: NewApiToken,
        limit: usize,
        precondition: &PasswordPrecondition,
    ) -> Result<ApiToken> {
        let mut user = self.check_password(precondition)?;
        user.api_tokens
            .retain(|token| !token.is_expired(new.created_at));
        if user.api_tokens.iter().any(|token| token.name == new.name) {
            return Err(StoreError::ApiTokenNameTaken);
        }
        if user.api_tokens.len() >= limit {
            return Err(StoreError::TooManyApiTokens);
        }
        let id = self.next_ids()?.api_token;
        let token = ApiToken {
            id,
            name: new.name,
            created_at: new.created_at,
            expires_at: new.expires_at,
            record: ApiTokenRecord::Hash(new.token),
        };
        user.api_tokens.push(token.clone());
        if let Some(name) = new.name_in_token
            && !user.token_names.contains(&name)
        {
            self.put(records::token_name_key(&name, user.id), Vec::new());
            user.token_names.push(name);
        }
        self.put_tokens_of(user)?;
        self.put_number(records::NEXT_TOKEN_ID.into(), id + 1);
        Ok(token)
    }

    pub(in crate::store::sled) fn delete_api_token(
        &mut self,
        session: &TokenHash,
        id: ApiTokenId,
    ) -> Result<Option<ApiToken>> {
        let (_, mut user) = self.session(session)?.ok_or(StoreError::Conflict)?;
        let Some(place) = user.api_tokens.iter().position(|token| token.id == id) else {
            return Ok(None);
        };
        let token = user.api_tokens.remove(place);
        self.put_tokens_of(user)?;
        Ok(Some(token))
    }

    pub(in crate::store::sled) fn replace_api_token_record(
        &mut self,
        user_id: UserId,
        id: ApiTokenId,
        from: &PasswordRecord,
        to: TokenHash,
    ) -> Result<()> {
        let mut user = self.user(user_id)?.ok_or(StoreError::Conflict)?;
        let stands_there = |token: &&mut ApiToken| {
            token.id == id
                && matches!(&token.record, ApiTokenRecord::Imported(record) if record == from)
        };
        let token = user.api_tokens.iter_mut().find(stands_there);
        token.ok_or(StoreError::Conflict)?.record = ApiTokenRecord::Hash(to);
        self.put_tokens_of(user)
    }

    /// Puts a user whose API tokens are others now.
    pub(super) fn put_tokens_of(&mut self, mut user: User) -> Result<()> {
        let before = self.user(user.id)?;
        self.count_imported_tokens(before.as_ref(), Some(&user))?;
        if user.api_tokens.is_empty() {
            self.forget_token_names(&user);
            user.token_names = Vec::new();
        }
        self.put_user(&user)
    }

    /// Removes the expired API tokens of a user.
    pub(in crate::store::sled) fn drop_expired_tokens(
        &mut self,
        user_id: UserId,
        now: Timestamp,
    ) -> Result<()> {
        match self.user(user_id)? {
            Some(mut user) if user.api_tokens.iter().any(|token| token.is_expired(now)) => {
                user.api_tokens.retain(|token| !token.is_expired(now));
                self.put_tokens_of(user)
            }
            _ => Ok(()),
        }
    }

    /// A user with API tokens is about to go.
    pub(super) fn forget_tokens_of(&mut self, user: &User) -> Result<()> {
        self.count_imported_tokens(Some(user), None)?;
        self.forget_token_names(user);
        Ok(())
    }

    fn forget_token_names(&mut self, user: &User) {
        for name in &user.token_names {
            self.remove(records::token_name_key(name, user.id));
        }
    }

    pub(super) fn count_imported_tokens(
        &mut self,
        before: Option<&User>,
        after: Option<&User>,
    ) -> Result<()> {
        let [before, after] =
            [before, after].map(|user| user.is_some_and(User::has_imported_tokens));
        if before != after {
            let count = self.number(records::IMPORTED_TOKENS)?.unwrap_or(0);
            let count = if after {
                count + 1
            } else {
                count.saturating_sub(1)
            };
            self.put_number(records::IMPORTED_TOKENS.into(), count);
        }
        Ok(())
    }
}
