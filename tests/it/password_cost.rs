//! Cost of a password check: the same for an unknown user as for a known user, and the configured
//! cost once the first login has rehashed a weaker record.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use platypush_userd::model::User;
use platypush_userd::store::Store as _;
use serde_json::{Value, json};

use crate::store_conformance::bench::wait;
use crate::support::{Codes, Daemon, Setup, enrol, open_store, wait_until_closed};

const WEAK: &str = "$argon2id$v=19$m=8,t=1,p=1$";
const STRONG: &str = "$argon2id$v=19$m=64,t=3,p=1$";
const TO_STRONG: [(&str, &str); 2] = [
    ("PASSWORD__MEMORY_KIB", "64"),
    ("PASSWORD__ITERATIONS", "3"),
];

/// Returns a stopped daemon with weak password records of alice (password `secret`) and of other
/// users (password `<name>'s`).
fn with_weak_records(others: &[&str]) -> Setup {
    let mut setup = Setup::with_alice(&[]);
    for name in others {
        let args = json!({
            "username": name, "password": format!("{name}'s"),
            "executing_user": "alice", "executing_user_password": "secret",
        });
        setup.client.call("create_user", args).ok();
    }
    assert!(setup.daemon.stop().success());
    assert!(
        users(&setup.daemon)
            .iter()
            .all(|user| user.password.expose().starts_with(WEAK))
    );
    setup
}

/// Starts a new daemon on the same working directory with other settings.
fn start_with(setup: &mut Setup, settings: &[(&str, &str)]) {
    wait_until_closed(&setup.daemon.workdir());
    setup.daemon = Daemon::start_in(setup.daemon.folder(), &setup.redis, settings);
}

/// Returns all users in the store of a stopped daemon.
fn users(daemon: &Daemon) -> Vec<User> {
    let store = open_store(&daemon.workdir()).unwrap();
    wait(store.users()).unwrap()
}

fn record_of(daemon: &Daemon, name: &str) -> String {
    let users = users(daemon);
    let user = users.iter().find(|user| user.username == name).unwrap();
    user.password.expose().to_owned()
}

#[test]
fn a_login_rehashes_a_weaker_record_and_no_other() {
    let mut setup = with_weak_records(&["bob", "carol"]);
    let weak_bob = record_of(&setup.daemon, "bob");
    start_with(&mut setup, &TO_STRONG);
    let right = json!(["alice", "secret"]);
    assert_eq!(
        setup.client.call("authenticate_user", right.clone()).ok(),
        true
    );
    assert_eq!(
        setup
            .client
            .call("authenticate_user", json!(["bob", "secret"]))
            .ok(),
        false
    );
    assert!(setup.daemon.stop().success());
    let strong = record_of(&setup.daemon, "alice");
    assert!(strong.starts_with(STRONG), "{strong}");
    assert_eq!(
        record_of(&setup.daemon, "bob"),
        weak_bob,
        "a wrong password"
    );
    assert!(record_of(&setup.daemon, "carol").starts_with(WEAK));

    // Neither another login nor weaker parameters change the record again.
    for settings in [TO_STRONG.as_slice(), &[]] {
        start_with(&mut setup, settings);
        assert_eq!(
            setup.client.call("authenticate_user", right.clone()).ok(),
            true
        );
        let wrong = json!(["alice", "Secret"]);
        assert_eq!(setup.client.call("authenticate_user", wrong).ok(), false);
        assert!(setup.daemon.stop().success());
        assert_eq!(record_of(&setup.daemon, "alice"), strong);
    }
}

#[test]
fn simultaneous_logins_all_succeed_during_a_rehash() {
    let mut setup = with_weak_records(&[]);
    start_with(&mut setup, &TO_STRONG);
    let ids: Vec<_> = (0..40)
        .map(|number| {
            let action = ["create_session", "authenticate_user"][number % 2];
            setup.client.send(action, json!(["alice", "secret"]))
        })
        .collect();
    let mut tokens = Vec::new();
    for id in &ids {
        let reply = setup.client.reply(id);
        match &reply.ok()["session_token"] {
            Value::Null => assert_eq!(reply.ok(), true),
            token => tokens.push(token.clone()),
        }
    }
    assert_eq!(tokens.len(), 20);
    for token in tokens {
        setup
            .client
            .call("authenticate_session", json!([token]))
            .ok();
    }
    assert!(setup.daemon.stop().success());
    assert!(record_of(&setup.daemon, "alice").starts_with(STRONG));
}

#[test]
fn an_earlier_session_stays_valid_after_a_rehash() {
    let mut setup = Setup::with_alice(&[]);
    let session = setup
        .client
        .call("create_session", json!(["alice", "secret"]));
    let token = session.ok()["session_token"].clone();
    assert!(setup.daemon.stop().success());
    start_with(&mut setup, &TO_STRONG);
    setup
        .client
        .call("authenticate_user", json!(["alice", "secret"]))
        .ok();
    setup
        .client
        .call("authenticate_session", json!([token]))
        .ok();
    assert!(setup.daemon.stop().success());
    assert!(record_of(&setup.daemon, "alice").starts_with(STRONG));
}

#[test]
fn a_code_is_accepted_once_during_a_rehash() {
    let mut setup = with_weak_records(&["bob"]);
    enrol(&setup.daemon.workdir(), "bob");

    start_with(&mut setup, &TO_STRONG);
    let code = Codes::of("bob").now();
    let login = json!({
        "username": "bob", "password": "bob's", "code": code, "return_details": true
    });
    let ids: Vec<_> = (0..20)
        .map(|_| setup.client.send("authenticate_user", login.clone()))
        .collect();
    let mut details: Vec<_> = ids
        .iter()
        .map(|id| setup.client.reply(id).ok().clone())
        .collect();
    details.sort_by_key(|detail| detail[0] == json!(false));
    assert_eq!(details[0], json!([true, ""]));
    assert_eq!(details[1..], vec![json!([false, "invalid_otp_code"]); 19]);
    assert!(setup.daemon.stop().success());
    assert!(record_of(&setup.daemon, "bob").starts_with(STRONG));
}

/// Returns the processor time of the hashing threads so far.
fn hashing_time(daemon: &Daemon) -> Duration {
    let threads = format!("/proc/{}/task", daemon.pid().as_raw_nonzero());
    // Other threads may end while this loop runs.
    let of_hasher = |thread: PathBuf| {
        let name = fs::read_to_string(thread.join("comm")).ok()?;
        let spent = fs::read_to_string(thread.join("schedstat")).ok()?;
        name.starts_with("hasher-")
            .then(|| spent.split(' ').next().unwrap().parse().unwrap())
    };
    let threads = fs::read_dir(threads).unwrap();
    let nanoseconds: Vec<u64> = threads
        .filter_map(|thread| of_hasher(thread.unwrap().path()))
        .collect();
    assert!(!nanoseconds.is_empty(), "no hashing thread");
    Duration::from_nanos(nanoseconds.iter().sum())
}

/// Returns a call of each of these actions with a wrong password for `name`.
fn guesses(name: &str) -> [(&'static str, Value); 5] {
    let as_executor = json!({
        "username": "new", "executing_user": name, "executing_user_password": "wrong",
    });
    let mut create = as_executor.clone();
    create["password"] = json!("x");
    [
        ("authenticate_user", json!([name, "wrong"])),
        ("create_session", json!([name, "wrong"])),
        ("update_password", json!([name, "wrong", "new"])),
        ("create_user", create),
        ("delete_user", as_executor),
    ]
}

/// Returns the lowest processor time of several calls: other work on the machine can make a hash
/// take more time (shared caches), but not less.
fn cost(setup: &mut Setup, action: &str, args: &Value) -> Duration {
    let costs = (0..7).map(|_| {
        let before = hashing_time(&setup.daemon);
        let reply = setup.client.call(action, args.clone());
        assert!(reply.output() == &json!(false) || reply.errors().len() == 1);
        hashing_time(&setup.daemon) - before
    });
    costs.min().unwrap()
}

#[test]
fn a_wrong_password_costs_the_same_for_an_unknown_user() {
    let settings = [
        ("PASSWORD__MEMORY_KIB", "8192"),
        ("PASSWORD__ITERATIONS", "2"),
        ("PASSWORD__THREADS", "1"),
    ];
    let mut setup = Setup::with_alice(&settings);
    let one_hash = cost(&mut setup, "authenticate_user", &json!(["alice", "wrong"]));
    assert!(one_hash > Duration::from_millis(2), "{one_hash:?}");
    let free = cost(&mut setup, "authenticate_session", &json!(["wrong"]));
    assert!(free * 10 < one_hash, "{free:?} {one_hash:?}");
    for ((action, known), (_, unknown)) in guesses("alice").into_iter().zip(guesses("nobody")) {
        for args in [known, unknown] {
            let spent = cost(&mut setup, action, &args);
            let about_one = one_hash / 2..one_hash * 2;
            assert!(
                about_one.contains(&spent),
                "{action}: {spent:?} {one_hash:?}"
            );
        }
    }
}
