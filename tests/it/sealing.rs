//! Sealing: a sealed secret opens only for its user, and key rotations reseal all secrets.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use platypush_userd::clock::SystemClock;
use platypush_userd::credentials::{LastCheck, Verdict};
use platypush_userd::keyring::Keyring;
use platypush_userd::rotation::{RotationError, finish_rotation, rotate_key};
use platypush_userd::store::sled::SledStore;
use platypush_userd::store::{PasswordPrecondition, SealedItem, Store};
use serde_json::json;

use crate::store_changes::Changes as _;
use crate::store_conformance::bench::{proof, wait};
use crate::support::{
    Client, Codes, Daemon, RedisServer, credentials, enrol, open_store, wait_until_closed,
};

/// Returns a stopped daemon whose store has two users with second factors.
fn two_users() -> (RedisServer, Daemon, Client) {
    let redis = RedisServer::start();
    let mut daemon = Daemon::start(&redis, &[]);
    let mut client = redis.client();
    client.call("create_user", json!(["alice", "pw"])).ok();
    let bob = json!({
        "username": "bob", "password": "pw", "executing_user": "alice",
        "executing_user_password": "pw",
    });
    client.call("create_user", bob).ok();
    assert!(daemon.stop().success());
    enrol(&daemon.workdir(), "alice");
    enrol(&daemon.workdir(), "bob");
    (redis, daemon, client)
}

fn log_in(client: &mut Client, username: &str, code: &str) -> bool {
    let args = json!([username, "pw", code]);
    client.call("authenticate_user", args).0["response"]["output"] == true
}

#[test]
fn a_sealed_secret_does_not_open_for_another_user() {
    let (_redis, mut daemon, mut client) = two_users();
    let store = open_store(&daemon.workdir()).unwrap();
    wait(async {
        let [alice, bob] = <[_; 2]>::try_from(store.users().await.unwrap()).unwrap();
        let (mut of_alice, mut of_bob) = (alice.second_factor.clone(), bob.second_factor.clone());
        let swap = (of_alice.as_mut().unwrap(), of_bob.as_mut().unwrap());
        std::mem::swap(&mut swap.0.secret, &mut swap.1.secret);
        for (user, factor) in [(&alice, of_alice), (&bob, of_bob)] {
            let code = user.second_factor.as_ref().unwrap().backup_codes[0];
            let precondition = PasswordPrecondition {
                code: Some(platypush_userd::model::CodeUse::Backup(code)),
                ..proof(user)
            };
            let set = store.set_second_factor(precondition, factor, None);
            set.await.unwrap();
        }
    });
    drop(store);
    wait_until_closed(&daemon.workdir());
    daemon.restart();
    for username in ["alice", "bob"] {
        for owner in ["alice", "bob"] {
            assert!(!log_in(&mut client, username, &Codes::of(owner).now()));
        }
    }
}

/// Store and keyring of a stopped daemon.
struct Sealed {
    store: Arc<SledStore>,
    keyring: Keyring,
}

impl Sealed {
    fn of(daemon: &Daemon) -> Self {
        Self {
            store: Arc::new(open_store(&daemon.workdir()).unwrap()),
            keyring: Keyring::open(Keyring::default_path(&daemon.workdir()), false).unwrap(),
        }
    }

    /// Returns the numbers of the keys that sealed the secrets and the hash key.
    fn keys_in_use(&self) -> Vec<u8> {
        let mut items = wait(async {
            let users = self.store.users_from(0, 10).await.unwrap().items;
            let factors = users.into_iter().filter_map(|user| user.second_factor);
            let mut sealed: Vec<_> = factors.map(|factor| factor.secret.0).collect();
            sealed.extend(self.store.hash_key().await.unwrap());
            sealed
        });
        items.sort();
        let mut keys: Vec<_> = items
            .iter()
            .map(|sealed| Keyring::number_of(sealed).unwrap())
            .collect();
        keys.dedup();
        keys
    }
}

#[test]
fn a_rotation_reseals_everything_and_drops_the_old_key() {
    let (_redis, mut daemon, mut client) = two_users();
    let sealed = Sealed::of(&daemon);
    let before = wait(sealed.store.users()).unwrap();
    assert_eq!(sealed.keys_in_use(), [1]);
    let report = wait(rotate_key(&sealed.keyring, &*sealed.store)).unwrap();
    assert_eq!((report.key, report.resealed), (2, 3));
    assert_eq!(sealed.keys_in_use(), [2]);
    let after = wait(sealed.store.users()).unwrap();
    for (before, after) in before.iter().zip(&after) {
        let codes = |user: &platypush_userd::model::User| {
            user.second_factor.as_ref().unwrap().backup_codes.clone()
        };
        assert_eq!(codes(before), codes(after), "keyed hashes never change");
    }
    drop(sealed);
    let keys = fs::read_to_string(Keyring::default_path(&daemon.workdir())).unwrap();
    assert!(keys.starts_with("2 ") && keys.lines().count() == 1);
    wait_until_closed(&daemon.workdir());
    daemon.restart();
    assert!(log_in(&mut client, "alice", &Codes::of("alice").now()));
    assert!(log_in(&mut client, "bob", &Codes::of("bob").now()));
}

/// Sends about 500 requests a second while keys are rotated continuously. Logins with codes read
/// sealed secrets, and a login that changes the store records a sealed outcome.
#[test]
fn no_request_fails_while_keys_are_rotated() {
    let (redis, mut daemon, mut client) = two_users();
    wait_until_closed(&daemon.workdir());
    daemon.restart();
    let carol = json!({
        "username": "carol", "password": "pw", "executing_user": "alice",
        "executing_user_password": "pw",
    });
    // A user with a second factor creates a user without one.
    let args = json!(["alice", "pw", Codes::of("alice").now()]);
    let token = client.call("create_session", args).ok()["session_token"].clone();
    let mut with_token = carol;
    with_token
        .as_object_mut()
        .unwrap()
        .retain(|key, _| !key.starts_with("executing"));
    with_token["session_token"] = token.clone();
    client.call("create_user", with_token).ok();

    let done = AtomicBool::new(false);
    let rotations = AtomicU8::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) && rotations.load(Ordering::SeqCst) < 100 {
                let output = Command::new(Daemon::binary())
                    .args(["admin", "rotate-key"])
                    .env("PLATYPUSH_USERD_WORKDIR", daemon.workdir())
                    .output()
                    .unwrap();
                assert!(output.status.success(), "{output:?}");
                rotations.fetch_add(1, Ordering::SeqCst);
            }
        });
        let started = Instant::now();
        let mut round = 0_u32;
        // On a loaded machine, a rotation takes longer than ten rounds.
        while round < 40 || rotations.load(Ordering::SeqCst) < 3 {
            let ids: Vec<_> = (0..25)
                .flat_map(|_| {
                    [
                        client.send("create_session", json!(["carol", "pw"])),
                        client.send("authenticate_session", json!([token])),
                        client.send("authenticate_user", json!(["bob", "pw", "wrong"])),
                    ]
                })
                .collect();
            for (number, id) in ids.iter().enumerate() {
                let reply = client.reply(id);
                let output = reply.ok();
                assert!(number % 3 != 2 || *output == false, "{output}");
            }
            // 75 requests in 150 ms are 500 requests a second.
            round += 1;
            let due = Duration::from_millis(150) * round;
            std::thread::sleep(due.saturating_sub(started.elapsed()));
        }
        done.store(true, Ordering::SeqCst);
    });
    assert!(log_in(&mut client, "bob", &Codes::of("bob").now()));
    assert!(daemon.stop().success());
    let sealed = Sealed::of(&daemon);
    assert_eq!(sealed.keys_in_use(), [rotations.into_inner() + 1]);
    drop(redis);
}

#[test]
fn the_next_start_completes_an_interrupted_rotation() {
    let (_redis, mut daemon, mut client) = two_users();
    let sealed = Sealed::of(&daemon);
    sealed.keyring.add_key().unwrap();
    drop(sealed);
    wait_until_closed(&daemon.workdir());
    daemon.restart();
    assert!(log_in(&mut client, "alice", &Codes::of("alice").now()));
    assert!(daemon.stop().success());
    let sealed = Sealed::of(&daemon);
    assert_eq!(sealed.keys_in_use(), [2]);
    assert!(!sealed.keyring.has_older_keys());
}

#[test]
fn a_key_is_not_dropped_while_an_item_does_not_open() {
    let (_redis, daemon, _client) = two_users();
    let sealed = Sealed::of(&daemon);
    let path = Keyring::default_path(&daemon.workdir());
    let correct_keys = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("1 {}\n", "ab".repeat(32))).unwrap();
    let wrong_keyring = Keyring::open(path.clone(), false).unwrap();
    let error = wait(rotate_key(&wrong_keyring, &*sealed.store)).unwrap_err();
    assert!(matches!(
        error,
        RotationError::DoesNotOpen(SealedItem::HashKey)
    ));
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
    assert_eq!(sealed.keys_in_use(), [1]);
    fs::write(&path, correct_keys).unwrap();
    let keyring = Keyring::open(path, false).unwrap();
    wait(finish_rotation(&keyring, &*sealed.store)).unwrap();
    let verdict = wait(async {
        let store = Arc::clone(&sealed.store) as Arc<dyn Store>;
        let credentials = credentials(&daemon.workdir(), store, Arc::new(SystemClock)).await;
        let code = Codes::of("alice").now().into();
        credentials
            .verify("alice", &"pw".into(), Some(&code), &LastCheck::default())
            .await
    });
    assert!(matches!(verdict.unwrap(), Verdict::Verified(_)));
}
