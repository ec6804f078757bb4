//! Reads of many records of the tree.

use std::ops::Bound;

use ::sled::IVec;

use super::lookup::Lookup as _;
use super::{engine_error, records};
use crate::model::{Session, SessionRules, TokenHash, User, UserId};
use crate::store::{Page, Result};

/// Returns the ids and records of all users with ids of at least `from`.
pub(super) fn user_records(
    tree: &::sled::Tree,
    from: UserId,
) -> impl Iterator<Item = Result<(UserId, IVec)>> {
    let keys = records::user_key(from)..=records::user_key(UserId::MAX);
    tree.range(keys).map(|entry| {
        let (key, bytes) = entry.map_err(engine_error)?;
        Ok((records::number(&key[records::USERS.len()..])?, bytes))
    })
}

/// Returns the token hashes and records of all sessions from a bound on.
fn session_records(
    tree: &::sled::Tree,
    from: Bound<TokenHash>,
) -> impl Iterator<Item = Result<(TokenHash, IVec)>> {
    let from = from.map(|token| records::session_key(&token));
    let last = records::session_key(&TokenHash([0xff; 32]));
    tree.range((from, Bound::Included(last))).map(|entry| {
        let (key, bytes) = entry.map_err(engine_error)?;
        Ok((records::token_of_key(&key)?, bytes))
    })
}

pub(super) fn users_from(
    tree: &::sled::Tree,
    from: UserId,
    limit: usize,
) -> Result<Page<User, UserId>> {
    let mut items = Vec::new();
    for entry in user_records(tree, from) {
        let (id, bytes) = entry?;
        if items.len() == limit {
            let next = Some(id);
            return Ok(Page { items, next });
        }
        items.push(records::decode_user(id, &bytes)?);
    }
    Ok(Page { items, next: None })
}

pub(super) fn sessions_from(
    tree: &::sled::Tree,
    from: TokenHash,
    limit: usize,
) -> Result<Page<Session, TokenHash>> {
    let mut items = Vec::new();
    for (seen, entry) in session_records(tree, Bound::Included(from)).enumerate() {
        let (token, bytes) = entry?;
        if seen == limit {
            let next = Some(token);
            return Ok(Page { items, next });
        }
        let session = records::decode_session(token, &bytes)?;
        let user = tree.user(session.user_id)?;
        if user.is_some_and(|user| session.belongs_to(&user)) {
            items.push(session);
        }
    }
    Ok(Page { items, next: None })
}

pub(super) fn all_users<T: From<User>>(tree: &::sled::Tree) -> Result<Vec<T>> {
    user_records(tree, 0)
        .map(|entry| {
            let (id, bytes) = entry?;
            records::decode_user(id, &bytes).map(T::from)
        })
        .collect()
}

pub(super) fn sessions_of(
    tree: &::sled::Tree,
    user: UserId,
    generation: u64,
) -> Result<Vec<Session>> {
    let prefix = records::user_sessions_prefix(user);
    let mut sessions = Vec::new();
    for key in tree.scan_prefix(prefix).keys() {
        let token = records::token_of_user_session_key(&key.map_err(engine_error)?)?;
        sessions.extend(
            tree.session_record(&token)?
                .filter(|session| session.is_of(user, generation)),
        );
    }
    // Sorted on this blocking thread, because a user may have many sessions.
    sessions.sort_unstable_by_key(|session| (session.created_at, session.token));
    Ok(sessions)
}

/// Returns whether any user has that name in its API tokens but another username.
pub(super) fn is_token_name(tree: &::sled::Tree, name: &str) -> Result<bool> {
    let first = tree.scan_prefix(records::token_name_prefix(name)).next();
    Ok(first.transpose().map_err(engine_error)?.is_some())
}

/// Returns the users that have that name in their API tokens but another username.
pub(super) fn users_by_token_name(tree: &::sled::Tree, name: &str) -> Result<Vec<User>> {
    let prefix = records::token_name_prefix(name);
    let mut users = Vec::new();
    for key in tree.scan_prefix(&prefix).keys() {
        let key = key.map_err(engine_error)?;
        users.extend(tree.user(records::user_of_token_name_key(&key, &prefix)?)?);
    }
    Ok(users)
}

/// Returns the dead sessions among up to `limit` sessions after `after`, and the last session
/// examined (`None` at the end).
pub(super) fn dead_sessions(
    tree: &::sled::Tree,
    after: Option<TokenHash>,
    limit: usize,
    rules: &SessionRules,
) -> Result<(Vec<TokenHash>, Option<TokenHash>)> {
    let from = after.map_or(Bound::Included(TokenHash([0; 32])), Bound::Excluded);
    let mut dead = Vec::new();
    for (seen, entry) in session_records(tree, from).enumerate() {
        let (token, bytes) = entry?;
        let session = records::decode_session(token, &bytes)?;
        let user = tree.user(session.user_id)?;
        if !user.is_some_and(|user| session.is_valid(&user, rules)) {
            dead.push(token);
        }
        if seen + 1 == limit {
            return Ok((dead, Some(token)));
        }
    }
    Ok((dead, None))
}
