//! Users with a second factor, and their codes.

use std::path::Path;
use std::sync::Arc;

use platypush_userd::clock::{Clock, SystemClock, Timestamp};
use platypush_userd::credentials::{
    Credentials, Hasher, STEP_SECONDS, Throttle, TotpSecret, Vault,
};
use platypush_userd::keyring::Keyring;
use platypush_userd::model::SessionLimits;
use platypush_userd::store::Store;
use secrecy::SecretString;

use super::open_store;
use crate::store_changes::Changes as _;
use crate::store_conformance::bench::{proof, wait};

/// The authenticator app of a user.
///
/// The daemon accepts a code in its own time step of 30 s and in the step before and after it. A
/// used code also invalidates the codes of all earlier steps. So [`Codes::now`] and then
/// [`Codes::next`] are valid for at least 30 s, at whatever point of a step the test runs.
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

    /// Returns a code that is not the code of any step near the present one.
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

/// Enables the second factor of a user in the store of a stopped daemon and returns the backup
/// codes.
///
/// The enrolment uses the code of a past step, so that [`Codes::now`] stays unused.
pub fn enrol(workdir: &Path, username: &str) -> Vec<SecretString> {
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

/// Returns credentials on a store, with cheap hashes and no throttle, and with the keys of its
/// daemon or else with new keys.
pub async fn credentials(
    workdir: &Path,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
) -> Credentials {
    credentials_with(workdir, store, clock, SessionLimits::default()).await
}

/// Same as [`credentials`], with session limits.
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
    let parameters = argon2::Params::new(8, 1, 1, None).unwrap();
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

/// A clock that always returns the same time.
struct Past(Timestamp);

impl Clock for Past {
    fn now(&self) -> Timestamp {
        self.0
    }
}
