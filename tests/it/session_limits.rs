//! Sessions that end by age, by disuse, or with the password.

use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use platypush_userd::clock::{Clock, Timestamp};
use platypush_userd::credentials::{Credentials, SessionToken};
use platypush_userd::model::{Attempted, NameHash, SessionLimits};
use platypush_userd::store::sled::SledStore;
use platypush_userd::store::{NewSession, Precondition, Store};
use serde_json::json;

use crate::store_conformance::bench::{new_user, noon, proof, wait};
use crate::support::{Setup, credentials_with};

/// A clock that is set by hand.
struct HandClock(Mutex<Timestamp>);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

struct Bench {
    clock: Arc<HandClock>,
    store: Arc<SledStore>,
    credentials: Credentials,
    token: SessionToken,
    folder: tempfile::TempDir,
}

impl Bench {
    /// With a session that is made at noon.
    fn with(limits: SessionLimits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SledStore::open(folder.path()).unwrap());
        let clock = Arc::new(HandClock(Mutex::new(noon())));
        let token = SessionToken::generate().unwrap();
        let credentials = wait(async {
            let alice = store
                .create_user(new_user("alice"), Precondition::NoUsers, None)
                .await
                .unwrap();
            let session = NewSession {
                token: token.hash(),
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

    /// Whether the session is good so many seconds after noon.
    fn is_good(&self, seconds: i64) -> bool {
        *self.clock.0.lock().unwrap() = noon() + TimeDelta::seconds(seconds);
        let found = wait(self.credentials.session(&self.token.expose().into()));
        // Behind the note of the use, which nobody waits for.
        let nobody = Attempted::UnknownName(NameHash([0; 16]));
        wait(self.store.forget_failures(nobody)).unwrap();
        found.unwrap().is_some()
    }
}

#[test]
fn a_session_ends_by_age_whatever_it_was_promised() {
    let bench = Bench::with(SessionLimits {
        max_lifetime: Some(TimeDelta::seconds(100)),
        idle_timeout: None,
    });
    assert!(bench.is_good(99));
    assert!(!bench.is_good(100));
}

#[test]
fn a_session_ends_by_disuse_and_use_is_kept_on_disk() {
    let limits = SessionLimits {
        max_lifetime: None,
        idle_timeout: Some(TimeDelta::seconds(100)),
    };
    let mut bench = Bench::with(limits);
    for seconds in [99, 198, 297] {
        assert!(bench.is_good(seconds));
    }
    // Reopened: what was noted is there.
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
    assert!(bench.is_good(396));
    assert!(!bench.is_good(496));
    let swept = wait(bench.store.sweep_sessions(
        None,
        10,
        limits.at(noon() + TimeDelta::seconds(496)),
    ));
    assert_eq!(swept.unwrap().removed, 1);
}

#[test]
fn use_is_not_written_down_each_time() {
    let bench = Bench::with(SessionLimits {
        max_lifetime: None,
        idle_timeout: Some(TimeDelta::seconds(1_000)),
    });
    let used_at = |bench: &Bench| {
        let found = wait(bench.store.session(&bench.token.hash())).unwrap();
        (found.unwrap().0.used_at - noon()).num_seconds()
    };
    assert!(bench.is_good(49));
    assert_eq!(used_at(&bench), 0);
    assert!(bench.is_good(50));
    assert_eq!(used_at(&bench), 50);
}

#[test]
fn a_password_change_ends_all_sessions_where_the_configuration_says_so() {
    let mut setup = Setup::with_alice(&[("SESSION__REVOKE_ON_PASSWORD_CHANGE", "true")]);
    let token = setup.session_of_alice();
    let change = json!(["alice", "secret", "another"]);
    assert_eq!(setup.client.call("update_password", change).ok(), true);
    setup
        .client
        .call("authenticate_session", json!([token]))
        .fails("Invalid session token");
}
