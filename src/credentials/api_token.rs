//! API tokens: the user's name, a colon, and 32 characters (192 bits) from the
//! operating system, as Platypush's are (there from a predictable generator).
//! Only the SHA-256 is kept: there is nothing to guess.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::imported::{is_cut, is_cut_token};
use super::{Credentials, token};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::model::{ApiToken, ApiTokenId, ApiTokenRecord, PasswordRecord, TokenHash, User};
use crate::random;
use crate::store::StoreError;

/// The digits of a token: none of them needs an escape anywhere, and each has
/// 6 bits.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Digits of the random part.
const RANDOM_DIGITS: usize = 32;
/// Digits of a name that nobody gave.
const NAME_DIGITS: usize = 8;

/// A new API token. It cannot be printed; only the reply that hands it out
/// looks inside.
#[derive(Clone)]
pub struct ApiTokenText(Zeroizing<String>);

impl ApiTokenText {
    /// Draws a new one for a user.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn generate(username: &str) -> Result<Self, Error> {
        // In one piece from the beginning: no copy stays behind.
        let mut text = Zeroizing::new(String::with_capacity(username.len() + 1 + RANDOM_DIGITS));
        text.push_str(username);
        text.push(':');
        push_digits(&mut text, RANDOM_DIGITS)?;
        Ok(Self(text))
    }

    /// What is kept of it.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        token::hash(&self.0)
    }

    /// The token itself, for the reply.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiTokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiTokenText(…)")
    }
}

/// What a token is called whose maker gave it no name, as Platypush does it.
///
/// # Errors
/// When the operating system gives no randomness.
pub fn draw_name(username: &str) -> Result<String, Error> {
    let mut name = format!("{username}__");
    push_digits(&mut name, NAME_DIGITS)?;
    Ok(name)
}

fn push_digits(text: &mut String, count: usize) -> Result<(), Error> {
    let mut bytes = Zeroizing::new([0u8; RANDOM_DIGITS]);
    random::fill(bytes.as_mut_slice())?;
    // 64 divides 256: every digit is as likely as any other.
    let digits = bytes.iter().map(|byte| DIGITS[usize::from(byte % 64)]);
    text.extend(digits.take(count).map(char::from));
    Ok(())
}

/// The user's name in the text of a token. (Its random part has no colon.)
fn name_in(token: &str) -> Option<&str> {
    token.rsplit_once(':').map(|(name, _)| name)
}

/// The valid token of a user that has this hash. All are compared, so that
/// the time tells nothing.
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

/// The valid tokens of a user that stand there as they were imported and that
/// this text can be: where bcrypt reads only a part of it, or has read only a part
/// of the token (which that part alone would then match), it is none.
fn imported<'u>(
    user: &'u User,
    text: &'u str,
    now: Timestamp,
) -> impl Iterator<Item = (ApiTokenId, PasswordRecord)> + 'u {
    let name = name_in(text).unwrap_or(text);
    let is_whole =
        move |record: &PasswordRecord| !is_cut(text, record) && !is_cut_token(name, record);
    let valid = user
        .api_tokens
        .iter()
        .filter(move |token| !token.is_expired(now));
    valid.filter_map(move |token| match &token.record {
        ApiTokenRecord::Imported(record) if is_whole(record) => Some((token.id, record.clone())),
        ApiTokenRecord::Imported(_) | ApiTokenRecord::Hash(_) => None,
    })
}

impl Credentials {
    /// The user of a valid API token.
    ///
    /// # Errors
    /// When the store fails; an invalid token is `None`.
    pub async fn api_token(&self, token: &SecretString) -> Result<Option<User>, Error> {
        let found = self.own_api_token(token.expose_secret()).await?;
        if found.is_some() || !self.store.has_imported_tokens().await? {
            return Ok(found);
        }
        self.imported_api_token(token).await
    }

    /// Whether it costs hashes to tell whose API token it is: not where it is
    /// one of ours, or where no other is left in the store.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn api_token_costs_hashes(&self, token: &str) -> Result<bool, Error> {
        Ok(self.own_api_token(token).await?.is_none() && self.store.has_imported_tokens().await?)
    }

    /// The user of a valid API token that was made here, or used here before.
    async fn own_api_token(&self, token: &str) -> Result<Option<User>, Error> {
        let Some(name) = name_in(token) else {
            return Ok(None);
        };
        let (hash, now) = (token::hash(token), self.clock.now());
        let mut users = self.users_of_token_name(name).await?.into_iter();
        Ok(users.find(|user| find(user, &hash, now).is_some()))
    }

    /// The user of a valid API token that stands in the store as it was
    /// imported. From now on it is kept as one of ours.
    async fn imported_api_token(&self, token: &SecretString) -> Result<Option<User>, Error> {
        let (text, now) = (token.expose_secret(), self.clock.now());
        let users = match name_in(text) {
            Some(name) => self.users_of_token_name(name).await?,
            None => Vec::new(),
        };
        let (owners, records): (Vec<_>, Vec<_>) = users
            .iter()
            .flat_map(|user| {
                imported(user, text, now).map(move |(id, record)| ((user, id), record))
            })
            .unzip();
        // Also where there are none: it takes as long.
        let Some(index) = self.hasher.find(token, records.clone()).await? else {
            return Ok(None);
        };
        let (user, id) = owners[index];
        match self
            .store
            .replace_api_token_record(
                user.id,
                id,
                records[index].clone(),
                token::hash(token.expose_secret()),
            )
            .await
        {
            Err(StoreError::Stopped) => Err(StoreError::Stopped.into()),
            // Or somebody else used or deleted it meanwhile.
            Ok(()) | Err(StoreError::Conflict) => self.own_api_token(token.expose_secret()).await,
            Err(error) => {
                // It was right all the same; the next use tries again.
                tracing::warn!(%error, "an imported API token could not be renewed");
                Ok(Some(user.clone()))
            }
        }
    }

    /// All users whose API tokens may begin with that name.
    async fn users_of_token_name(&self, name: &str) -> Result<Vec<User>, Error> {
        let namesake = self.store.user_by_name(name).await?;
        // Here a user may have another name than in its imported tokens.
        let renamed = self.store.users_by_token_name(name).await?;
        Ok(namesake.into_iter().chain(renamed).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_name_a_colon_and_32_digits_without_a_colon() {
        for name in ["alice", "a:b", "Zoë", ""] {
            let token = ApiTokenText::generate(name).unwrap();
            assert_eq!(name_in(token.expose()), Some(name));
            let random = &token.expose()[name.len() + 1..];
            assert_eq!(random.len(), RANDOM_DIGITS);
            assert!(random.bytes().all(|digit| DIGITS.contains(&digit)));
        }
    }

    #[test]
    fn all_digits_occur_and_no_token_twice() {
        let tokens: Vec<_> = (0..1_000)
            .map(|_| ApiTokenText::generate("").unwrap().expose().to_owned())
            .collect();
        let digits: std::collections::HashSet<_> = tokens.concat().bytes().collect();
        assert_eq!(digits.len(), 1 + DIGITS.len());
        let distinct: std::collections::HashSet<_> = tokens.iter().collect();
        assert_eq!(distinct.len(), tokens.len());
    }
}
