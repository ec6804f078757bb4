//! Builds the parts of the daemon from the configuration.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use tracing::info;

use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::credentials::{Blocklist, Credentials, Hasher, Throttle, Vault};
use crate::dispatch::{Policy, Turns};
use crate::failure::FileError;
use crate::keyring::Keyring;
use crate::queue::{CrashJournal, Keys, LeftEntries, Settings};
use crate::redis::Connector;
use crate::services::{Limits, Services};
use crate::store::{Store, StoreExt as _, operations};
use crate::wire::request::MessageLimits;
use crate::workdir::WorkdirError;

/// Name of the crash journal in the working directory.
const JOURNAL_FILE: &str = "running";

pub(super) fn open_crash_journal(
    workdir: &Path,
    turns: usize,
) -> Result<(Arc<CrashJournal>, LeftEntries)> {
    let path = workdir.join(JOURNAL_FILE);
    let opened = CrashJournal::open(&path, Turns::count(turns));
    Ok(opened.map_err(|error| WorkdirError::from(FileError { path, error }))?)
}

/// Opens the sealing keys, and checks them against the hash key that the first start sealed with
/// them.
pub(super) async fn open_keys(
    config: &Config,
    workdir: &Path,
    store: &dyn Store,
) -> Result<(Arc<Keyring>, Vault)> {
    let path = config
        .secret_keys_file
        .clone()
        .unwrap_or_else(|| Keyring::default_path(workdir));
    let sealed = store.hash_key().await?;
    let keyring = Arc::new(Keyring::open(path, sealed.is_none())?);
    let sealed = match sealed {
        Some(sealed) => sealed,
        None => {
            let sealed = Vault::new_hash_key(&keyring)?;
            let set = operations::SetHashKey {
                sealed: sealed.clone(),
            };
            store.run(set, None).await?;
            sealed
        }
    };
    let vault = Vault::open(Arc::clone(&keyring), &sealed).ok_or_else(|| keyring.wrong())?;
    Ok((keyring, vault))
}

/// Returns the number of turns for hashing: twice the hashing threads, so that one request hashes
/// while another one waits for the disk.
pub(super) const fn hashing_turns(config: &Config) -> usize {
    config.password.threads.get().saturating_mul(2)
}

pub(super) fn services(
    config: &Config,
    store: Arc<dyn Store>,
    vault: Vault,
    blocklist: Option<Arc<Blocklist>>,
) -> Result<Services> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let password = &config.password;
    let hasher = Hasher::start(password.argon2.clone(), password.threads)?;
    Ok(Services {
        credentials: Credentials::new(
            Arc::clone(&store),
            hasher,
            vault,
            Throttle::new(config.throttle.failures),
            Arc::clone(&clock),
            config.session.limits,
        )?,
        store,
        clock,
        issuer: format!("platypush@{}", config.device_id),
        revoke_on_password_change: config.session.revoke_on_password_change,
        limits: Limits {
            max_username_length: config.max_username_length,
            min_password_length: password.min_length,
            max_password_length: password.max_length,
            blocklist,
        },
    })
}

pub(super) fn blocklist(config: &Config) -> Result<Option<Arc<Blocklist>>> {
    let Some(file) = &config.password.blocklist_file else {
        return Ok(None);
    };
    let list = Blocklist::read(file)?;
    info!(passwords = list.len(), "read the list of refused passwords");
    Ok(Some(Arc::new(list)))
}

pub(super) fn policy(config: &Config) -> Policy {
    Policy {
        device_id: config.device_id.clone(),
        accept_any_target: config.accept_any_target,
        token_hash: config.token_hash.map(|hash| hash.0),
        max_request_age: config.max_request_age,
        limits: MessageLimits {
            max_message_size: config.max_message_size,
            max_id_length: config.max_id_length,
        },
    }
}

pub(super) fn queue_settings(
    config: &Config,
    connector: Connector,
    store_id: &str,
    run_ids: Vec<[u8; 16]>,
) -> Settings {
    Settings {
        connector,
        keys: Keys::new(&config.queue, &config.reply_prefix, store_id, run_ids),
        reply_ttl: config.reply_ttl,
        max_in_flight: config.max_in_flight,
        max_message_size: config.max_message_size,
    }
}
