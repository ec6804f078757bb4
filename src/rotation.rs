//! A new sealing key while the daemon serves: everything that is kept sealed
//! is sealed anew, and only then the old key goes.
//!
//! A crash at any point leaves both keys in the file; the next start, or the
//! next rotation, goes on from there.

use crate::credentials::Vault;
use crate::failure::{HasRemedy, Remedy};
use crate::keyring::{Keyring, KeyringError};
use crate::store::{Resealed, SealedItem, Store, StoreError};

/// Users, or outcomes, sealed anew in one step.
const STEP: usize = 64;

/// What a rotation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotationReport {
    /// Number of the key that seals now.
    pub key: u8,
    /// How many things were sealed anew.
    pub resealed: u64,
}

/// Why a rotation did not end. The old key is still there.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The file of keys cannot be written.
    #[error(
        "{0}. Keys that come from elsewhere are rotated there: add a line with the next number and a new key, restart, and when the log says so remove the old line"
    )]
    Keys(#[from] KeyringError),
    /// The store failed.
    #[error("the rotation has stopped, and goes on at the next start: {0}")]
    Store(#[from] StoreError),
    /// Something sealed does not open.
    #[error(
        "{0:?} does not open: no key was dropped. Restore a backup of the database and of its keys"
    )]
    DoesNotOpen(SealedItem),
    /// The operating system gives no randomness.
    #[error("no randomness from the operating system: {0}")]
    Randomness(#[from] std::io::Error),
}

impl HasRemedy for RotationError {
    fn remedy(&self) -> Remedy {
        match self {
            Self::Keys(error) => error.remedy(),
            Self::Store(error) => error.remedy(),
            Self::DoesNotOpen(_) => Remedy::Person,
            Self::Randomness(_) => Remedy::Restart,
        }
    }
}

/// Adds a key, seals everything with it, and drops the others.
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

/// Goes on with a rotation that was cut short, or that was begun by adding a
/// key to the file: to be called before anything is served.
///
/// # Errors
/// When something cannot be sealed anew. That the file cannot be written is
/// none: its keys come from elsewhere.
pub async fn finish_rotation(keyring: &Keyring, store: &dyn Store) -> Result<(), RotationError> {
    if !keyring.has_older_keys() {
        return Ok(());
    }
    let report = reseal(keyring, store).await?;
    match keyring.drop_older_keys() {
        Ok(()) => tracing::info!(
            key = report.key,
            resealed = report.resealed,
            "finished a rotation of keys"
        ),
        Err(error) => tracing::warn!(
            key = report.key,
            %error,
            "everything is sealed with the last key: the other lines can be removed from the file of keys"
        ),
    }
    Ok(())
}

/// Seals everything with the newest key. Afterwards nobody holds anything
/// that was sealed with another: requests that began before the last pass have
/// ended, and that pass found nothing.
async fn reseal(keyring: &Keyring, store: &dyn Store) -> Result<RotationReport, RotationError> {
    let mut resealed = 0;
    loop {
        keyring.quiesce().await;
        match pass(keyring, store).await? {
            0 => break,
            more => resealed += more,
        }
    }
    Ok(RotationReport {
        key: keyring.newest().unwrap_or_default(),
        resealed,
    })
}

/// Seals anew what another key has sealed; gives how much it was.
async fn pass(keyring: &Keyring, store: &dyn Store) -> Result<u64, RotationError> {
    let mut pass = Pass {
        keyring,
        store,
        batch: Vec::new(),
        resealed: 0,
    };
    if let Some(sealed) = store.hash_key().await? {
        pass.add(SealedItem::HashKey, sealed).await?;
    }
    let mut from = Some(0);
    while let Some(first) = from {
        let page = store.users_from(first, STEP).await?;
        for user in page.items {
            if let Some(factor) = user.second_factor {
                pass.add(SealedItem::SecondFactor(user.id), factor.secret.0)
                    .await?;
            }
        }
        from = page.next;
    }
    for delivery in store.outcomes().await? {
        // One that is gone was settled meanwhile.
        if let Some(sealed) = store.outcome(&delivery).await? {
            pass.add(SealedItem::Outcome(delivery), sealed).await?;
        }
    }
    pass.write().await?;
    Ok(pass.resealed)
}

struct Pass<'a> {
    keyring: &'a Keyring,
    store: &'a dyn Store,
    batch: Vec<Resealed>,
    resealed: u64,
}

impl Pass<'_> {
    async fn add(&mut self, item: SealedItem, from: Vec<u8>) -> Result<(), RotationError> {
        let context = context(&item);
        let plain = self
            .keyring
            .open_sealed(&context, &from)
            .ok_or(RotationError::DoesNotOpen(item))?;
        if Keyring::number_of(&from) == self.keyring.newest() {
            return Ok(());
        }
        let to = self.keyring.sealer()?.seal(&context, &plain);
        self.batch.push(Resealed { item, from, to });
        if self.batch.len() >= STEP {
            self.write().await?;
        }
        Ok(())
    }

    async fn write(&mut self) -> Result<(), RotationError> {
        let batch = std::mem::take(&mut self.batch);
        self.resealed += batch.len() as u64;
        if !batch.is_empty() {
            self.store.reseal(batch).await?;
        }
        Ok(())
    }
}

/// What each thing is sealed as.
fn context(item: &SealedItem) -> Vec<u8> {
    match item {
        SealedItem::HashKey => Vault::hash_key_context(),
        SealedItem::SecondFactor(user_id) => Vault::totp_context(*user_id),
        SealedItem::Outcome(delivery) => delivery.outcome_context(),
    }
}
