//! Users, credentials and sessions as plain values, independent of wire format, storage and
//! hashing.

mod session;

use std::fmt;

use sha2::{Digest as _, Sha256};

pub use self::session::{Session, SessionLimits, SessionRules};
use serde::Serialize;

use crate::clock::Timestamp;

/// Id of a user: ids count from 1 without gaps and are never reused.
pub type UserId = u64;

/// A user as the store keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// Assigned by the store when the user is created.
    pub id: UserId,
    /// The name, compared byte for byte.
    pub username: String,
    /// Time of creation.
    pub created_at: Timestamp,
    /// The record that its password is checked against.
    pub password: PasswordRecord,
    /// A session holds the generation of its user at its creation, and is valid only while both are
    /// equal. Raising the generation ends all sessions at once.
    pub generation: u64,
    /// The second factor, if it is on.
    pub second_factor: Option<SecondFactor>,
    /// The secrets of earlier second factors with their last used steps, the latest one last; at
    /// most [`MAX_USED_SECRETS`].
    pub used_secrets: Vec<UsedSecret>,
    /// Failed login attempts since the last success.
    pub failures: Failures,
    /// API tokens, which nodes and scripts use instead of the password, in the order of creation.
    pub api_tokens: Vec<ApiToken>,
    /// Fingerprint of the row that the user was imported from, if any.
    pub origin: Option<Origin>,
    /// Other names in the user's API tokens: its names in imported tokens, and the neutral form of
    /// its own name.
    pub token_names: Vec<String>,
}

/// The public part of a user, without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Id of the user.
    pub id: UserId,
    /// Name of the user.
    pub username: String,
    /// Time of creation of the user.
    pub created_at: Timestamp,
    /// Generation of the user.
    pub generation: u64,
    /// Whether the second factor is on.
    pub has_second_factor: bool,
}

impl From<User> for Profile {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            username: user.username,
            created_at: user.created_at,
            generation: user.generation,
            has_second_factor: user.second_factor.is_some(),
        }
    }
}

impl User {
    /// Returns a new user with a name and a password only.
    #[must_use]
    pub fn new(
        id: UserId,
        username: String,
        created_at: Timestamp,
        password: PasswordRecord,
    ) -> Self {
        Self {
            id,
            username,
            created_at,
            password,
            generation: 0,
            second_factor: None,
            used_secrets: Vec::new(),
            failures: Failures::default(),
            api_tokens: Vec::new(),
            origin: None,
            token_names: Vec::new(),
        }
    }

    /// Returns whether any of its API tokens was imported and has not been used since.
    #[must_use]
    pub fn has_imported_tokens(&self) -> bool {
        let imported = |token: &ApiToken| matches!(token.record, ApiTokenRecord::Imported(_));
        self.api_tokens.iter().any(imported)
    }

    /// Switches the second factor on or off.
    ///
    /// Used steps belong to a secret. They stay used if the same secret is enrolled again, and do
    /// not block another secret, even if the clock was ahead when they were used.
    pub fn set_second_factor(&mut self, factor: Option<SecondFactor>) {
        if let Some(earlier) = &self.second_factor {
            let used = UsedSecret {
                fingerprint: earlier.fingerprint,
                last_step: earlier.last_step,
            };
            self.used_secrets
                .retain(|other| other.fingerprint != used.fingerprint);
            self.used_secrets.push(used);
            let excess = self.used_secrets.len().saturating_sub(MAX_USED_SECRETS);
            self.used_secrets.drain(..excess);
        }
        self.second_factor = factor.map(|mut factor| {
            let is_same = |used: &&UsedSecret| used.fingerprint == factor.fingerprint;
            let last_step = self
                .used_secrets
                .iter()
                .find(is_same)
                .map(|used| used.last_step);
            factor.last_step = factor.last_step.max(last_step.unwrap_or(0));
            factor
        });
    }
}

/// Why a login was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Reason {
    /// The login was not refused.
    #[serde(rename = "")]
    None,
    /// Unknown user or wrong password.
    #[serde(rename = "invalid_credentials")]
    InvalidCredentials,
    /// Wrong or used one-time code.
    #[serde(rename = "invalid_otp_code")]
    InvalidCode,
    /// A one-time code is needed.
    #[serde(rename = "missing_otp_code")]
    MissingCode,
}

impl Reason {
    /// Returns the reason as the reply names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::InvalidCredentials => "invalid_credentials",
            Self::InvalidCode => "invalid_otp_code",
            Self::MissingCode => "missing_otp_code",
        }
    }
}

/// Consecutive failed attempts under one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Failures {
    /// Number of attempts.
    pub count: u32,
    /// Time of the last attempt, if there was one.
    pub last: Option<Timestamp>,
}

impl Failures {
    /// Returns these failures and one more.
    #[must_use]
    pub const fn plus_one(self, at: Timestamp) -> Self {
        Self {
            count: self.count.saturating_add(1),
            last: Some(at),
        }
    }
}

/// The name of a login attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempted {
    /// The name of a user.
    User(UserId),
    /// A name that no user has. Only its keyed hash is kept, because people mistakenly enter
    /// passwords as names.
    UnknownName(NameHash),
}

/// Keyed hash of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NameHash(pub [u8; 16]);

/// A second factor: one-time codes (TOTP, RFC 6238) and backup codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecondFactor {
    /// The secret shared with the user's authenticator, sealed.
    pub secret: Sealed,
    /// Fingerprint of that secret.
    pub fingerprint: SecretFingerprint,
    /// The last time step of an accepted code. Codes of this step and of earlier ones are rejected
    /// (RFC 6238, section 5.2).
    pub last_step: u64,
    /// Unused backup codes.
    pub backup_codes: Vec<CodeHash>,
    /// Unused imported backup codes, with the hashes of their origin.
    pub imported_codes: Vec<ImportedCode>,
}

/// Maximum number of secrets of earlier second factors kept for a user.
pub const MAX_USED_SECRETS: usize = 16;

/// Keyed fingerprint of the secret of a second factor, bound to its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretFingerprint(pub [u8; 16]);

impl SecretFingerprint {
    /// Placeholder for an imported secret, until the import computes the fingerprint.
    pub const UNKNOWN: Self = Self([0; 16]);
}

/// The secret of an earlier second factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsedSecret {
    /// Fingerprint of the secret.
    pub fingerprint: SecretFingerprint,
    /// The last time step of an accepted code.
    pub last_step: u64,
}

impl SecondFactor {
    /// Uses a code up, so that it is never accepted again. Returns `false` if the code does not
    /// exist or is used already.
    pub fn take(&mut self, code: &CodeUse) -> bool {
        match code {
            CodeUse::Step(step) if *step > self.last_step => {
                self.last_step = *step;
                true
            }
            CodeUse::Step(_) => false,
            CodeUse::Backup(hash) => {
                let taken = self.backup_codes.extract_if(.., |code| code == hash);
                taken.count() > 0
            }
            CodeUse::Imported(id) => {
                let taken = self.imported_codes.extract_if(.., |code| code.id() == *id);
                taken.count() > 0
            }
        }
    }
}

/// A correct code that the store has to use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeUse {
    /// A one-time code of this time step.
    Step(u64),
    /// A backup code.
    Backup(CodeHash),
    /// An imported backup code.
    Imported(ImportedCodeId),
}

/// An imported backup code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedCode {
    /// The record that the code is checked against.
    pub record: PasswordRecord,
    /// Time from which the code is rejected; `None` for never.
    pub expires_at: Option<Timestamp>,
}

/// Id of an imported code: the SHA-256 of its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportedCodeId([u8; 32]);

impl ImportedCode {
    /// Returns the id of the code.
    #[must_use]
    pub fn id(&self) -> ImportedCodeId {
        ImportedCodeId(Sha256::digest(self.record.expose()).into())
    }
}

/// Id of an API token: ids count from 1 and are never reused.
pub type ApiTokenId = u64;

/// An API token as the store keeps it, with its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiToken {
    /// Assigned by the store.
    pub id: ApiTokenId,
    /// The name, unique among the tokens of the user.
    pub name: String,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Time from which the token is invalid; `None` for never.
    pub expires_at: Option<Timestamp>,
    /// The record that the token is checked against.
    pub record: ApiTokenRecord,
}

impl ApiToken {
    /// Returns whether the token has expired.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// The record that an API token is checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiTokenRecord {
    /// The SHA-256 of the whole token. The token has 192 random bits, so a fast hash is enough.
    Hash(TokenHash),
    /// The hash of its origin. The first use of the token replaces it by a [`Hash`](Self::Hash).
    Imported(PasswordRecord),
}

/// Fingerprint of the foreign database row that a user was imported from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin(pub [u8; 16]);

/// Keyed hash of a backup code.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CodeHash(pub [u8; 32]);

impl fmt::Debug for CodeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodeHash(…)")
    }
}

/// A secret encrypted with a key of the working directory.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(pub Vec<u8>);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(…)")
    }
}

/// The hash that a password is checked against: an Argon2id hash as a PHC string, or an imported
/// hash in a form that `credentials/imported.rs` parses.
///
/// It cannot be printed, because an attacker can use it to guess the password.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordRecord(String);

impl PasswordRecord {
    /// Wraps the text of a hash.
    #[must_use]
    pub const fn new(phc: String) -> Self {
        Self(phc)
    }

    /// Returns the text of the hash, for the store and the password check.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordRecord(…)")
    }
}

/// SHA-256 of a session token or API token. Both are random, so a fast hash is enough.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenHash(pub [u8; 32]);

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// Id of one delivery of one message. It is never reused, even if Redis loses data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryId {
    /// Random run id of the process that fetched the message.
    pub run_id: [u8; 16],
    /// Number of the batch in that run.
    pub batch: u64,
    /// Position in the batch.
    pub position: u32,
}

impl DeliveryId {
    /// Length of the byte form.
    pub const BYTES: usize = 28;

    /// Returns the byte form. It is big-endian, so that it sorts as the numbers do.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.run_id);
        bytes[16..24].copy_from_slice(&self.batch.to_be_bytes());
        bytes[24..].copy_from_slice(&self.position.to_be_bytes());
        bytes
    }

    /// Returns the context (associated data) with which the outcome of the delivery is sealed.
    #[must_use]
    pub fn outcome_context(&self) -> Vec<u8> {
        [b"outcome:", &self.to_bytes()[..]].concat()
    }

    /// Parses the byte form; returns `None` for another length.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let (run_id, rest) = bytes.split_first_chunk::<16>()?;
        let (batch, position) = rest.split_first_chunk::<8>()?;
        Some(Self {
            run_id: *run_id,
            batch: u64::from_be_bytes(*batch),
            position: u32::from_be_bytes(position.try_into().ok()?),
        })
    }
}
