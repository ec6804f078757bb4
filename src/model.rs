//! Users and sessions: plain values and their rules. No envelope, no storage,
//! no hashing.

mod session;

use std::fmt;

use sha2::{Digest as _, Sha256};

pub use self::session::{Session, SessionLimits, SessionRules};
use serde::Serialize;

use crate::clock::Timestamp;

/// Number of a user: from 1, without gaps, never used again.
pub type UserId = u64;

/// A user as the store keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// Given by the store when the user is created.
    pub id: UserId,
    /// Compared byte for byte.
    pub username: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// What its password is checked against.
    pub password: PasswordRecord,
    /// Sessions carry the generation they were made under and are valid only
    /// under it: raising it ends all of them at once.
    pub generation: u64,
    /// The second factor, where it is switched on.
    pub second_factor: Option<SecondFactor>,
    /// The secrets of earlier second factors and the last step that each was
    /// used at, the latest one last; at most [`MAX_USED_SECRETS`].
    pub used_secrets: Vec<UsedSecret>,
    /// Failed attempts to be this user, since the last success.
    pub failures: Failures,
    /// What nodes and scripts use instead of the password, in the order in
    /// which they were made.
    pub api_tokens: Vec<ApiToken>,
    /// Where the user was imported from.
    pub origin: Option<Origin>,
    /// Names beside the user's that stand in its API tokens: those that it had
    /// where it was imported from, and what Platypush may see of its own.
    pub token_names: Vec<String>,
}

/// What a session shows of its user: nothing secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// As the user's.
    pub id: UserId,
    /// As the user's.
    pub username: String,
    /// As the user's.
    pub created_at: Timestamp,
    /// As the user's.
    pub generation: u64,
    /// Whether the second factor is switched on.
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
    /// A new user, with a name and a password and nothing else.
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

    /// Whether any of its API tokens was imported and not used since.
    #[must_use]
    pub fn has_imported_tokens(&self) -> bool {
        let imported = |token: &ApiToken| matches!(token.record, ApiTokenRecord::Imported(_));
        self.api_tokens.iter().any(imported)
    }

    /// Switches the second factor on or off. Steps belong to a secret: the used
    /// ones stay used when the same secret comes back, and block no other one,
    /// even where the clock was ahead when they were used.
    pub fn set_second_factor(&mut self, factor: Option<SecondFactor>) {
        if let Some(earlier) = &self.second_factor {
            let SecondFactor {
                fingerprint,
                last_step,
                ..
            } = *earlier;
            self.used_secrets
                .retain(|used| used.fingerprint != fingerprint);
            self.used_secrets.push(UsedSecret {
                fingerprint,
                last_step,
            });
            let over = self.used_secrets.len().saturating_sub(MAX_USED_SECRETS);
            self.used_secrets.drain(..over);
        }
        self.second_factor = factor.map(|mut factor| {
            let used = self.used_secrets.iter();
            let mut same = used.filter(|used| used.fingerprint == factor.fingerprint);
            let last_step = same.next().map_or(0, |used| used.last_step);
            factor.last_step = factor.last_step.max(last_step);
            factor
        });
    }
}

/// Why a login was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Reason {
    /// It was not.
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
    /// As it stands in the reply.
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
    /// How many.
    pub count: u32,
    /// When the last one was; none where there was none.
    pub last: Option<Timestamp>,
}

impl Failures {
    /// With one more.
    #[must_use]
    pub const fn and_one(self, at: Timestamp) -> Self {
        Self {
            count: self.count.saturating_add(1),
            last: Some(at),
        }
    }
}

/// Under which name an attempt was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempted {
    /// That of a user.
    User(UserId),
    /// That of nobody: names are kept as keyed hashes, because people type
    /// passwords where names belong.
    UnknownName(NameHash),
}

/// Keyed hash of a name that nobody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NameHash(pub [u8; 16]);

/// A second factor: one-time codes by RFC 6238, and backup codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecondFactor {
    /// The secret shared with the user's authenticator, sealed.
    pub secret: Sealed,
    /// Fingerprint of that secret.
    pub fingerprint: SecretFingerprint,
    /// The last time step a code was accepted for. Neither it nor an earlier
    /// one is accepted again (RFC 6238, section 5.2).
    pub last_step: u64,
    /// The backup codes that are left.
    pub backup_codes: Vec<CodeHash>,
    /// Those that were imported: they are hashed as their maker did.
    pub imported_codes: Vec<ImportedCode>,
}

/// Most secrets of earlier second factors of a user that are kept.
pub const MAX_USED_SECRETS: usize = 16;

/// Keyed fingerprint of the secret of a second factor, bound to its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretFingerprint(pub [u8; 16]);

impl SecretFingerprint {
    /// Stands for the fingerprint of a secret that is imported: the import makes it.
    pub const UNKNOWN: Self = Self([0; 16]);
}

/// The secret of an earlier second factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsedSecret {
    /// Which secret.
    pub fingerprint: SecretFingerprint,
    /// The last time step a code of it was accepted for.
    pub last_step: u64,
}

impl SecondFactor {
    /// Takes a code, so that it is never accepted again. `false` where it is
    /// not there to be taken, or no longer.
    pub fn take(&mut self, code: &CodeUse) -> bool {
        match code {
            CodeUse::Step(step) if *step > self.last_step => {
                self.last_step = *step;
                true
            }
            CodeUse::Step(_) => false,
            CodeUse::Backup(hash) => {
                let before = self.backup_codes.len();
                self.backup_codes.retain(|code| code != hash);
                self.backup_codes.len() < before
            }
            CodeUse::Imported(id) => {
                let before = self.imported_codes.len();
                self.imported_codes.retain(|code| code.id() != *id);
                self.imported_codes.len() < before
            }
        }
    }
}

/// A code that was right, as the store takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeUse {
    /// A one-time code, good for this time step.
    Step(u64),
    /// A backup code.
    Backup(CodeHash),
    /// A backup code that was imported, by its record.
    Imported(ImportedCodeId),
}

/// A backup code that was made elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedCode {
    /// What it is checked against.
    pub record: PasswordRecord,
    /// From this moment on it is not accepted; `None` is never.
    pub expires_at: Option<Timestamp>,
}

/// Which imported code: the SHA-256 of its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportedCodeId([u8; 32]);

impl ImportedCode {
    /// Which one it is.
    #[must_use]
    pub fn id(&self) -> ImportedCodeId {
        ImportedCodeId(Sha256::digest(self.record.expose()).into())
    }
}

/// Number of an API token: from 1 on, never used again.
pub type ApiTokenId = u64;

/// An API token as the store keeps it, with its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiToken {
    /// Given by the store.
    pub id: ApiTokenId,
    /// What its user calls it; each of a user's has another.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// From this moment on it authenticates nobody; `None` is never.
    pub expires_at: Option<Timestamp>,
    /// What it is checked against.
    pub record: ApiTokenRecord,
}

impl ApiToken {
    /// Whether its time is over.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// What an API token is checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiTokenRecord {
    /// The SHA-256 of the whole token: it has 192 random bits.
    Hash(TokenHash),
    /// As its maker hashed it. Replaced by the other when it is used.
    Imported(PasswordRecord),
}

/// Fingerprint of the row of another database that a user was made of.
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

/// Something that only the keys of the working directory open.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(pub Vec<u8>);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(…)")
    }
}

/// What a password is checked against: an Argon2id hash as a PHC string, or a
/// hash that was imported, as `credentials/imported.rs` reads it.
///
/// Not a password, but what an attacker would want in order to guess it: it
/// cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordRecord(String);

impl PasswordRecord {
    /// Wraps a PHC string.
    #[must_use]
    pub const fn new(phc: String) -> Self {
        Self(phc)
    }

    /// The PHC string, for the store and the password check.
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

/// SHA-256 of a session token. The token has 256 random bits, so a fast hash
/// is enough: there is nothing to guess.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenHash(pub [u8; 32]);

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// Names one taking of one message: it is never used twice, whatever Redis
/// forgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryId {
    /// Random id of the process that took it.
    pub boot: [u8; 16],
    /// Number of the batch, counted by that process.
    pub batch: u64,
    /// Position in the batch.
    pub position: u32,
}

impl DeliveryId {
    /// Length of the byte form.
    pub const BYTES: usize = 28;

    /// The byte form: big-endian, so that it sorts as the numbers do.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.boot);
        bytes[16..24].copy_from_slice(&self.batch.to_be_bytes());
        bytes[24..].copy_from_slice(&self.position.to_be_bytes());
        bytes
    }

    /// Returns what the outcome of the delivery is sealed as.
    #[must_use]
    pub fn outcome_context(&self) -> Vec<u8> {
        [b"outcome:", &self.to_bytes()[..]].concat()
    }

    /// Reads the byte form.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let (boot, rest) = bytes.split_first_chunk::<16>()?;
        let (batch, position) = rest.split_first_chunk::<8>()?;
        Some(Self {
            boot: *boot,
            batch: u64::from_be_bytes(*batch),
            position: u32::from_be_bytes(position.try_into().ok()?),
        })
    }
}
