//! Rotation of the sealing key while requests run.
//!
//! A rotation adds a key, waits for the leases of the requests that began before it, reseals every
//! item by compare-and-set until a pass finds none left, and only then drops the old key. After a
//! crash at any point the file has both keys, and the next start or rotation finishes the work.

use std::io;

use crate::credentials::Vault;
use crate::failure::{HasRemedy, Remedy};
use crate::keyring::{Keyring, KeyringError};
use crate::store::{Resealed, SealedItem, Store, StoreError, StoreExt as _, operations};

/// Maximum number of items that are read or resealed in one step.
const BATCH: usize = 64;

/// Result of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotationReport {
    /// Number of the current key.
    pub key: u8,
    /// Number of items that were resealed.
    pub resealed: u64,
}

/// Why a rotation failed. The old key is still in the file.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The key file cannot be written.
    #[error(
        "{0}. If you manage the key file yourself, rotate it there: add a line with the next number and a new key, restart, and remove the old line when the log says so"
    )]
    Keys(#[from] KeyringError),
    /// The store failed.
    #[error("the rotation was interrupted, and continues at the next start: {0}")]
    Store(#[from] StoreError),
    /// No key opens a sealed item.
    #[error(
        "{0:?} does not open: no key was dropped. Restore a backup of the database and of its keys"
    )]
    DoesNotOpen(SealedItem),
    /// The operating system provides no randomness.
    #[error("no randomness from the operating system: {0}")]
    Randomness(#[from] io::Error),
}

impl HasRemedy for RotationError {
    fn remedy(&self) -> Remedy {
        match self {
            Self::Keys(error) => error.remedy(),
            Self::Store(error) => error.remedy(),
            Self::DoesNotOpen(_) => Remedy::Operator,
            Self::Randomness(_) => Remedy::Restart,
        }
    }
}

/// Adds a key, reseals everything with it, and drops the other keys.
///
/// # Errors
/// See [`RotationError`].
pub async fn rotate_key(
    keyring: &Keyring,
    store: &dyn Store,
) -> Result<RotationReport, RotationError> {
    keyring.add_key()?;
    let report = reseal(keyring, store).await?;
    keyring.drop_older_keys()?;
    Ok(report)
}

/// Finishes a rotation that was interrupted, or that the operator began by adding a key to the
/// file. Must be called before requests are served.
///
/// # Errors
/// When an item cannot be resealed. A key file that cannot be written is no error: the operator
/// manages it elsewhere.
pub async fn finish_rotation(keyring: &Keyring, store: &dyn Store) -> Result<(), RotationError> {
    if !keyring.has_older_keys() {
        return Ok(());
    }
    let report = reseal(keyring, store).await?;
    match keyring.drop_older_keys() {
        Ok(()) => tracing::info!(
            key = report.key,
            resealed = report.resealed,
            "finished a key rotation"
        ),
        Err(error) => tracing::warn!(
            key = report.key,
            %error,
            "everything is sealed with the last key: remove the other lines from the key file"
        ),
    }
    Ok(())
}

/// Reseals everything with the newest key. Afterwards no item sealed with another key is left, in
/// the store or in a request: the last pass found none, and all requests that began before it have
/// ended.
async fn reseal(keyring: &Keyring, store: &dyn Store) -> Result<RotationReport, RotationError> {
    let mut resealed = 0;
    loop {
        keyring.quiesce().await;
        match reseal_once(keyring, store).await? {
            0 => break,
            count => resealed += count,
        }
    }
    let key = keyring.newest();
    Ok(RotationReport { key, resealed })
}

/// Reseals all items that are sealed with another key. Returns their number.
async fn reseal_once(keyring: &Keyring, store: &dyn Store) -> Result<u64, RotationError> {
    let mut resealer = Resealer {
        keyring,
        store,
        batch: Vec::new(),
        resealed: 0,
    };
    if let Some(sealed) = store.hash_key().await? {
        resealer.add(SealedItem::HashKey, sealed).await?;
    }
    let mut from = Some(0);
    while let Some(first) = from {
        let page = store.users_from(first, BATCH).await?;
        for user in page.items {
            if let Some(factor) = user.second_factor {
                resealer
                    .add(SealedItem::SecondFactor(user.id), factor.secret.0)
                    .await?;
            }
        }
        from = page.next;
    }
    for delivery in store.outcomes().await? {
        // An outcome that is gone was acknowledged in the meantime.
        if let Some(sealed) = store.outcome(&delivery).await? {
            resealer.add(SealedItem::Outcome(delivery), sealed).await?;
        }
    }
    resealer.write().await?;
    Ok(resealer.resealed)
}

/// Reseals items of the store in batches.
struct Resealer<'a> {
    keyring: &'a Keyring,
    store: &'a dyn Store,
    batch: Vec<Resealed>,
    resealed: u64,
}

impl Resealer<'_> {
    async fn add(&mut self, item: SealedItem, from: Vec<u8>) -> Result<(), RotationError> {
        let context = context(&item);
        let plain = self
            .keyring
            .open_sealed(&context, &from)
            .ok_or(RotationError::DoesNotOpen(item))?;
        if Keyring::number_of(&from) == Some(self.keyring.newest()) {
            return Ok(());
        }
        let sealer = self.keyring.sealer().map_err(io::Error::from)?;
        let to = sealer.seal(&context, &plain);
        self.batch.push(Resealed { item, from, to });
        if self.batch.len() >= BATCH {
            self.write().await?;
        }
        Ok(())
    }

    async fn write(&mut self) -> Result<(), RotationError> {
        let items = std::mem::take(&mut self.batch);
        self.resealed += items.len() as u64;
        if !items.is_empty() {
            self.store.run(operations::Reseal { items }, None).await?;
        }
        Ok(())
    }
}

/// Returns the context that an item is sealed under.
fn context(item: &SealedItem) -> Vec<u8> {
    match item {
        SealedItem::HashKey => Vault::HASH_KEY_CONTEXT.into(),
        SealedItem::SecondFactor(user_id) => Vault::totp_context(*user_id),
        SealedItem::Outcome(delivery) => delivery.outcome_context(),
    }
}
