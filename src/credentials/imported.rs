//! Hashes that a Platypush node made, until their users log in once.
//!
//! Platypush hashes passwords, API tokens and backup codes with PBKDF2 and the
//! user's salt (`platypush/user/__init__.py`, `_encrypt_password`), and did so
//! with bcrypt before it kept salts. Both are kept as text in a
//! [`PasswordRecord`]:
//!
//! - `$pbkdf2-sha256$i=<iterations>,l=32$<salt>$<hash>`, a PHC string;
//! - `$2b$<cost>$<salt and hash>`, bcrypt's own form, as it stands.
//!
//! What they cost is chosen by a foreign database. It is bounded where a record
//! is made and again where it is read: no hashing thread works for minutes.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;

use argon2::password_hash::phc::{Ident, Output, ParamsString, PasswordHash, Salt};
use base64::alphabet::BCRYPT;
use base64::engine::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use ring::pbkdf2::{PBKDF2_HMAC_SHA256, derive};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::error::HasherError;
use crate::model::PasswordRecord;

/// The most iterations of PBKDF2 that are taken, some 0.3 s of work. Platypush
/// uses 100,000; OWASP (Password Storage Cheat Sheet) asks for 600,000.
pub const MAX_PBKDF2_ITERATIONS: u32 = 2_000_000;
/// The costs of bcrypt that are taken: the least there is, to that of
/// Platypush, some 0.3 s of work.
pub const BCRYPT_COSTS: RangeInclusive<u32> = 4..=12;

/// What every PBKDF2 record begins with…
const PBKDF2_PREFIX: &str = "$pbkdf2-sha256$";
/// …which names its algorithm.
const PBKDF2: &str = "pbkdf2-sha256";
/// Bytes of a PBKDF2 hash: those of SHA-256, as `hashlib.pbkdf2_hmac` makes them.
const PBKDF2_BYTES: usize = 32;
/// What every bcrypt record begins with.
const BCRYPT_PREFIX: &str = "$2";
/// Bytes of a password that bcrypt uses.
const BCRYPT_KEY_BYTES: usize = 72;
/// What stands behind the name in an API token: a colon and 32 characters.
const TOKEN_CHARS_BEHIND_NAME: usize = 33;
/// Characters of bcrypt's salt…
const BCRYPT_SALT_CHARS: usize = 22;
/// …and of its hash behind it.
const BCRYPT_HASH_CHARS: usize = 31;
/// Strict, as Python's bcrypt is: no bits that mean nothing.
const BCRYPT_BASE64: GeneralPurpose = GeneralPurpose::new(&BCRYPT, NO_PAD);

/// Why a hash of a node cannot be used. It never quotes the hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnusableHash {
    /// Of neither kind.
    #[error("its PBKDF2 hash is not 64 hexadecimal digits")]
    NotPbkdf2,
    /// No hexadecimal, or of another length.
    #[error(
        "its salt is not {} to {} bytes in hexadecimal",
        Salt::MIN_LENGTH,
        Salt::MAX_LENGTH
    )]
    Salt,
    /// None, or more than are taken.
    #[error(
        "its PBKDF2 hash has {0} iterations, and 1 to {MAX_PBKDF2_ITERATIONS} are taken: more \
         would keep a hashing thread busy for too long"
    )]
    Iterations(i64),
    /// Something else than `$2b$`, the cost, `$` and 53 characters.
    #[error("its bcrypt hash is not of the form $2b$<cost>$<53 characters>")]
    NotBcrypt,
    /// Less than there is, or more than is taken.
    #[error(
        "its bcrypt hash has cost {0}, and {least} to {most} are taken: more would keep a \
         hashing thread busy for too long",
        least = BCRYPT_COSTS.start(),
        most = BCRYPT_COSTS.end()
    )]
    Cost(u32),
}

/// A record of PBKDF2-HMAC-SHA-256, from what a node's database holds.
///
/// # Errors
/// A hash of other than 64 hexadecimal digits, a salt that is no hexadecimal or
/// not of 8 to 48 bytes (what a PHC string holds), and iterations out of bounds.
pub fn pbkdf2_record(
    hash_hex: &str,
    salt_hex: &str,
    iterations: i64,
) -> Result<PasswordRecord, UnusableHash> {
    let mut hash = [0; PBKDF2_BYTES];
    hex::decode_to_slice(hash_hex, &mut hash).map_err(|_| UnusableHash::NotPbkdf2)?;
    if salt_hex.len() > 2 * Salt::MAX_LENGTH {
        return Err(UnusableHash::Salt);
    }
    let salt = hex::decode(salt_hex).map_err(|_| UnusableHash::Salt)?;
    let salt = Salt::new(&salt).map_err(|_| UnusableHash::Salt)?;
    let bounded = u32::try_from(iterations)
        .ok()
        .filter(|count| (1..=MAX_PBKDF2_ITERATIONS).contains(count))
        .ok_or(UnusableHash::Iterations(iterations))?;

    let mut params = ParamsString::new();
    for (name, value) in [("i", bounded), ("l", PBKDF2_BYTES as u32)] {
        params
            .add_decimal(name, value)
            .map_err(|_| UnusableHash::NotPbkdf2)?;
    }
    let phc = PasswordHash {
        algorithm: Ident::new(PBKDF2).map_err(|_| UnusableHash::NotPbkdf2)?,
        version: None,
        params,
        salt: Some(salt),
        hash: Some(Output::new(&hash).map_err(|_| UnusableHash::NotPbkdf2)?),
    };
    Ok(PasswordRecord::new(phc.to_string()))
}

/// A record of bcrypt, as it stands in a node's database.
///
/// # Errors
/// What is not `$2a$`, `$2b$` or `$2y$`, two digits, `$` and 53 characters of
/// bcrypt's base64; and a cost out of bounds.
pub fn bcrypt_record(text: &str) -> Result<PasswordRecord, UnusableHash> {
    parse_bcrypt(text)?;
    Ok(PasswordRecord::new(text.to_owned()))
}

/// Whether a text can only be bcrypt's.
#[must_use]
pub fn looks_like_bcrypt(text: &str) -> bool {
    text.starts_with(BCRYPT_PREFIX)
}

/// Whether a match of this secret with bcrypt's record does not tell that it is the
/// one the record was made of: bcrypt reads a part of it, so that any other ending
/// matches; or it has a NUL in it, as a shorter one has where bcrypt repeats that
/// with the NUL behind it.
#[must_use]
pub fn is_cut(secret: &str, record: &PasswordRecord) -> bool {
    looks_like_bcrypt(record.expose()) && (secret.len() > BCRYPT_KEY_BYTES || secret.contains('\0'))
}

/// Whether bcrypt has read only a part of an API token that has this name in it:
/// with a long name, little or nothing of what is secret in it.
#[must_use]
pub fn is_cut_token(name: &str, record: &PasswordRecord) -> bool {
    looks_like_bcrypt(record.expose()) && name.len() + TOKEN_CHARS_BEHIND_NAME > BCRYPT_KEY_BYTES
}

/// A record that was read.
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

/// It shows what it costs, and nothing to guess a password by.
impl fmt::Debug for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pbkdf2 { iterations, .. } => write!(f, "Pbkdf2 {{ iterations: {iterations} }}"),
            Self::Bcrypt { cost, .. } => write!(f, "Bcrypt {{ cost: {cost} }}"),
        }
    }
}

/// Reads a record; none where it is not one of these, which an Argon2id record
/// is not.
///
/// # Errors
/// Inside: one of these that is unreadable, or dearer than is taken.
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

/// Checks secrets, such as one password or token against several records: a
/// node hashes all that is one user's with the same salt, which is done once.
#[derive(Default)]
pub(crate) struct Checker {
    last: Option<(u32, Salt, Zeroizing<[u8; PBKDF2_BYTES]>)>,
}

impl Checker {
    /// Checks a secret, the same as before, in constant time once the hash is
    /// made.
    pub(crate) fn verify(&mut self, secret: &[u8], scheme: &Scheme) -> bool {
        match scheme {
            Scheme::Pbkdf2 {
                iterations,
                salt,
                hash,
            } => self.pbkdf2(secret, *iterations, salt).ct_eq(hash).into(),
            Scheme::Bcrypt { cost, salt, hash } => {
                // Of the 24 bytes that bcrypt makes, its text holds 23.
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

/// Checks a password, in constant time once the hash is made.
pub(crate) fn verify(password: &[u8], scheme: &Scheme) -> bool {
    Checker::default().verify(password, scheme)
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
    // `2a` differs from the others in faults that Python's bcrypt never had.
    let rest = ["$2b$", "$2a$", "$2y$"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))
        .ok_or(UnusableHash::NotBcrypt)?;
    let (cost, rest) = rest.split_once('$').ok_or(UnusableHash::NotBcrypt)?;
    let is_form = cost.len() == 2
        && cost.bytes().all(|byte| byte.is_ascii_digit())
        && rest.len() == BCRYPT_SALT_CHARS + BCRYPT_HASH_CHARS;
    let cost = cost.parse().ok().filter(|_| is_form);
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
    // A record has at least one.
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

/// The password and a NUL, cut to 72 bytes wherever that is: as Python's bcrypt
/// does (before 5.0, which refuses longer ones). A NUL within is a byte as any
/// other, which it is there since 4.0; before, such passwords were refused, and
/// have no hashes.
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
