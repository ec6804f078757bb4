//! Failed attempts: those of users stand in their records, those under other
//! names in a table of bounded size.

use super::Group;
use crate::clock::Timestamp;
use crate::model::{Attempted, Failures, NameHash};
use crate::store::Result;
use crate::store::sled::{engine_error, lookup::Lookup as _, records};

impl Group<'_> {
    pub(in crate::store::sled) fn note_failure(
        &mut self,
        attempted: Attempted,
        at: Timestamp,
    ) -> Result<Failures> {
        match attempted {
            Attempted::User(id) => match self.user(id)? {
                Some(mut user) => {
                    user.failures = user.failures.and_one(at);
                    self.put_user(&user)?;
                    Ok(user.failures)
                }
                None => Ok(Failures::default()),
            },
            Attempted::UnknownName(name) => self.note_failure_of_nobody(&name, at),
        }
    }

    fn note_failure_of_nobody(&mut self, name: &NameHash, at: Timestamp) -> Result<Failures> {
        let before = self.failures(name)?;
        let known = self.number(records::ATTEMPTED_COUNT)?.unwrap_or(0);
        let oldest = if before.count == 0 && known >= self.max_attempted {
            self.oldest_attempted()?
        } else {
            None
        };
        if let Some(oldest) = oldest {
            self.remove_attempted(&oldest)?;
        } else if before.count == 0 {
            self.put_number(records::ATTEMPTED_COUNT.into(), known + 1);
        }
        if before.count > 0 {
            self.remove(records::attempt_time_key(before.last, name));
        }
        let now = before.and_one(at);
        self.put(records::attempt_time_key(now.last, name), Vec::new());
        self.put(records::attempts_key(name), records::encode_failures(now));
        Ok(now)
    }

    fn remove_attempted(&mut self, name: &NameHash) -> Result<()> {
        let last = self.failures(name)?.last;
        self.remove(records::attempt_time_key(last, name));
        self.remove(records::attempts_key(name));
        Ok(())
    }

    /// The name that was tried longest ago. What this group has added is
    /// younger than all that stands in the tree.
    fn oldest_attempted(&self) -> Result<Option<NameHash>> {
        for entry in self.tree.scan_prefix(records::ATTEMPT_TIMES) {
            let (key, _) = entry.map_err(engine_error)?;
            if self.changes.get(&*key) != Some(&None) {
                return records::name_of_time_key(&key).map(Some);
            }
        }
        Ok(None)
    }

    pub(in crate::store::sled) fn forget_failures(&mut self, attempted: Attempted) -> Result<()> {
        match attempted {
            Attempted::User(id) => {
                if let Some(mut user) = self.user(id)? {
                    user.failures = Failures::default();
                    self.put_user_if_changed(&user)?;
                }
            }
            Attempted::UnknownName(name) => {
                if self.failures(&name)?.count > 0 {
                    let known = self.number(records::ATTEMPTED_COUNT)?.unwrap_or(0);
                    self.put_number(records::ATTEMPTED_COUNT.into(), known.saturating_sub(1));
                    self.remove_attempted(&name)?;
                }
            }
        }
        Ok(())
    }
}
