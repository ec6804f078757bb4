//! API tokens: the user's name, a colon, and 32 random characters (192 bits).
//!
//! The form is Platypush's, but the randomness comes from the operating system: Platypush uses a
//! predictable generator. The store keeps the SHA-256 only, which is enough because a random token
//! cannot be guessed.
//!
//! A token is found by the name in it, then by its hash, which costs no password hash. While the
//! store has any imported token, a token that is not found costs a password hash, whatever name it
//! carries: otherwise the time would reveal which users have imported tokens. So the cost of such a
//! request depends on the store (`Run::cost_now`).

use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::imported::{is_cut, is_cut_token};
use super::{Credentials, token};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::model::{ApiToken, ApiTokenId, ApiTokenRecord, PasswordRecord, TokenHash, User};
use crate::random;
use crate::store::{StoreError, StoreExt as _, operations};

/// Characters of a token, 6 bits each. They need no escaping in URLs, JSON or shells.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Number of characters of the random part.
const RANDOM_DIGITS: usize = 32;
/// Number of random characters of a generated token name.
const NAME_DIGITS: usize = 8;

/// Generates an API token for a user.
///
/// # Errors
/// When the operating system provides no randomness.
pub fn new_api_token(username: &str) -> Result<SecretString, Error> {
    // Allocated at its final size: growing would leave copies in memory.
    let mut text = Zeroizing::new(String::with_capacity(username.len() + 1 + RANDOM_DIGITS));
    text.push_str(username);
    text.push(':');
    push_digits(&mut text, RANDOM_DIGITS)?;
    Ok(text.as_str().into())
}

/// Generates the name of a token that was created without one, as Platypush does.
///
/// # Errors
/// When the operating system provides no randomness.
pub fn draw_api_token_name(username: &str) -> Result<String, Error> {
    let mut name = format!("{username}__");
    push_digits(&mut name, NAME_DIGITS)?;
    Ok(name)
}

fn push_digits(text: &mut String, count: usize) -> Result<(), Error> {
    let bytes = random::secret(RANDOM_DIGITS)?;
    // 64 divides 256, so all characters are equally likely.
    let digits = bytes.iter().map(|byte| DIGITS[usize::from(byte % 64)]);
    text.extend(digits.take(count).map(char::from));
    Ok(())
}

/// Returns the user's name in a token. (The random part has no colon.)
fn name_in(token: &str) -> Option<&str> {
    token.rsplit_once(':').map(|(name, _)| name)
}

/// Returns the valid token of a user with this hash. Compares all of them, so that the time does
/// not depend on the position of a match.
fn find<'u>(user: &'u User, hash: &TokenHash, now: Timestamp) -> Option<&'u ApiToken> {
    user.api_tokens.iter().fold(None, |found, token| {
        let same = match &token.record {
            ApiTokenRecord::Hash(known) => bool::from(known.0.ct_eq(&hash.0)),
            ApiTokenRecord::Imported(_) => false,
        };
        if same && !token.is_expired(now) {
            Some(token)
        } else {
            found
        }
    })
}

/// Returns the valid imported tokens of a user that `text` may match.
///
/// Excludes bcrypt hashes if bcrypt reads only a part of `text`, or read only a part of the token:
/// that part alone would match.
fn imported_candidates<'u>(
    user: &'u User,
    text: &'u str,
    now: Timestamp,
) -> impl Iterator<Item = (ApiTokenId, PasswordRecord)> + 'u {
    let name = name_in(text).unwrap_or(text);
    let is_read_whole =
        move |record: &PasswordRecord| !is_cut(text, record) && !is_cut_token(name, record);
    let valid = user
        .api_tokens
        .iter()
        .filter(move |token| !token.is_expired(now));
    valid.filter_map(move |token| match &token.record {
        ApiTokenRecord::Imported(record) if is_read_whole(record) => {
            Some((token.id, record.clone()))
        }
        ApiTokenRecord::Imported(_) | ApiTokenRecord::Hash(_) => None,
    })
}

impl Credentials {
    /// Returns the user of an API token, or `None` if the token is invalid.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn api_token(&self, token: &SecretString) -> Result<Option<User>, Error> {
        let found = self.own_api_token(token.expose_secret()).await?;
        if found.is_some() || !self.has_imported_tokens().await? {
            return Ok(found);
        }
        self.imported_api_token(token).await
    }

    /// Whether finding the user of an API token costs a password hash. It does not if the token is
    /// stored as SHA-256, or if the store has no imported tokens.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn api_token_costs_hashes(&self, token: &str) -> Result<bool, Error> {
        Ok(self.own_api_token(token).await?.is_none() && self.has_imported_tokens().await?)
    }

    async fn has_imported_tokens(&self) -> Result<bool, Error> {
        Ok(self.store.counters().await?.imported_tokens > 0)
    }

    /// Returns the user of a valid API token that is stored as SHA-256: it was created here or has
    /// been used since its import.
    async fn own_api_token(&self, token: &str) -> Result<Option<User>, Error> {
        let Some(name) = name_in(token) else {
            return Ok(None);
        };
        let (hash, now) = (token::hash(token), self.clock.now());
        let mut users = self.users_of_token_name(name).await?.into_iter();
        Ok(users.find(|user| find(user, &hash, now).is_some()))
    }

    /// Returns the user of a valid API token that is stored with its imported hash, and replaces
    /// that by the SHA-256.
    async fn imported_api_token(&self, token: &SecretString) -> Result<Option<User>, Error> {
        let (text, now) = (token.expose_secret(), self.clock.now());
        let users = match name_in(text) {
            Some(name) => self.users_of_token_name(name).await?,
            None => Vec::new(),
        };
        let (owners, records): (Vec<_>, Vec<_>) = users
            .iter()
            .flat_map(|user| {
                imported_candidates(user, text, now).map(move |(id, record)| ((user, id), record))
            })
            .unzip();
        // Runs without candidates, too, so that it takes as long.
        let Some(index) = self.hasher.find(token, records.clone()).await? else {
            return Ok(None);
        };
        let (user, id) = owners[index];
        let replace = operations::ReplaceApiTokenRecord {
            user_id: user.id,
            id,
            from: records[index].clone(),
            to: token::hash(token.expose_secret()),
        };
        match self.store.run(replace, None).await {
            Err(StoreError::Stopped) => Err(StoreError::Stopped.into()),
            // A conflict: another request has used or deleted the token in the meantime.
            Ok(()) | Err(StoreError::Conflict) => self.own_api_token(token.expose_secret()).await,
            Err(error) => {
                // The token is valid all the same; the next use retries.
                tracing::warn!(%error, "cannot rehash an imported API token");
                Ok(Some(user.clone()))
            }
        }
    }

    /// Returns all users whose API tokens may begin with that name.
    async fn users_of_token_name(&self, name: &str) -> Result<Vec<User>, Error> {
        let namesake = self.store.user_by_name(name).await?;
        // A user may have been renamed at its import: its tokens contain the old name.
        let renamed = self.store.users_by_token_name(name).await?;
        Ok(namesake.into_iter().chain(renamed).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_name_a_colon_and_32_characters() {
        for name in ["alice", "a:b", "Zoë", ""] {
            let token = new_api_token(name).unwrap();
            assert_eq!(name_in(token.expose_secret()), Some(name));
            let random = &token.expose_secret()[name.len() + 1..];
            assert_eq!(random.len(), RANDOM_DIGITS);
            assert!(random.bytes().all(|digit| DIGITS.contains(&digit)));
        }
    }

    #[test]
    fn all_characters_occur_and_no_token_occurs_twice() {
        let tokens: Vec<_> = (0..1_000)
            .map(|_| new_api_token("").unwrap().expose_secret().to_owned())
            .collect();
        let digits: std::collections::HashSet<_> = tokens.concat().bytes().collect();
        assert_eq!(digits.len(), 1 + DIGITS.len());
        let distinct: std::collections::HashSet<_> = tokens.iter().collect();
        assert_eq!(distinct.len(), tokens.len());
    }
}
