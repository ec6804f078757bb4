//! Reads of many records of the tree.

use std::ops::Bound;

use super::lookup::Lookup as _;
use super::{engine_error, records};
use crate::model::{Session, SessionRules, TokenHash, User, UserId};
use crate::store::{Page, Result};

pub(super) fn users_from(
    tree: &::sled::Tree,
    from: UserId,
    limit: usize,
) -> Result<Page<User, UserId>> {
    let mut items = Vec::new();
    for entry in tree.range(records::user_key(from)..=records::user_key(UserId::MAX)) {
        let (key, bytes) = entry.map_err(engine_error)?;
        let id = records::number(&key[records::USERS.len()..])?;
        if items.len() == limit {
            return Ok(Page {
                items,
                next: Some(id),
            });
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
    let last = records::session_key(&TokenHash([0xff; 32]));
    for (seen, entry) in tree.range(records::session_key(&from)..=last).enumerate() {
        let (key, bytes) = entry.map_err(engine_error)?;
        let token = records::token_of_key(&key)?;
        if seen == limit {
            return Ok(Page {
                items,
                next: Some(token),
            });
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
    tree.scan_prefix(records::USERS)
        .map(|entry| {
            let (key, bytes) = entry.map_err(engine_error)?;
            let id = records::number(&key[records::USERS.len()..])?;
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
    for entry in tree.scan_prefix(&prefix) {
        let (key, _) = entry.map_err(engine_error)?;
        let token = records::token_of_user_session_key(&key, &prefix)?;
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
    for entry in tree.scan_prefix(&prefix) {
        let (key, _) = entry.map_err(engine_error)?;
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
    let start = after.map_or(Bound::Included(records::SESSIONS.to_vec()), |token| {
        Bound::Excluded(records::session_key(&token))
    });
    let mut dead = Vec::new();
    let mut seen = 0;
    for entry in tree.range((start, Bound::Unbounded)) {
        let (key, bytes) = entry.map_err(engine_error)?;
        if !key.starts_with(records::SESSIONS) {
            break;
        }
        let token = records::token_of_key(&key)?;
        let session = records::decode_session(token, &bytes)?;
        let user = tree.user(session.user_id)?;
        if !user.is_some_and(|user| session.is_valid(&user, rules)) {
            dead.push(token);
        }
        seen += 1;
        if seen == limit {
            return Ok((dead, Some(token)));
        }
    }
    Ok((dead, None))
}
