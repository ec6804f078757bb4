//! What the session cache has to forget of a group.

use super::Group;
use crate::model::Profile;
use crate::store::Result;
use crate::store::sled::session_cache::Stale;
use crate::store::sled::{lookup::Lookup as _, records};

impl Group<'_> {
    /// What is no longer known of sessions once the group is written.
    pub(in crate::store::sled) fn stale_sessions(&self) -> Result<Stale> {
        let mut stale = Stale::default();
        for (key, value) in &self.changes {
            if key.starts_with(records::SESSIONS) {
                stale.tokens.push(records::token_of_key(key)?);
            } else if key.starts_with(records::USERS) {
                let id = records::number(&key[records::USERS.len()..])?;
                // Nobody has seen a session of a user that was not there.
                let Some(before) = self.tree.user(id)? else {
                    continue;
                };
                let after = value.as_ref().map(|v| records::decode_user(id, v));
                if after.transpose()?.map(Profile::from) != Some(before.into()) {
                    stale.users.push(id);
                }
            }
        }
        Ok(stale)
    }
}
