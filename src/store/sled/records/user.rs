//! A user with all that is kept of it: one record, so that what belongs to a
//! user goes with it.

use serde::{Deserialize, Serialize};

use super::{corrupt, decode, encode, failures, timestamp};
use crate::model::{
    ApiToken, ApiTokenId, ApiTokenRecord, CodeHash, ImportedCode, Origin, PasswordRecord, Sealed,
    SecondFactor, TokenHash, User, UserId,
};
use crate::store::StoreError;

#[derive(Serialize, Deserialize)]
struct UserRecord {
    username: String,
    created_at: i64,
    password: String,
    generation: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    second_factor: Option<SecondFactorRecord>,
    #[serde(default, skip_serializing_if = "is_zero")]
    spent_step: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    failures: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    failed_at: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    api_tokens: Vec<ApiTokenFields>,
    /// In hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_name: Option<String>,
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

#[derive(Serialize, Deserialize)]
struct SecondFactorRecord {
    /// Sealed; in hexadecimal.
    secret: String,
    last_step: u64,
    /// Keyed hashes; in hexadecimal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    backup_codes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    imported_codes: Vec<ImportedCodeFields>,
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
    /// SHA-256 in hexadecimal…
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    /// …or, instead, as it was imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    imported: Option<String>,
}

pub fn encode_user(user: &User) -> Result<Vec<u8>, StoreError> {
    encode(&UserRecord {
        username: user.username.clone(),
        created_at: user.created_at.timestamp_micros(),
        password: user.password.expose().to_owned(),
        generation: user.generation,
        spent_step: user.spent_step,
        failures: user.failures.count,
        failed_at: user.failures.last.map_or(0, |at| at.timestamp_micros()),
        second_factor: user.second_factor.as_ref().map(SecondFactorRecord::of),
        api_tokens: user.api_tokens.iter().map(ApiTokenFields::of).collect(),
        origin: user.origin.map(|origin| hex::encode(origin.0)),
        token_name: user.token_name.clone(),
    })
}

pub fn decode_user(id: UserId, bytes: &[u8]) -> Result<User, StoreError> {
    let record: UserRecord = decode(bytes, "a user record")?;
    let tokens = record.api_tokens.into_iter();
    Ok(User {
        id,
        username: record.username,
        created_at: timestamp(record.created_at)?,
        password: PasswordRecord::new(record.password),
        generation: record.generation,
        second_factor: record
            .second_factor
            .map(SecondFactorRecord::read)
            .transpose()?,
        spent_step: record.spent_step,
        failures: failures(record.failures, record.failed_at)?,
        api_tokens: tokens.map(ApiTokenFields::read).collect::<Result<_, _>>()?,
        origin: record
            .origin
            .map(|hex| fixed(&hex, "an origin").map(Origin))
            .transpose()?,
        token_name: record.token_name,
    })
}

impl SecondFactorRecord {
    fn of(factor: &SecondFactor) -> Self {
        let codes = factor.backup_codes.iter();
        let imported = factor.imported_codes.iter();
        Self {
            secret: hex::encode(&factor.secret.0),
            last_step: factor.last_step,
            backup_codes: codes.map(|code| hex::encode(code.0)).collect(),
            imported_codes: imported
                .map(|code| ImportedCodeFields {
                    record: code.record.expose().to_owned(),
                    expires_at: code.expires_at.map(|at| at.timestamp_micros()),
                })
                .collect(),
        }
    }

    fn read(self) -> Result<SecondFactor, StoreError> {
        let imported = |code: ImportedCodeFields| {
            Ok(ImportedCode {
                record: PasswordRecord::new(code.record),
                expires_at: code.expires_at.map(timestamp).transpose()?,
            })
        };
        Ok(SecondFactor {
            secret: Sealed(hex::decode(&self.secret).map_err(|_| corrupt("a second factor"))?),
            last_step: self.last_step,
            backup_codes: self
                .backup_codes
                .iter()
                .map(|hex| fixed(hex, "a second factor").map(CodeHash))
                .collect::<Result<_, _>>()?,
            imported_codes: self
                .imported_codes
                .into_iter()
                .map(imported)
                .collect::<Result<_, _>>()?,
        })
    }
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

    fn read(self) -> Result<ApiToken, StoreError> {
        let record = match (self.hash, self.imported) {
            (Some(hash), None) => ApiTokenRecord::Hash(TokenHash(fixed(&hash, "an API token")?)),
            (None, Some(record)) => ApiTokenRecord::Imported(PasswordRecord::new(record)),
            _ => return Err(corrupt("an API token")),
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

/// Bytes of known number from hexadecimal.
fn fixed<const N: usize>(hex: &str, what: &str) -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    hex::decode_to_slice(hex, &mut bytes).map_err(|_| corrupt(what))?;
    Ok(bytes)
}
