//! JSON form of users and sessions, for the database and for exports.
//!
//! A user is one record with all its data, so that deleting the record deletes all of it.

use chrono::DateTime;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::model::{
    ApiToken, ApiTokenId, ApiTokenRecord, CodeHash, Failures, ImportedCode, Origin, PasswordRecord,
    Sealed, SecondFactor, SecretFingerprint, Session, TokenHash, UsedSecret, User, UserId,
};

/// Malformed part of a record. The error quotes no data of the record.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("{0} is malformed")]
pub struct Malformed(pub &'static str);

/// What is malformed if any part of a second factor is.
const SECOND_FACTOR: &str = "a second factor";

/// User in its JSON form.
#[derive(Serialize, Deserialize)]
pub struct UserRecord {
    username: String,
    created_at: i64,
    password: String,
    generation: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    second_factor: Option<SecondFactorRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    used_secrets: Vec<UsedSecretFields>,
    #[serde(default, skip_serializing_if = "is_zero")]
    failures: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    failed_at: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    api_tokens: Vec<ApiTokenFields>,
    /// Hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    token_names: Vec<String>,
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

#[derive(Serialize, Deserialize)]
struct SecondFactorRecord {
    /// Sealed, hexadecimal.
    secret: String,
    /// Hexadecimal. Missing in exports of older versions.
    #[serde(default)]
    fingerprint: Option<String>,
    last_step: u64,
    /// Keyed hashes, hexadecimal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    backup_codes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    imported_codes: Vec<ImportedCodeFields>,
}

#[derive(Serialize, Deserialize)]
struct UsedSecretFields {
    /// Hexadecimal.
    fingerprint: String,
    last_step: u64,
}

#[derive(Serialize, Deserialize)]
struct ImportedCodeFields {
    record: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct ApiTokenFields {
    id: ApiTokenId,
    name: String,
    created_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
    /// SHA-256 of the token, hexadecimal. Exactly one of `hash` and `imported` is present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    /// Imported hash record of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    imported: Option<String>,
}

impl UserRecord {
    /// Returns the record of a user, without its id.
    #[must_use]
    pub fn of(user: &User) -> Self {
        Self {
            username: user.username.clone(),
            created_at: user.created_at.timestamp_micros(),
            password: user.password.expose().to_owned(),
            generation: user.generation,
            used_secrets: user.used_secrets.iter().map(UsedSecretFields::of).collect(),
            failures: user.failures.count,
            failed_at: user.failures.last.map_or(0, |at| at.timestamp_micros()),
            second_factor: user.second_factor.as_ref().map(SecondFactorRecord::of),
            api_tokens: user.api_tokens.iter().map(ApiTokenFields::of).collect(),
            origin: user.origin.map(|origin| hex::encode(origin.0)),
            token_names: user.token_names.clone(),
        }
    }

    /// Returns the user of the record, with that id.
    ///
    /// # Errors
    /// If a part of the record is malformed.
    pub fn into_user(self, id: UserId) -> Result<User, Malformed> {
        let second_factor = self.second_factor.map(SecondFactorRecord::read);
        let origin = self.origin.map(|hex| fixed(&hex, "an origin"));
        Ok(User {
            id,
            username: self.username,
            created_at: timestamp(self.created_at)?,
            password: PasswordRecord::new(self.password),
            generation: self.generation,
            second_factor: second_factor.transpose()?,
            used_secrets: read_all(self.used_secrets, UsedSecretFields::read)?,
            failures: failures(self.failures, self.failed_at)?,
            api_tokens: read_all(self.api_tokens, ApiTokenFields::read)?,
            origin: origin.transpose()?.map(Origin),
            token_names: self.token_names,
        })
    }
}

impl SecondFactorRecord {
    fn of(factor: &SecondFactor) -> Self {
        let codes = factor.backup_codes.iter();
        let imported = factor.imported_codes.iter();
        let imported = imported.map(|code| ImportedCodeFields {
            record: code.record.expose().to_owned(),
            expires_at: code.expires_at.map(|at| at.timestamp_micros()),
        });
        Self {
            secret: hex::encode(&factor.secret.0),
            fingerprint: Some(hex::encode(factor.fingerprint.0)),
            last_step: factor.last_step,
            backup_codes: codes.map(|code| hex::encode(code.0)).collect(),
            imported_codes: imported.collect(),
        }
    }

    fn read(self) -> Result<SecondFactor, Malformed> {
        let code = |hex: String| fixed(&hex, SECOND_FACTOR).map(CodeHash);
        let imported = |code: ImportedCodeFields| {
            Ok(ImportedCode {
                record: PasswordRecord::new(code.record),
                expires_at: code.expires_at.map(timestamp).transpose()?,
            })
        };
        Ok(SecondFactor {
            secret: Sealed(hex::decode(&self.secret).map_err(|_| Malformed(SECOND_FACTOR))?),
            fingerprint: match self.fingerprint {
                Some(hex) => fingerprint(&hex)?,
                None => SecretFingerprint::UNKNOWN,
            },
            last_step: self.last_step,
            backup_codes: read_all(self.backup_codes, code)?,
            imported_codes: read_all(self.imported_codes, imported)?,
        })
    }
}

impl UsedSecretFields {
    fn of(used: &UsedSecret) -> Self {
        Self {
            fingerprint: hex::encode(used.fingerprint.0),
            last_step: used.last_step,
        }
    }

    fn read(self) -> Result<UsedSecret, Malformed> {
        Ok(UsedSecret {
            fingerprint: fingerprint(&self.fingerprint)?,
            last_step: self.last_step,
        })
    }
}

fn fingerprint(hex: &str) -> Result<SecretFingerprint, Malformed> {
    fixed(hex, SECOND_FACTOR).map(SecretFingerprint)
}

impl ApiTokenFields {
    fn of(token: &ApiToken) -> Self {
        let (hash, imported) = match &token.record {
            ApiTokenRecord::Hash(hash) => (Some(hex::encode(hash.0)), None),
            ApiTokenRecord::Imported(record) => (None, Some(record.expose().to_owned())),
        };
        Self {
            id: token.id,
            name: token.name.clone(),
            created_at: token.created_at.timestamp_micros(),
            expires_at: token.expires_at.map(|at| at.timestamp_micros()),
            hash,
            imported,
        }
    }

    fn read(self) -> Result<ApiToken, Malformed> {
        let record = match (self.hash, self.imported) {
            (Some(hash), None) => ApiTokenRecord::Hash(TokenHash(fixed(&hash, "an API token")?)),
            (None, Some(record)) => ApiTokenRecord::Imported(PasswordRecord::new(record)),
            _ => return Err(Malformed("an API token")),
        };
        Ok(ApiToken {
            id: self.id,
            name: self.name,
            created_at: timestamp(self.created_at)?,
            expires_at: self.expires_at.map(timestamp).transpose()?,
            record,
        })
    }
}

/// Session in its JSON form. The token hash is the key, outside of the record.
#[derive(Serialize, Deserialize)]
pub struct SessionRecord {
    user_id: UserId,
    generation: u64,
    created_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
    /// Missing if it equals `created_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used_at: Option<i64>,
}

impl SessionRecord {
    /// Returns the record of a session, without its token hash.
    #[must_use]
    pub fn of(session: &Session) -> Self {
        Self {
            user_id: session.user_id,
            generation: session.generation,
            created_at: session.created_at.timestamp_micros(),
            expires_at: session.expires_at.map(|at| at.timestamp_micros()),
            used_at: (session.used_at != session.created_at)
                .then(|| session.used_at.timestamp_micros()),
        }
    }

    /// Returns the session of the record, with that token hash.
    ///
    /// # Errors
    /// If a part of the record is malformed.
    pub fn into_session(self, token: TokenHash) -> Result<Session, Malformed> {
        Ok(Session {
            token,
            user_id: self.user_id,
            generation: self.generation,
            created_at: timestamp(self.created_at)?,
            expires_at: self.expires_at.map(timestamp).transpose()?,
            used_at: timestamp(self.used_at.unwrap_or(self.created_at))?,
        })
    }
}

/// Returns failures from their count and the time of the last one in microseconds, 0 for none.
pub(super) fn failures(count: u32, micros: i64) -> Result<Failures, Malformed> {
    Ok(Failures {
        count,
        last: (micros != 0).then(|| timestamp(micros)).transpose()?,
    })
}

fn read_all<R, T>(
    records: Vec<R>,
    read: impl Fn(R) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    records.into_iter().map(read).collect()
}

fn timestamp(micros: i64) -> Result<Timestamp, Malformed> {
    DateTime::from_timestamp_micros(micros).ok_or(Malformed("a time"))
}

/// Decodes a fixed number of bytes from hexadecimal.
fn fixed<const N: usize>(hex: &str, what: &'static str) -> Result<[u8; N], Malformed> {
    let mut bytes = [0; N];
    hex::decode_to_slice(hex, &mut bytes).map_err(|_| Malformed(what))?;
    Ok(bytes)
}
