//! The throttle over the queue: how often the password of a name can be checked in a row, whether
//! or not a user has that name.
//!
//! Waits are at most a minute up to the hundredth failure, and an hour after it. So that no test
//! depends on its own speed, most tests begin close to the hundredth failure, with failures that
//! are added to the store while the daemon is stopped. The unit tests cover the waits themselves.

mod answers;
mod counting;
mod full_disk;
mod storms;

use std::path::Path;
use std::sync::Arc;

use platypush_userd::clock::{Clock as _, SystemClock, Timestamp};
use platypush_userd::credentials::Credentials;
use platypush_userd::model::{Attempted, Failures};
use platypush_userd::store::Store;
use serde_json::{Value, json};

pub use self::answers::calls;
use crate::store_changes::Changes as _;
use crate::store_conformance::bench::wait;
use crate::support::{Client, Reply, Setup, credentials, open_store, wait_until_closed};

/// The default limit. The throttle is off in all other tests.
const FIVE: (&str, &str) = ("THROTTLE__FAILURES", "5");
/// A limit with which no attempt waits before the hundredth failure, and then one attempt an hour
/// is left.
const HUNDRED: (&str, &str) = ("THROTTLE__FAILURES", "100");
/// Enough threads to hash all attempts that the gate admits at once.
const WIDE: (&str, &str) = ("PASSWORD__THREADS", "200");

/// A user and an unknown name.
const NAMES: [&str; 2] = ["alice", "nobody"];

/// The store of a stopped daemon, and the credentials that hash names as the daemon does.
struct StoppedStore {
    store: Arc<dyn Store>,
    credentials: Credentials,
}

impl StoppedStore {
    fn open(workdir: &Path) -> Self {
        let store: Arc<dyn Store> = Arc::new(open_store(workdir).unwrap());
        let clock = Arc::new(SystemClock);
        let credentials = wait(credentials(workdir, Arc::clone(&store), clock));
        Self { store, credentials }
    }

    fn failures_of(&self, name: &str) -> Failures {
        wait(async {
            let hash = self.credentials.name_hash(name);
            match self.store.user_by_name(name).await.unwrap() {
                Some(user) => user.failures,
                None => self.store.failures(&hash).await.unwrap(),
            }
        })
    }

    fn note_failures(&self, name: &str, count: usize, at: Timestamp) {
        wait(async {
            let hash = self.credentials.name_hash(name);
            let user = self.store.user_by_name(name).await.unwrap();
            let attempted = user.map_or(Attempted::UnknownName(hash), |it| Attempted::User(it.id));
            for _ in 0..count {
                self.store.note_failure(attempted, at, None).await.unwrap();
            }
        });
    }
}

/// Adds failures to the store that have just happened.
fn add_recent_failures(setup: &mut Setup, names: &[&str], count: usize) {
    add_failures(setup, names, count, SystemClock.now());
}

/// Adds failures to the store whose waits are over.
fn add_old_failures(setup: &mut Setup, names: &[&str], count: usize) {
    let ago = chrono::TimeDelta::hours(2);
    add_failures(setup, names, count, SystemClock.now() - ago);
}

fn add_failures(setup: &mut Setup, names: &[&str], count: usize, at: Timestamp) {
    setup.daemon.kill();
    let stopped = StoppedStore::open(&setup.daemon.workdir());
    for name in names {
        stopped.note_failures(name, count, at);
    }
    drop(stopped);
    wait_until_closed(&setup.daemon.workdir());
    setup.daemon.restart();
}

/// Kills the daemon and returns the number of failures in a row of a name.
fn count_after_kill(setup: &mut Setup, name: &str) -> u32 {
    setup.daemon.kill();
    failures_after_kill(setup, name)
}

/// Returns the number of failures in a row of a name, after the daemon was killed.
pub fn failures_after_kill(setup: &Setup, name: &str) -> u32 {
    let workdir = setup.daemon.workdir();
    wait_until_closed(&workdir);
    let count = StoppedStore::open(&workdir).failures_of(name).count;
    wait_until_closed(&workdir);
    count
}

/// Returns the seconds to wait if the reply is that of a throttled request.
fn seconds_to_wait(reply: &Reply) -> Option<u64> {
    let [error] = reply.errors()[..] else {
        return None;
    };
    let seconds = error.strip_prefix("Too many failed attempts, retry in ")?;
    seconds.strip_suffix(" s")?.parse().ok()
}

/// Asserts that the request was throttled and that the wait is about an hour.
#[track_caller]
fn assert_throttled_for_an_hour(reply: &Reply) {
    let seconds = seconds_to_wait(reply);
    let about_an_hour = seconds.is_some_and(|it| (3_000..=3_600).contains(&it));
    assert!(about_an_hour, "{reply:?}");
}

/// Returns whether `authenticate_user` checked a wrong password instead of throttling it, and
/// asserts that there is no other error.
#[track_caller]
fn was_checked(reply: &Reply) -> bool {
    assert_eq!(reply.output(), &json!(false));
    if seconds_to_wait(reply).is_some() {
        return false;
    }
    assert_eq!(reply.errors(), Vec::<&str>::new());
    true
}

fn guess(name: &str) -> (&'static str, Value) {
    ("authenticate_user", json!([name, "wrong"]))
}

/// Sends guesses together and returns how many were checked.
fn send_guesses(client: &mut Client, name: &str, times: usize) -> usize {
    let ids = client.send_all(vec![guess(name); times]);
    let checked = ids.iter().filter(|id| was_checked(&client.reply(id)));
    checked.count()
}
