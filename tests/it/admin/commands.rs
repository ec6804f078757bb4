//! What each command does.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use platypush_userd::clock::{Clock as _, SystemClock};
use platypush_userd::model::Attempted;
use platypush_userd::store::Store;
use serde_json::json;

use super::{BOTH, Site, Way, admin, run};
use crate::store_conformance::bench::wait;
use crate::support::{
    Codes, Daemon, Load, Setup, credentials, enrol, open_store, wait_until_closed,
};

/// Failures after which one attempt an hour is left.
const MANY: u32 = 100;

/// Notes so many failures under a name that it is locked for an hour.
fn lock(workdir: &Path, name: &str) {
    let store = Arc::new(open_store(workdir).unwrap());
    wait(async {
        let attempted = match store.user_by_name(name).await.unwrap() {
            Some(user) => Attempted::User(user.id),
            None => {
                let clock = Arc::new(SystemClock);
                let credentials = credentials(workdir, store.clone(), clock).await;
                Attempted::UnknownName(credentials.name_hash(name))
            }
        };
        for _ in 0..MANY {
            let failure = store.note_failure(attempted, SystemClock.now(), None);
            failure.await.unwrap();
        }
    });
}

/// Does something to the store while the daemon is away.
fn behind_its_back(site: &mut Site, change: impl FnOnce(&Path)) {
    assert!(site.setup.daemon.stop().success());
    let workdir = site.setup.daemon.workdir();
    change(&workdir);
    wait_until_closed(&workdir);
    site.setup.daemon.restart();
}

#[test]
fn users_are_listed_with_what_keeps_them_out() {
    for way in BOTH {
        let mut site = Site::new(way);
        let create = json!({
            "username": "bob", "password": "secret",
            "executing_user": "alice", "executing_user_password": "secret",
        });
        site.setup.client.call("create_user", create).ok();
        behind_its_back(&mut site, |workdir| {
            enrol(workdir, "alice");
            lock(workdir, "bob");
        });
        let table = site.admin(&["users"]).ok();
        let rows: Vec<Vec<_>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        let [heading, alice, bob] = &rows[..] else {
            panic!("{table}");
        };
        assert_eq!(
            heading.join(" "),
            "ID NAME CREATED (UTC) 2FA FAILURES LOCKED"
        );
        assert_eq!([alice[0], alice[1]], ["1", "alice"]);
        assert_eq!(alice[4..], ["on", "0", "-"]);
        assert_eq!([bob[0], bob[1]], ["2", "bob"]);
        assert_eq!(bob[4..6], ["-", "100"]);
        let seconds: u32 = bob[6].parse().unwrap();
        assert!((3000..=3600).contains(&seconds), "{table}");
        assert_eq!(bob[7..], ["s"]);
    }
}

#[test]
fn a_locked_name_can_be_tried_after_unlock() {
    for way in BOTH {
        let mut site = Site::new(way);
        behind_its_back(&mut site, |workdir| {
            lock(workdir, "alice");
            lock(workdir, "nobody");
        });
        let error = |site: &mut Site, name: &str| {
            let args = json!([name, "secret"]);
            let reply = site.setup.client.call("create_session", args);
            reply.errors().first().map(ToString::to_string)
        };
        for name in ["alice", "nobody"] {
            let locked = error(&mut site, name).unwrap();
            assert!(locked.starts_with("Too many failed attempts"), "{locked}");
        }

        let out = site.admin(&["unlock", "alice"]).ok();
        assert_eq!(out, "The failed attempts of alice are forgotten.\n");
        assert_eq!(error(&mut site, "alice"), None);
        let locked = error(&mut site, "nobody").unwrap();
        assert!(locked.starts_with("Too many failed attempts"), "{locked}");

        let out = site.admin(&["unlock", "nobody"]).ok();
        assert!(out.ends_with("There is no user of that name.\n"), "{out}");
        let refused = error(&mut site, "nobody");
        assert_eq!(refused.as_deref(), Some("Invalid credentials"));
    }
}

#[test]
fn without_the_second_factor_the_password_is_enough() {
    for way in BOTH {
        let mut site = Site::new(way);
        behind_its_back(&mut site, |workdir| drop(enrol(workdir, "alice")));
        assert!(!site.lets_in("secret", None));
        let out = site.admin(&["disable-otp", "alice"]).ok();
        assert_eq!(out, "2FA is off for alice.\n");
        assert!(site.lets_in("secret", None));
        let again = site.admin(&["disable-otp", "alice"]);
        again.fails("2FA is not enabled for alice");
    }
}

#[test]
fn a_reset_password_holds_and_ends_all_sessions() {
    for way in BOTH {
        let mut site = Site::new(way);
        let session = site.setup.session_of_alice();
        behind_its_back(&mut site, |workdir| lock(workdir, "alice"));
        let reset = site.admin_with_input(&["reset-password", "alice"], "hunter2\n");
        let out = reset.ok();
        assert_eq!(
            out,
            "alice has a new password; all its sessions and API tokens have ended.\n"
        );
        assert!(!site.session_is_valid(&session));
        assert!(site.lets_in("hunter2", None));
        assert!(!site.lets_in("secret", None));
    }
}

#[test]
fn a_new_password_is_held_to_the_rules() {
    for way in BOTH {
        let mut site = Site::new(way);
        let mut reset = |input: &str| site.admin_with_input(&["reset-password", "alice"], input);
        reset("\n").fails("Please provide a password for the user");
        reset("").fails("standard input ended before a line for new password");
        reset("ab\n").fails(
            "The password is too short: at least 3 characters are needed (password.min_length)",
        );
        reset(&"x".repeat(4097))
            .fails("'password' is 4097 bytes long, at most 4096 are allowed (password.max_length)");
        assert!(site.lets_in("secret", None));
    }
}

#[test]
fn a_reset_leaves_the_second_factor() {
    let mut site = Site::new(Way::Daemon);
    behind_its_back(&mut site, |workdir| drop(enrol(workdir, "alice")));
    site.admin_with_input(&["reset-password", "alice"], "hunter2")
        .ok();
    assert!(!site.lets_in("hunter2", None));
    assert!(site.lets_in("hunter2", Some(&Codes::of("alice").now())));
}

#[test]
fn sessions_end_and_the_user_logs_in_anew() {
    for way in BOTH {
        let mut site = Site::new(way);
        let session = site.setup.session_of_alice();
        assert!(site.session_is_valid(&session));
        let out = site.admin(&["delete-sessions", "alice"]).ok();
        assert_eq!(out, "All sessions of alice have ended.\n");
        assert!(!site.session_is_valid(&session));
        let session = site.setup.session_of_alice();
        assert!(site.session_is_valid(&session));
    }
}

#[test]
fn api_tokens_end_with_their_own_command_or_a_reset_that_does_not_keep_them() {
    for way in BOTH {
        let mut site = Site::new(way);
        let make = json!({"username": "alice", "password": "secret"});
        let made = site.setup.client.call("create_api_token", make);
        let token = made.ok()["token"].clone();
        let is_valid = |site: &mut Site| {
            let reply = site
                .setup
                .client
                .call("authenticate_api_token", json!([token]));
            reply.errors().is_empty()
        };
        site.admin(&["delete-sessions", "alice"]).ok();
        let keep = ["reset-password", "alice", "--keep-api-tokens"];
        let out = site.admin_with_input(&keep, "secret\n").ok();
        assert_eq!(
            out,
            "alice has a new password; all its sessions have ended.\n"
        );
        assert!(is_valid(&mut site));
        let out = site.admin(&["delete-api-tokens", "alice"]).ok();
        assert_eq!(out, "All API tokens of alice have ended.\n");
        assert!(!is_valid(&mut site));
    }
}

/// Regression: whoever had stolen a password and made a token of it kept that.
#[test]
fn a_reset_password_ends_api_tokens() {
    for way in BOTH {
        let mut site = Site::new(way);
        let make = json!({"username": "alice", "password": "secret"});
        let made = site.setup.client.call("create_api_token", make);
        let token = made.ok()["token"].clone();
        site.admin_with_input(&["reset-password", "alice"], "hunter2\n")
            .ok();
        let reply = site
            .setup
            .client
            .call("authenticate_api_token", json!([token]));
        reply.fails("Invalid API token");
        let make = json!({"username": "alice", "password": "hunter2"});
        site.setup.client.call("create_api_token", make).ok();
    }
}

#[test]
fn everything_opens_with_the_key_that_was_rotated_to() {
    for way in BOTH {
        let mut site = Site::new(way);
        behind_its_back(&mut site, |workdir| drop(enrol(workdir, "alice")));
        let keys = site.setup.daemon.workdir().join("secret.keys");
        let before = fs::read_to_string(&keys).unwrap();
        let out = site.admin(&["rotate-key"]).ok();
        assert!(out.starts_with("Key 2 seals now; "), "{out}");
        let after = fs::read_to_string(&keys).unwrap();
        assert!(after.starts_with("2 ") && after.lines().count() == 1);
        assert_ne!(before[2..], after[2..]);
        assert!(site.lets_in("secret", Some(&Codes::of("alice").now())));
        assert!(site.setup.daemon.stop().success());
        site.setup.daemon.restart();
        assert!(site.lets_in("secret", Some(&Codes::of("alice").next())));
    }
}

#[test]
fn no_request_fails_while_the_operator_rotates() {
    let mut setup = Setup::with_alice(&[("REPLY_TTL", "3600")]);
    let workdir = setup.daemon.workdir();
    let mut load = Load::new(&setup.session_of_alice(), 0);
    for _ in 0..5 {
        let more = load.more(200);
        more.push(&mut setup.client);
        load = load.and(more);
        admin(&workdir, &["rotate-key"], "").ok();
    }
    load.assert_answered(&mut setup.client);
}

#[test]
fn who_is_not_there_is_named() {
    for way in BOTH {
        let mut site = Site::new(way);
        for command in [
            "disable-otp",
            "reset-password",
            "delete-sessions",
            "delete-api-tokens",
        ] {
            let done = site.admin_with_input(&[command, "bob"], "hunter2\n");
            done.fails("No such user: bob");
        }
    }
}

#[test]
fn without_a_working_directory_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let workdir = folder.path().join("workdir");
    let done = admin(&workdir, &["users"], "");
    assert_eq!(done.status, 1);
    assert!(
        done.err.contains("there is no working directory"),
        "{done:?}"
    );
    assert!(!workdir.exists());
}

/// Only root can test it.
#[test]
fn root_becomes_the_owner_of_the_working_directory() {
    const NOBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut site = Site::new(Way::Store);
    assert!(site.setup.daemon.stop().success());
    let folder = site.setup.daemon.folder();
    // Where the owner can reach it.
    let binary = folder.path().join("platypush-userd");
    fs::copy(Daemon::binary(), &binary).unwrap();
    give_to(folder.path(), NOBODY);
    let workdir = site.setup.daemon.workdir();
    let keys = workdir.join("secret.keys");

    let rotated = run(
        Command::new(&binary),
        &workdir,
        &["admin", "rotate-key"],
        "",
    );
    assert!(
        rotated.err.contains(&format!("uid {NOBODY}")),
        "{rotated:?}"
    );
    rotated.ok();
    // It was written anew.
    assert_eq!(fs::metadata(keys).unwrap().uid(), NOBODY);
}

fn give_to(path: &Path, uid: u32) {
    chown(path, Some(uid), Some(uid)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give_to(&entry.unwrap().path(), uid);
        }
    }
}

#[test]
fn a_terminal_is_shown_no_control_or_invisible_character() {
    let setup = Setup::with_hostile_names(&[]);
    let workdir = setup.daemon.workdir();
    let users = admin(&workdir, &["users"], "").ok();
    assert!(users.contains("  al\\u{200b}ice\\n  "), "{users}");
    let name = "a\u{1b}[31m\u{202e}b\nc";
    let shown = "a\\u{1b}[31m\\u{202e}b\\nc";
    admin(&workdir, &["delete-sessions", name], "").fails(&format!("No such user: {shown}"));
    let unlocked = admin(&workdir, &["unlock", name], "").ok();
    assert!(
        unlocked.contains(shown) && unlocked.lines().count() == 1,
        "{unlocked}"
    );
    let ended = admin(&workdir, &["delete-sessions", "al\u{200b}ice\n"], "").ok();
    assert_eq!(ended, "All sessions of al\\u{200b}ice\\n have ended.\n");
}
