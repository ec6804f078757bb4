//! Users who come from elsewhere.

use super::Group;
use crate::model::User;
use crate::store::sled::{lookup::Lookup as _, records};
use crate::store::{Arrivals, Result, StoreError};

impl Group<'_> {
    pub(in crate::store::sled) fn admit(&mut self, arrivals: Arrivals) -> Result<()> {
        let Arrivals {
            before,
            after,
            users,
            sessions,
            hash_key,
        } = arrivals;
        let is_new = before.user == 1;
        if self.next_ids()? != before || (hash_key.is_some() && !is_new) {
            return Err(StoreError::Changed);
        }
        for user in &users {
            self.check_is_absent(user)?;
        }
        let count = self.user_count()? + users.len() as u64;
        for user in users {
            self.put_arrival(user)?;
        }
        for session in sessions {
            // One of a user who is gone may not be swept yet.
            if let Some(old) = self.session_record(&session.token)? {
                self.remove_session(&old);
            }
            let record = records::encode_session(&session)?;
            self.put(records::session_key(&session.token), record);
            self.put(records::user_session_key(&session), Vec::new());
        }
        self.put_number(records::USER_COUNT.into(), count);
        self.put_number(records::NEXT_USER_ID.into(), after.user);
        self.put_number(records::NEXT_TOKEN_ID.into(), after.api_token);
        if let Some(sealed) = hash_key {
            self.set_hash_key(sealed);
        }
        Ok(())
    }

    fn check_is_absent(&self, user: &User) -> Result<()> {
        let origin = user.origin.map(records::origin_key);
        let has_come = match origin {
            Some(key) => self.get(&key)?.is_some(),
            None => false,
        };
        if has_come || self.id_of(&user.username)?.is_some() {
            return Err(StoreError::Changed);
        }
        Ok(())
    }

    fn put_arrival(&mut self, user: User) -> Result<()> {
        self.put_number(records::name_key(&user.username), user.id);
        if let Some(origin) = user.origin {
            self.put_number(records::origin_key(origin), user.id);
        }
        if let Some(name) = &user.token_name {
            self.put(records::token_name_key(name, user.id), Vec::new());
        }
        self.count_imported_tokens(None, Some(&user))?;
        self.put_user(&user)
    }
}
