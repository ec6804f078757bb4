//! Keys and records of the database.
//!
//! A single key space makes a group of operations one atomic batch of one tree: sled 0.34 was seen
//! to hang in transactions over several trees.
//!
//! | key | value |
//! |---|---|
//! | `m:schema` | schema version of the store, u32 |
//! | `m:commit` | number of the last committed group, u64 |
//! | `m:users` | number of users, u64 |
//! | `m:next_user_id` | next user id, u64 |
//! | `n:<username>` | id of the user with that name, u64 |
//! | `u:<id>` | user: a version byte, then JSON |
//! | `s:<token hash>` | session: a version byte, then JSON |
//! | `x:<user id><token hash>` | empty: index of sessions by user |
//! | `t:<name hash>` | failed attempts under an unknown name |
//! | `a:<time><name hash>` | empty: index of unknown names by last attempt, the oldest first |
//! | `m:attempted` | number of unknown names with failures, u64 |
//! | `o:<delivery id>` | outcome of an operation, sealed by its caller |
//! | `m:next_token_id` | next API token id, u64 |
//! | `m:imported_tokens` | number of users with tokens that still have an imported record, u64 |
//! | `y:<length><name><user id>` | empty: index of users by other names in their API tokens |
//! | `i:<origin>` | id of the user imported from that origin, u64, kept after the user is deleted |
//! | `m:arriving` | first user id of an import in progress, u64 |
//! | `m:hash_key` | key of the keyed hashes, sealed |
//!
//! Numbers are big-endian, so that keys sort by number.

use serde::{Serialize, de::DeserializeOwned};

use crate::clock::Timestamp;
use crate::model::{DeliveryId, Failures, NameHash, Origin, Session, TokenHash, User, UserId};
use crate::store::StoreError;
use crate::store::record::{self, Malformed, SessionRecord, UserRecord};

/// Schema version that this code reads and writes. A database with another version is refused.
pub const SCHEMA_VERSION: u32 = 5;

pub const SCHEMA: &[u8] = b"m:schema";
pub const COMMIT: &[u8] = b"m:commit";
pub const USER_COUNT: &[u8] = b"m:users";
pub const NEXT_USER_ID: &[u8] = b"m:next_user_id";
pub const NEXT_TOKEN_ID: &[u8] = b"m:next_token_id";
pub const USERS: &[u8] = b"u:";
pub const IMPORT_IN_PROGRESS: &[u8] = b"m:arriving";
pub const IMPORTED_TOKENS: &[u8] = b"m:imported_tokens";
pub const SESSIONS: &[u8] = b"s:";
pub const USER_SESSIONS: &[u8] = b"x:";
pub const OUTCOMES: &[u8] = b"o:";
pub const HASH_KEY: &[u8] = b"m:hash_key";

pub fn outcome_key(delivery: &DeliveryId) -> Vec<u8> {
    [OUTCOMES, &delivery.to_bytes()].concat()
}

pub fn delivery_of_key(key: &[u8]) -> Result<DeliveryId, StoreError> {
    key.strip_prefix(OUTCOMES)
        .and_then(DeliveryId::from_bytes)
        .ok_or_else(|| corrupt("an outcome's key"))
}

pub fn user_key(id: UserId) -> Vec<u8> {
    [USERS, &id.to_be_bytes()].concat()
}

pub fn name_key(username: &str) -> Vec<u8> {
    [b"n:", username.as_bytes()].concat()
}

/// Returns the key prefix of the users with that name in their API tokens. The length
/// distinguishes a name from longer names that begin with it.
pub fn token_name_prefix(name: &str) -> Vec<u8> {
    let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
    [b"y:", &length.to_be_bytes()[..], name.as_bytes()].concat()
}

pub fn token_name_key(name: &str, id: UserId) -> Vec<u8> {
    [token_name_prefix(name).as_slice(), &id.to_be_bytes()].concat()
}

pub fn user_of_token_name_key(key: &[u8], prefix: &[u8]) -> Result<UserId, StoreError> {
    number(key.strip_prefix(prefix).unwrap_or_default())
}

pub fn origin_key(origin: Origin) -> Vec<u8> {
    [b"i:", &origin.0[..]].concat()
}

pub fn session_key(token: &TokenHash) -> Vec<u8> {
    [SESSIONS, &token.0].concat()
}

pub const ATTEMPTED_COUNT: &[u8] = b"m:attempted";
pub const ATTEMPT_TIMES: &[u8] = b"a:";

pub fn attempts_key(name: &NameHash) -> Vec<u8> {
    [b"t:", &name.0[..]].concat()
}

/// Returns the key of an unknown name in the index by last attempt.
pub fn attempt_time_key(last: Option<Timestamp>, name: &NameHash) -> Vec<u8> {
    let micros = last.map_or(0, |at| at.timestamp_micros()).max(0);
    [ATTEMPT_TIMES, &micros.to_be_bytes(), &name.0].concat()
}

pub fn name_of_time_key(key: &[u8]) -> Result<NameHash, StoreError> {
    let name = key.get(ATTEMPT_TIMES.len() + 8..);
    array(name, "the time of an attempt").map(NameHash)
}

/// Encodes the count and the time of the last failure in microseconds, 0 for none.
pub fn encode_failures(failures: Failures) -> Vec<u8> {
    let micros = failures.last.map_or(0, |at| at.timestamp_micros());
    [&failures.count.to_be_bytes()[..], &micros.to_be_bytes()].concat()
}

pub fn decode_failures(bytes: &[u8]) -> Result<Failures, StoreError> {
    let what = "a count of failures";
    let count = u32::from_be_bytes(array(bytes.get(..4), what)?);
    let micros = i64::from_be_bytes(array(bytes.get(4..), what)?);
    Ok(record::failures(count, micros)?)
}

/// Returns the key prefix of a user's sessions.
pub fn user_sessions_prefix(id: UserId) -> Vec<u8> {
    [USER_SESSIONS, &id.to_be_bytes()].concat()
}

pub fn user_session_key(session: &Session) -> Vec<u8> {
    let prefix = user_sessions_prefix(session.user_id);
    [prefix.as_slice(), &session.token.0].concat()
}

pub fn token_of_user_session_key(key: &[u8]) -> Result<TokenHash, StoreError> {
    let hash = key.get(USER_SESSIONS.len() + 8..);
    array(hash, "a key of a user's session").map(TokenHash)
}

pub fn token_of_key(key: &[u8]) -> Result<TokenHash, StoreError> {
    array(key.strip_prefix(SESSIONS), "a session key").map(TokenHash)
}

pub fn number(bytes: &[u8]) -> Result<u64, StoreError> {
    array(Some(bytes), "a number").map(u64::from_be_bytes)
}

/// Returns a part of a key or value that must have `N` bytes.
fn array<const N: usize>(part: Option<&[u8]>, what: &str) -> Result<[u8; N], StoreError> {
    part.and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| corrupt(what))
}

/// Version byte of user and session records.
const RECORD_VERSION: u8 = 1;

pub fn encode_user(user: &User) -> Result<Vec<u8>, StoreError> {
    encode(&UserRecord::of(user))
}

pub fn decode_user(id: UserId, bytes: &[u8]) -> Result<User, StoreError> {
    Ok(decode::<UserRecord>(bytes, "a user record")?.into_user(id)?)
}

pub fn encode_session(session: &Session) -> Result<Vec<u8>, StoreError> {
    encode(&SessionRecord::of(session))
}

pub fn decode_session(token: TokenHash, bytes: &[u8]) -> Result<Session, StoreError> {
    Ok(decode::<SessionRecord>(bytes, "a session record")?.into_session(token)?)
}

impl From<Malformed> for StoreError {
    fn from(Malformed(what): Malformed) -> Self {
        corrupt(what)
    }
}

fn encode(record: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![RECORD_VERSION];
    serde_json::to_writer(&mut bytes, record)
        .map_err(|_| StoreError::Engine("a record could not be written".into()))?;
    Ok(bytes)
}

fn decode<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, StoreError> {
    match bytes.split_first() {
        // The cause is omitted, because serde's messages can quote the data.
        Some((&RECORD_VERSION, json)) => serde_json::from_slice(json).map_err(|_| corrupt(what)),
        Some((version, _)) => Err(StoreError::Engine(format!(
            "{what} has version {version}, this program reads {RECORD_VERSION}"
        ))),
        None => Err(corrupt(what)),
    }
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Engine(format!("{what} is corrupt: restore a backup"))
}
