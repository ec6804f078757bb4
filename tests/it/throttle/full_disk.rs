//! If a failure cannot be counted, no login is accepted.

use std::num::NonZeroUsize;
use std::sync::Arc;

use platypush_userd::clock::SystemClock;
use platypush_userd::credentials::LastCheck;
use platypush_userd::credentials::{Credentials, Hasher, Throttle, Vault, Verdict};
use platypush_userd::error::Error;
use platypush_userd::keyring::Keyring;
use platypush_userd::model::SessionLimits;
use platypush_userd::store::StoreError;
use platypush_userd::store::sled::{Bounds, SledStore};

use crate::store_conformance::bench::wait;

/// Returns the verdict on a guess while the disk is full.
fn guess(failures: u32) -> Result<Verdict, Error> {
    let folder = tempfile::tempdir().unwrap();
    let bounds = Bounds {
        reserved_mib: u64::MAX,
        ..Bounds::default()
    };
    let store = Arc::new(SledStore::open_bounded(folder.path(), bounds).unwrap());
    let keys = Keyring::default_path(folder.path());
    let keyring = Arc::new(Keyring::open(keys, true).unwrap());
    let hash_key = Vault::new_hash_key(&keyring).unwrap();
    let parameters = argon2::Params::new(8, 1, 1, None).unwrap();
    let credentials = Credentials::new(
        store,
        Hasher::start(parameters, NonZeroUsize::MIN).unwrap(),
        Vault::open(keyring, &hash_key).unwrap(),
        Throttle::new(failures),
        Arc::new(SystemClock),
        SessionLimits::default(),
    )
    .unwrap();
    wait(credentials.verify("alice", &"guess".into(), None, &LastCheck::default()))
}

/// Regression: on a full disk, guesses were not counted and so not limited.
#[test]
fn a_full_disk_does_not_open_the_throttle() {
    let full = |verdict: &Result<Verdict, Error>| {
        matches!(verdict, Err(Error::Store(StoreError::DiskFull { .. })))
    };
    assert!(full(&guess(5)));
    // Without a throttle there is nothing to count.
    assert!(matches!(guess(0), Ok(Verdict::InvalidCredentials(_))));
}
