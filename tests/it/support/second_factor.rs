//! Users with a second factor, and the codes they have at hand.

use std::path::Path;
use std::sync::Arc;

use platypush_userd::clock::{Clock, SystemClock, Timestamp};
use platypush_userd::credentials::{
    Argon2Parameters, BackupCode, Credentials, Hasher, STEP_SECONDS, Throttle, TotpSecret, Vault,
};
use platypush_userd::keyring::Keyring;
use platypush_userd::model::SessionLimits;
use platypush_userd::store::Store;

use super::open_store;
use crate::store_conformance::bench::{proof, wait};

/// The authenticator of a user.
///
/// A code is good for its own time step of 30 s and the one either side, and
/// once used takes those before it with it. So [`Codes::now`] and after it
/// [`Codes::next`] are good for 30 s at least, wherever in a step the test is.
pub struct Codes(pub TotpSecret);

impl Codes {
    pub fn of(username: &str) -> Self {
        Self(TotpSecret::new(format!("{username:*>20}").into_bytes()))
    }

    pub fn now(&self) -> String {
        self.at(0)
    }

    pub fn next(&self) -> String {
        self.at(1)
    }

    /// A code of no step that is near.
    pub fn wrong(&self) -> String {
        let near: Vec<_> = (-5..=5).map(|step| self.at(step)).collect();
        (0..)
            .map(|number| format!("{number:06}"))
            .find(|code| !near.contains(code))
            .unwrap()
    }

    fn at(&self, steps_from_now: i64) -> String {
        self.0.current_code(steps_away(steps_from_now))
    }
}

fn steps_away(steps: i64) -> Timestamp {
    let step = i64::try_from(STEP_SECONDS).unwrap();
    SystemClock.now() + chrono::TimeDelta::seconds(steps * step)
}

/// Switches the second factor of a user on, in the store of a daemon that does
/// not run; gives the backup codes.
///
/// It is done at a time long past, so that [`Codes::now`] is not the code that
/// was used up by it.
pub fn enrol(workdir: &Path, username: &str) -> Vec<BackupCode> {
    let store = Arc::new(open_store(workdir).unwrap());
    let past = Past(steps_away(-10));
    let secret = Codes::of(username).0;
    let code = secret.current_code(past.0).into();
    wait(async {
        let user = store.user_by_name(username).await.unwrap().unwrap();
        let credentials = credentials(workdir, store.clone(), Arc::new(past)).await;
        let (factor, backup_codes) = credentials
            .new_second_factor(&user, &secret, &code)
            .unwrap()
            .unwrap();
        store
            .set_second_factor(proof(&user), Some(factor), None)
            .await
            .unwrap();
        backup_codes
    })
}

/// Credentials with cheap hashes and no throttle on a store, with the keys
/// that its daemon had, or else with new ones.
pub async fn credentials(
    workdir: &Path,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
) -> Credentials {
    credentials_with(workdir, store, clock, SessionLimits::default()).await
}

/// The same with limits of sessions.
pub async fn credentials_with(
    workdir: &Path,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    limits: SessionLimits,
) -> Credentials {
    let hash_key = store.hash_key().await.unwrap();
    let keyring =
        Arc::new(Keyring::open(Keyring::default_path(workdir), hash_key.is_none()).unwrap());
    let hash_key = hash_key.unwrap_or_else(|| Vault::new_hash_key(&keyring).unwrap());
    let parameters = Argon2Parameters::new(8, 1, 1).unwrap();
    let hasher = Hasher::start(parameters, std::num::NonZeroUsize::MIN).unwrap();
    Credentials::new(
        store,
        hasher,
        Vault::open(keyring, &hash_key).unwrap(),
        Throttle::new(0),
        clock,
        limits,
    )
    .unwrap()
}

/// A clock that stands.
struct Past(Timestamp);

impl Clock for Past {
    fn now(&self) -> Timestamp {
        self.0
    }
}
