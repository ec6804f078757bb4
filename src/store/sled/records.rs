//! How records and keys stand in the database.
//!
//! One key space, so that a whole group of operations is one atomic batch:
//!
//! | key | value |
//! |---|---|
//! | `m:schema` | schema version of the store, u32 |
//! | `m:commit` | number of the last committed group, u64 |
//! | `m:users` | how many users there are, u64 |
//! | `m:next_user_id` | the next id to give, u64 |
//! | `n:<username>` | id of the user of that name, u64 |
//! | `u:<id>` | a user: a version byte, then JSON |
//! | `s:<token hash>` | a session: a version byte, then JSON |
//! | `x:<user id><token hash>` | nothing: the sessions of each user |
//! | `t:<name hash>` | failed attempts under a name that nobody has |
//! | `a:<time><name hash>` | nothing: those names, the longest ago first |
//! | `m:attempted` | how many of them there are, u64 |
//! | `o:<delivery id>` | the outcome of an operation, sealed by its caller |
//! | `m:next_token_id` | the next id of an API token to give, u64 |
//! | `m:imported_tokens` | how many users have API tokens as they were imported, u64 |
//! | `y:<length><name><user id>` | nothing: users by the name in their imported API tokens, where it is another |
//! | `i:<origin>` | id of the user that was imported from there, u64, also when it is gone |
//! | `m:arriving` | the first id of users who are being imported, u64: they are not all here |
//! | `m:hash_key` | the key of the keyed hashes, sealed |
//!
//! Numbers are big-endian, so that ids sort as numbers do.

use serde::{Serialize, de::DeserializeOwned};

use crate::clock::Timestamp;
use crate::model::{DeliveryId, Failures, NameHash, Origin, Session, TokenHash, User, UserId};
use crate::store::StoreError;
use crate::store::record::{self, Malformed, SessionRecord, UserRecord};

/// Schema version of the databases that this code reads and writes. Any other is refused.
pub const SCHEMA_VERSION: u32 = 5;

pub const SCHEMA: &[u8] = b"m:schema";
pub const COMMIT: &[u8] = b"m:commit";
pub const USER_COUNT: &[u8] = b"m:users";
pub const NEXT_USER_ID: &[u8] = b"m:next_user_id";
pub const NEXT_TOKEN_ID: &[u8] = b"m:next_token_id";
pub const USERS: &[u8] = b"u:";
pub const ARRIVING: &[u8] = b"m:arriving";
pub const IMPORTED_TOKENS: &[u8] = b"m:imported_tokens";
pub const SESSIONS: &[u8] = b"s:";

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

/// Beginning of the keys of users who have a name in their imported API
/// tokens. The length keeps names apart of which one begins with the other.
pub fn token_name(name: &str) -> Vec<u8> {
    let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
    [b"y:", &length.to_be_bytes()[..], name.as_bytes()].concat()
}

pub fn token_name_key(name: &str, id: UserId) -> Vec<u8> {
    [token_name(name).as_slice(), &id.to_be_bytes()].concat()
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

/// Key under which a name stands in the order of time.
pub fn attempt_time_key(last: Option<Timestamp>, name: &NameHash) -> Vec<u8> {
    let micros = last.map_or(0, |at| at.timestamp_micros()).max(0);
    [ATTEMPT_TIMES, &micros.to_be_bytes(), &name.0].concat()
}

pub fn name_of_time_key(key: &[u8]) -> Result<NameHash, StoreError> {
    key.get(ATTEMPT_TIMES.len() + 8..)
        .and_then(|name| <[u8; 16]>::try_from(name).ok())
        .map(NameHash)
        .ok_or_else(|| corrupt("the time of an attempt"))
}

/// A count and a time in microseconds, 0 for none.
pub fn encode_failures(failures: Failures) -> Vec<u8> {
    let micros = failures.last.map_or(0, |at| at.timestamp_micros());
    [&failures.count.to_be_bytes()[..], &micros.to_be_bytes()].concat()
}

pub fn decode_failures(bytes: &[u8]) -> Result<Failures, StoreError> {
    let (count, micros) = bytes
        .split_first_chunk::<4>()
        .ok_or_else(|| corrupt("a count of failures"))?;
    let micros = <[u8; 8]>::try_from(micros).map_err(|_| corrupt("a count of failures"))?;
    Ok(record::failures(
        u32::from_be_bytes(*count),
        i64::from_be_bytes(micros),
    )?)
}

/// Beginning of the keys of a user's sessions.
pub fn user_sessions(id: UserId) -> Vec<u8> {
    [b"x:", &id.to_be_bytes()[..]].concat()
}

pub fn user_session_key(session: &Session) -> Vec<u8> {
    [user_sessions(session.user_id).as_slice(), &session.token.0].concat()
}

pub fn token_of_user_key(key: &[u8], prefix: &[u8]) -> Result<TokenHash, StoreError> {
    key.strip_prefix(prefix)
        .and_then(|hash| <[u8; 32]>::try_from(hash).ok())
        .map(TokenHash)
        .ok_or_else(|| corrupt("a key of a user's session"))
}

/// Of the key of a session among those of any user.
pub fn token_of_user_sessions(key: &[u8]) -> Result<TokenHash, StoreError> {
    let length = user_sessions(0).len();
    token_of_user_key(key, key.get(..length).unwrap_or_default())
}

pub fn token_of_key(key: &[u8]) -> Result<TokenHash, StoreError> {
    key.strip_prefix(SESSIONS)
        .and_then(|hash| <[u8; 32]>::try_from(hash).ok())
        .map(TokenHash)
        .ok_or_else(|| corrupt("a session key"))
}

pub fn number(bytes: &[u8]) -> Result<u64, StoreError> {
    <[u8; 8]>::try_from(bytes)
        .map(u64::from_be_bytes)
        .map_err(|_| corrupt("a number"))
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
        // The cause is left out: serde's messages can quote what they read.
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
