//! Hashes imported from a Platypush node, used until the first login of their users.
//!
//! Platypush hashes passwords, API tokens and backup codes with PBKDF2 and the user's salt
//! (`platypush/user/__init__.py`, `_encrypt_password`). Versions without a salt column used bcrypt.
//! A [`PasswordRecord`] keeps both as text:
//!
//! - `$pbkdf2-sha256$i=<iterations>,l=32$<salt>$<hash>`, a PHC string;
//! - `$2b$<cost>$<salt and hash>`, bcrypt's own form, unchanged.
//!
//! A foreign database chooses their cost. The cost is checked when a record is created and again
//! when it is read, so that no hash takes minutes. The first successful use of a password or API
//! token replaces its record by a hash of the daemon.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;

use argon2::password_hash::phc::{PasswordHash, Salt};
use base64::alphabet::BCRYPT;
use base64::engine::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, STANDARD_NO_PAD};
use ring::pbkdf2::{PBKDF2_HMAC_SHA256, derive};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::hasher::HasherError;
use crate::model::PasswordRecord;

/// Maximum number of PBKDF2 iterations, about 0.3 s of work. Platypush uses 100,000; OWASP
/// (Password Storage Cheat Sheet) recommends 600,000.
pub const MAX_PBKDF2_ITERATIONS: u32 = 2_000_000;
/// Accepted costs of bcrypt, from its minimum to the cost that Platypush uses, about 0.3 s of work.
pub const BCRYPT_COSTS: RangeInclusive<u32> = 4..=12;

/// Prefix of every PBKDF2 record.
const PBKDF2_PREFIX: &str = "$pbkdf2-sha256$";
/// Name of the algorithm in a PHC string.
const PBKDF2: &str = "pbkdf2-sha256";
/// Length of a PBKDF2 hash in bytes: that of SHA-256, the default of `hashlib.pbkdf2_hmac`.
const PBKDF2_BYTES: usize = 32;
/// Prefix of every bcrypt record.
const BCRYPT_PREFIX: &str = "$2";
/// Number of bytes of a password that bcrypt reads.
const BCRYPT_KEY_BYTES: usize = 72;
/// Number of characters after the name in an API token: a colon and 32 random ones.
const TOKEN_CHARS_AFTER_NAME: usize = 33;
/// Number of characters of bcrypt's salt.
const BCRYPT_SALT_CHARS: usize = 22;
/// Number of characters of bcrypt's hash, after the salt.
const BCRYPT_HASH_CHARS: usize = 31;
/// Rejects non-zero trailing bits, as Python's bcrypt does.
const BCRYPT_BASE64: GeneralPurpose = GeneralPurpose::new(&BCRYPT, NO_PAD);

/// Why a hash of a node cannot be used. The error never quotes the hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnusableHash {
    /// The hash is neither PBKDF2 nor bcrypt.
    #[error("its PBKDF2 hash is not 64 hexadecimal digits")]
    NotPbkdf2,
    /// The salt is not hexadecimal, or its length is out of bounds.
    #[error(
        "its salt is not {} to {} bytes in hexadecimal",
        Salt::MIN_LENGTH,
        Salt::MAX_LENGTH
    )]
    Salt,
    /// The number of iterations is out of bounds.
    #[error(
        "its PBKDF2 hash has {0} iterations, and 1 to {MAX_PBKDF2_ITERATIONS} are accepted: more \
         would keep a hashing thread busy for too long"
    )]
    Iterations(i64),
    /// The hash is not `$2b$`, the cost, `$` and 53 characters.
    #[error("its bcrypt hash is not of the form $2b$<cost>$<53 characters>")]
    NotBcrypt,
    /// The cost is out of bounds.
    #[error(
        "its bcrypt hash has cost {0}, and {least} to {most} are accepted: more would keep a \
         hashing thread busy for too long",
        least = BCRYPT_COSTS.start(),
        most = BCRYPT_COSTS.end()
    )]
    Cost(u32),
}

/// Creates a record of PBKDF2-HMAC-SHA-256 from the columns of a node's database.
///
/// # Errors
/// When the hash is not 64 hexadecimal digits, the salt is not 8 to 48 bytes in
/// hexadecimal (the bounds of a PHC string), or the iterations are out of bounds.
pub fn pbkdf2_record(
    hash_hex: &str,
    salt_hex: &str,
    iterations: i64,
) -> Result<PasswordRecord, UnusableHash> {
    let mut hash = [0; PBKDF2_BYTES];
    hex::decode_to_slice(hash_hex, &mut hash).map_err(|_| UnusableHash::NotPbkdf2)?;
    let salt = hex::decode(salt_hex).map_err(|_| UnusableHash::Salt)?;
    if !(Salt::MIN_LENGTH..=Salt::MAX_LENGTH).contains(&salt.len()) {
        return Err(UnusableHash::Salt);
    }
    let bounded = u32::try_from(iterations)
        .ok()
        .filter(|count| (1..=MAX_PBKDF2_ITERATIONS).contains(count))
        .ok_or(UnusableHash::Iterations(iterations))?;
    let (salt, hash) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash));
    Ok(PasswordRecord::new(format!(
        "{PBKDF2_PREFIX}i={bounded},l={PBKDF2_BYTES}${salt}${hash}"
    )))
}

/// Creates a record of bcrypt from the text in a node's database.
///
/// # Errors
/// When the text is not `$2a$`, `$2b$` or `$2y$`, two digits, `$` and 53
/// characters of bcrypt's base64, or the cost is out of bounds.
pub fn bcrypt_record(text: &str) -> Result<PasswordRecord, UnusableHash> {
    parse_bcrypt(text)?;
    Ok(PasswordRecord::new(text.to_owned()))
}

/// Whether a text has the prefix of bcrypt.
#[must_use]
pub fn looks_like_bcrypt(text: &str) -> bool {
    text.starts_with(BCRYPT_PREFIX)
}

/// Whether bcrypt cannot prove that a matching secret is the one that was hashed.
///
/// bcrypt reads only the first 72 bytes, so that a longer secret matches with any ending. It also
/// repeats a shorter secret with a NUL after it, so that `ab\0ab` matches the record of `ab`.
#[must_use]
pub fn is_cut(secret: &str, record: &PasswordRecord) -> bool {
    looks_like_bcrypt(record.expose()) && (secret.len() > BCRYPT_KEY_BYTES || secret.contains('\0'))
}

/// Whether bcrypt has read only a part of an API token with this name: with a long name, little or
/// nothing of its random part.
#[must_use]
pub fn is_cut_token(name: &str, record: &PasswordRecord) -> bool {
    looks_like_bcrypt(record.expose()) && name.len() + TOKEN_CHARS_AFTER_NAME > BCRYPT_KEY_BYTES
}

/// A parsed record.
pub(crate) enum Scheme {
    Pbkdf2 {
        iterations: u32,
        salt: Salt,
        hash: [u8; PBKDF2_BYTES],
    },
    Bcrypt {
        cost: u32,
        salt: [u8; 16],
        hash: [u8; 23],
    },
}

/// Shows the cost only: salt and hash would allow to guess the password.
impl fmt::Debug for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pbkdf2 { iterations, .. } => write!(f, "Pbkdf2 {{ iterations: {iterations} }}"),
            Self::Bcrypt { cost, .. } => write!(f, "Bcrypt {{ cost: {cost} }}"),
        }
    }
}

/// Parses an imported record. Returns `None` for any other record, such as Argon2id.
///
/// # Errors
/// The inner error: the record is malformed, or its cost is out of bounds.
pub(crate) fn parse(record: &PasswordRecord) -> Option<Result<Scheme, HasherError>> {
    let text = record.expose();
    if text.starts_with(PBKDF2_PREFIX) {
        Some(parse_pbkdf2(text).ok_or(HasherError::Record))
    } else if looks_like_bcrypt(text) {
        Some(parse_bcrypt(text).map_err(|_| HasherError::Record))
    } else {
        None
    }
}

/// Checks one secret against several records. A node hashes all tokens and codes of a user with the
/// same salt, so that one PBKDF2 hash is enough for all of them.
#[derive(Default)]
pub(crate) struct Checker {
    last: Option<(u32, Salt, Zeroizing<[u8; PBKDF2_BYTES]>)>,
}

impl Checker {
    /// Checks a secret, which must be the same in each call. Compares the hashes in constant time.
    pub(crate) fn verify(&mut self, secret: &[u8], scheme: &Scheme) -> bool {
        match scheme {
            Scheme::Pbkdf2 {
                iterations,
                salt,
                hash,
            } => self.pbkdf2(secret, *iterations, salt).ct_eq(hash).into(),
            Scheme::Bcrypt { cost, salt, hash } => {
                // bcrypt's text contains 23 of the 24 bytes of its hash.
                bcrypt(secret, *salt, *cost)[..hash.len()]
                    .ct_eq(hash)
                    .into()
            }
        }
    }

    fn pbkdf2(&mut self, secret: &[u8], iterations: u32, salt: &Salt) -> &[u8; PBKDF2_BYTES] {
        let known = self
            .last
            .take()
            .filter(|(i, s, _)| *i == iterations && s == salt);
        let known = known.unwrap_or_else(|| (iterations, *salt, pbkdf2(secret, salt, iterations)));
        &self.last.insert(known).2
    }
}

fn parse_pbkdf2(text: &str) -> Option<Scheme> {
    let phc = PasswordHash::new(text).ok()?;
    let iterations = phc.params.get_decimal("i")?;
    let known = phc.algorithm.as_str() == PBKDF2
        && phc.version.is_none()
        && phc.params.iter().count() == 2
        && phc.params.get_decimal("l") == Some(PBKDF2_BYTES as u32)
        && (1..=MAX_PBKDF2_ITERATIONS).contains(&iterations);
    Some(Scheme::Pbkdf2 {
        iterations,
        salt: phc.salt.filter(|_| known)?,
        hash: phc.hash?.as_bytes().try_into().ok()?,
    })
}

fn parse_bcrypt(text: &str) -> Result<Scheme, UnusableHash> {
    // The prefixes mark bugs of old implementations, which Python's bcrypt never had: all mean the
    // same here.
    let rest = ["$2b$", "$2a$", "$2y$"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))
        .ok_or(UnusableHash::NotBcrypt)?;
    let (cost, rest) = rest.split_once('$').ok_or(UnusableHash::NotBcrypt)?;
    let is_well_formed = cost.len() == 2
        && cost.bytes().all(|byte| byte.is_ascii_digit())
        && rest.len() == BCRYPT_SALT_CHARS + BCRYPT_HASH_CHARS;
    let cost = cost.parse().ok().filter(|_| is_well_formed);
    let cost: u32 = cost.ok_or(UnusableHash::NotBcrypt)?;
    if !BCRYPT_COSTS.contains(&cost) {
        return Err(UnusableHash::Cost(cost));
    }
    let (salt, hash) = rest
        .split_at_checked(BCRYPT_SALT_CHARS)
        .ok_or(UnusableHash::NotBcrypt)?;
    Ok(Scheme::Bcrypt {
        cost,
        salt: bcrypt_bytes(salt).ok_or(UnusableHash::NotBcrypt)?,
        hash: bcrypt_bytes(hash).ok_or(UnusableHash::NotBcrypt)?,
    })
}

fn bcrypt_bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    BCRYPT_BASE64.decode(text).ok()?.try_into().ok()
}

fn pbkdf2(password: &[u8], salt: &[u8], iterations: u32) -> Zeroizing<[u8; PBKDF2_BYTES]> {
    let mut hash = Zeroizing::new([0; PBKDF2_BYTES]);
    // `parse` rejects 0 iterations.
    let iterations = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
    derive(
        PBKDF2_HMAC_SHA256,
        iterations,
        salt,
        password,
        hash.as_mut_slice(),
    );
    hash
}

/// Hashes a password with bcrypt as Python's bcrypt 4 does: the password and a NUL, cut to 72 bytes
/// even within a character.
///
/// Version 5.0 rejects longer passwords. Versions before 4.0 rejected passwords with a NUL, so that
/// no hashes of them exist; 4.0 treats a NUL as any other byte.
fn bcrypt(password: &[u8], salt: [u8; 16], cost: u32) -> Zeroizing<[u8; 24]> {
    let length = password.len().min(BCRYPT_KEY_BYTES);
    let mut key = Zeroizing::new([0; BCRYPT_KEY_BYTES]);
    key[..length].copy_from_slice(&password[..length]);
    let end = (length + 1).min(BCRYPT_KEY_BYTES);
    Zeroizing::new(bcrypt::bcrypt(cost, salt, &key[..end]))
}

#[cfg(test)]
#[path = "imported/tests.rs"]
mod tests;
