//! Sessions that end by age, by inactivity, or on a password change.

use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use platypush_userd::clock::{Clock, Timestamp};
use platypush_userd::credentials::{Credentials, new_session_token, token_hash};
use platypush_userd::model::{Attempted, NameHash, SessionLimits};
use platypush_userd::store::sled::SledStore;
use platypush_userd::store::{Precondition, Store};
use secrecy::SecretString;
use serde_json::json;

use crate::store_changes::{Changes as _, NewSession};
use crate::store_conformance::bench::{new_user, noon, proof, wait};
use crate::support::{Setup, credentials_with};

/// A clock that a test sets.
struct ManualClock(Mutex<Timestamp>);

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

struct Bench {
    clock: Arc<ManualClock>,
    store: Arc<SledStore>,
    credentials: Credentials,
    token: SecretString,
    folder: tempfile::TempDir,
}

impl Bench {
    /// Creates a store with a session that was created at noon.
    fn with(limits: SessionLimits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SledStore::open(folder.path()).unwrap());
        let clock = Arc::new(ManualClock(Mutex::new(noon())));
        let token = new_session_token().unwrap();
        let credentials = wait(async {
            let alice = store
                .create_user(new_user("alice"), Precondition::NoUsers, None)
                .await
                .unwrap();
            let session = NewSession {
                token: token_hash(&token),
                created_at: noon(),
                expires_at: None,
            };
            store
                .create_session(session, proof(&alice), None)
                .await
                .unwrap();
            credentials_with(folder.path(), store.clone(), clock.clone(), limits).await
        });
        Self {
            clock,
            store,
            credentials,
            token,
            folder,
        }
    }

    /// Returns whether the session is valid so many seconds after noon.
    fn is_valid(&self, seconds: i64) -> bool {
        *self.clock.0.lock().unwrap() = noon() + TimeDelta::seconds(seconds);
        let found = wait(self.credentials.session(&self.token));
        // No caller waits for the write of `used_at`, but the single writer applies it
        // before this one.
        let unknown = Attempted::UnknownName(NameHash([0; 16]));
        wait(self.store.forget_failures(unknown)).unwrap();
        found.unwrap().is_some()
    }
}

#[test]
fn max_lifetime_ends_a_session_without_an_expiry() {
    let bench = Bench::with(SessionLimits {
        max_lifetime: Some(TimeDelta::seconds(100)),
        idle_timeout: None,
    });
    assert!(bench.is_valid(99));
    assert!(!bench.is_valid(100));
}

#[test]
fn idle_timeout_ends_a_session_and_its_use_is_on_disk() {
    let limits = SessionLimits {
        max_lifetime: None,
        idle_timeout: Some(TimeDelta::seconds(100)),
    };
    let mut bench = Bench::with(limits);
    for seconds in [99, 198, 297] {
        assert!(bench.is_valid(seconds));
    }
    // After reopening the store, the last use is known.
    let Bench {
        store,
        credentials,
        folder,
        clock,
        ..
    } = bench;
    drop((store, credentials));
    let store = Arc::new(crate::support::open_store(folder.path()).unwrap());
    let credentials = wait(credentials_with(
        folder.path(),
        store.clone(),
        clock.clone(),
        limits,
    ));
    bench = Bench {
        store,
        credentials,
        folder,
        clock,
        token: bench.token,
    };
    assert!(bench.is_valid(396));
    assert!(!bench.is_valid(496));
    let swept = wait(bench.store.sweep_sessions(
        None,
        10,
        limits.at(noon() + TimeDelta::seconds(496)),
    ));
    assert_eq!(swept.unwrap().removed, 1);
}

#[test]
fn not_every_use_is_written() {
    let bench = Bench::with(SessionLimits {
        max_lifetime: None,
        idle_timeout: Some(TimeDelta::seconds(1_000)),
    });
    let used_at = |bench: &Bench| {
        let found = wait(bench.store.session(&token_hash(&bench.token))).unwrap();
        (found.unwrap().0.used_at - noon()).num_seconds()
    };
    assert!(bench.is_valid(49));
    assert_eq!(used_at(&bench), 0);
    assert!(bench.is_valid(50));
    assert_eq!(used_at(&bench), 50);
}

#[test]
fn a_password_change_ends_all_sessions_if_configured() {
    let mut setup = Setup::with_alice(&[("SESSION__REVOKE_ON_PASSWORD_CHANGE", "true")]);
    let token = setup.session_of_alice();
    let change = json!(["alice", "secret", "another"]);
    assert_eq!(setup.client.call("update_password", change).ok(), true);
    setup
        .client
        .call("authenticate_session", json!([token]))
        .fails("Invalid session token");
}
