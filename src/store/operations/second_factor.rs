//! Operations on second factors and on sealed items.
//!
//! Used steps belong to a secret. The store has no keys, so a second factor carries a keyed
//! fingerprint of its secret. Switching it off moves the fingerprint and the last step to the
//! user's `used_secrets` in the same step, and a factor with the same fingerprint takes them up
//! again. The last [`MAX_USED_SECRETS`](crate::model::MAX_USED_SECRETS) secrets of a user are kept.

use super::Operation;
use crate::model::{CodeHash, SecondFactor};
use crate::store::rows::{Reads, Rows};
use crate::store::{PasswordPrecondition, Resealed, Result, SealedItem, StoreError};

/// Switches the second factor of the precondition's user on or off.
pub struct SetSecondFactor {
    /// The user's password, and code if the second factor is on.
    pub precondition: PasswordPrecondition,
    /// The new second factor, or `None` to switch it off.
    pub second_factor: Option<SecondFactor>,
}

impl Operation for SetSecondFactor {
    type Output = ();

    fn reads(&self) -> Reads {
        self.precondition.reads()
    }

    fn apply(&self, rows: &mut Rows) -> Result<()> {
        let mut user = self.precondition.check(rows)?;
        user.set_second_factor(self.second_factor.clone());
        rows.put_user(user);
        Ok(())
    }
}

/// Replaces the backup codes of the precondition's user, and removes imported codes. The rest of the
/// stored second factor stays unchanged.
pub struct ReplaceBackupCodes {
    /// The user's password and code.
    pub precondition: PasswordPrecondition,
    /// Hashes of the new codes.
    pub backup_codes: Vec<CodeHash>,
}

impl Operation for ReplaceBackupCodes {
    type Output = ();

    fn reads(&self) -> Reads {
        self.precondition.reads()
    }

    fn apply(&self, rows: &mut Rows) -> Result<()> {
        let mut user = self.precondition.check(rows)?;
        let factor = user.second_factor.as_mut().ok_or(StoreError::Conflict)?;
        factor.backup_codes.clone_from(&self.backup_codes);
        factor.imported_codes = Vec::new();
        rows.put_user(user);
        Ok(())
    }
}

/// Replaces each sealed item that is still as it was read with its resealed form.
pub struct Reseal {
    /// The items.
    pub items: Vec<Resealed>,
}

impl Operation for Reseal {
    type Output = ();

    fn reads(&self) -> Reads {
        let mut reads = Reads::default();
        for item in &self.items {
            match item.item {
                SealedItem::SecondFactor(id) => reads.users.push(id),
                SealedItem::HashKey => reads.hash_key = true,
                SealedItem::Outcome(delivery) => reads.outcomes.push(delivery),
            }
        }
        reads
    }

    fn apply(&self, rows: &mut Rows) -> Result<()> {
        for Resealed { item, from, to } in &self.items {
            match *item {
                SealedItem::SecondFactor(id) => {
                    if let Some(mut user) = rows.user(id)?
                        && let Some(factor) = &mut user.second_factor
                        && factor.secret.0 == *from
                    {
                        factor.secret.0.clone_from(to);
                        rows.put_user(user);
                    }
                }
                SealedItem::HashKey => {
                    if rows.hash_key.get(&())? == Some(from) {
                        rows.hash_key.put((), to.clone());
                    }
                }
                SealedItem::Outcome(delivery) => {
                    if rows.outcomes.get(&delivery)? == Some(from) {
                        rows.outcomes.put(delivery, to.clone());
                    }
                }
            }
        }
        Ok(())
    }
}
