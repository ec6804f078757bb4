//! The throttle over the wire: how often a name can be tried in a row,
//! whether or not somebody has it.
//!
//! Waits are a minute at most until the hundredth failure and an hour from it
//! on. So that no test depends on its own speed, most of them begin close to
//! the hundred, with failures that are put into the store while the daemon is
//! away; the waits themselves are held by the tests beside the code.

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
use crate::store_conformance::bench::wait;
use crate::support::{Client, Reply, Setup, credentials, open_store, wait_until_closed};

/// As it is by default; the other tests have it off.
const FIVE: (&str, &str) = ("THROTTLE__FAILURES", "5");
/// The hundredth failure is the last one in an hour, and none before it waits.
const HUNDRED: (&str, &str) = ("THROTTLE__FAILURES", "100");
/// All that the gate lets in can be hashed at once.
const WIDE: (&str, &str) = ("PASSWORD__THREADS", "200");

/// A user, and a name that nobody has.
const NAMES: [&str; 2] = ["alice", "nobody"];

/// The store of a daemon that does not run, and its hashes of names.
struct Stopped {
    store: Arc<dyn Store>,
    credentials: Credentials,
}

impl Stopped {
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

/// Puts failures that have just happened into the store.
fn fail_now(setup: &mut Setup, names: &[&str], count: usize) {
    fail(setup, names, count, SystemClock.now());
}

/// Puts failures into the store whose waits are over.
fn fail_long_ago(setup: &mut Setup, names: &[&str], count: usize) {
    let ago = chrono::TimeDelta::hours(2);
    fail(setup, names, count, SystemClock.now() - ago);
}

fn fail(setup: &mut Setup, names: &[&str], count: usize, at: Timestamp) {
    setup.daemon.kill();
    let stopped = Stopped::open(&setup.daemon.workdir());
    for name in names {
        stopped.note_failures(name, count, at);
    }
    drop(stopped);
    wait_until_closed(&setup.daemon.workdir());
    setup.daemon.restart();
}

/// Kills the daemon, and reads how many failures in a row a name has.
fn count_after_kill(setup: &mut Setup, name: &str) -> u32 {
    setup.daemon.kill();
    failures_after_kill(setup, name)
}

/// The failures in a row of a name, after the daemon was killed.
pub fn failures_after_kill(setup: &Setup, name: &str) -> u32 {
    let workdir = setup.daemon.workdir();
    wait_until_closed(&workdir);
    let count = Stopped::open(&workdir).failures_of(name).count;
    wait_until_closed(&workdir);
    count
}

/// The seconds to wait, where a name was not even tried.
fn seconds_to_wait(reply: &Reply) -> Option<u64> {
    let [error] = reply.errors()[..] else {
        return None;
    };
    let seconds = error.strip_prefix("Too many failed attempts, retry in ")?;
    seconds.strip_suffix(" s")?.parse().ok()
}

/// Asserts that a name was not tried and has to wait for about an hour.
#[track_caller]
fn assert_waits_an_hour(reply: &Reply) {
    let seconds = seconds_to_wait(reply);
    let about_an_hour = seconds.is_some_and(|it| (3_000..=3_600).contains(&it));
    assert!(about_an_hour, "{reply:?}");
}

/// What `authenticate_user` says to a wrong password, if it is tried.
#[track_caller]
fn is_tried(reply: &Reply) -> bool {
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

/// Guesses all at once; how many were tried.
fn guess_at_once(client: &mut Client, name: &str, times: usize) -> usize {
    let ids = client.send_all(vec![guess(name); times]);
    let tried = ids.iter().filter(|id| is_tried(&client.reply(id)));
    tried.count()
}
