//! Output and effect of each admin command.

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
use crate::store_changes::Changes as _;
use crate::store_conformance::bench::wait;
use crate::support::{
    Codes, Daemon, Load, Setup, credentials, enrol, open_store, wait_until_closed,
};

/// Number of failures after which a name is locked for an hour.
const LOCKING_FAILURES: u32 = 100;

/// Records failures under a name until it is locked for an hour.
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
        for _ in 0..LOCKING_FAILURES {
            let failure = store.note_failure(attempted, SystemClock.now(), None);
            failure.await.unwrap();
        }
    });
}

/// Changes the store while the daemon is stopped.
fn with_daemon_stopped(site: &mut Site, change: impl FnOnce(&Path)) {
    assert!(site.setup.daemon.stop().success());
    let workdir = site.setup.daemon.workdir();
    change(&workdir);
    wait_until_closed(&workdir);
    site.setup.daemon.restart();
}

#[test]
fn users_are_listed_with_second_factor_failures_and_lock() {
    for way in BOTH {
        let mut site = Site::new(way);
        let create = json!({
            "username": "bob", "password": "secret",
            "executing_user": "alice", "executing_user_password": "secret",
        });
        site.setup.client.call("create_user", create).ok();
        with_daemon_stopped(&mut site, |workdir| {
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
fn unlock_permits_another_attempt() {
    for way in BOTH {
        let mut site = Site::new(way);
        with_daemon_stopped(&mut site, |workdir| {
            lock(workdir, "alice");
            lock(workdir, "unknown");
        });
        let login_error = |site: &mut Site, name: &str| {
            let args = json!([name, "secret"]);
            let reply = site.setup.client.call("create_session", args);
            reply.errors().first().map(ToString::to_string)
        };
        for name in ["alice", "unknown"] {
            let locked = login_error(&mut site, name).unwrap();
            assert!(locked.starts_with("Too many failed attempts"), "{locked}");
        }

        let out = site.admin(&["unlock", "alice"]).ok();
        assert_eq!(out, "Cleared the failed attempts of alice.\n");
        assert_eq!(login_error(&mut site, "alice"), None);
        let locked = login_error(&mut site, "unknown").unwrap();
        assert!(locked.starts_with("Too many failed attempts"), "{locked}");

        let out = site.admin(&["unlock", "unknown"]).ok();
        assert!(out.ends_with("There is no user of that name.\n"), "{out}");
        let refused = login_error(&mut site, "unknown");
        assert_eq!(refused.as_deref(), Some("Invalid credentials"));
    }
}

#[test]
fn after_disable_otp_the_password_is_sufficient() {
    for way in BOTH {
        let mut site = Site::new(way);
        with_daemon_stopped(&mut site, |workdir| drop(enrol(workdir, "alice")));
        assert!(!site.accepts("secret", None));
        let out = site.admin(&["disable-otp", "alice"]).ok();
        assert_eq!(out, "Disabled 2FA for alice.\n");
        assert!(site.accepts("secret", None));
        let again = site.admin(&["disable-otp", "alice"]);
        again.fails("2FA is not enabled for alice");
    }
}

#[test]
fn reset_password_sets_the_password_and_ends_all_sessions() {
    for way in BOTH {
        let mut site = Site::new(way);
        let session = site.setup.session_of_alice();
        with_daemon_stopped(&mut site, |workdir| lock(workdir, "alice"));
        let reset = site.admin_with_input(&["reset-password", "alice"], "hunter2\n");
        let out = reset.ok();
        assert_eq!(
            out,
            "Set a new password for alice; deleted all its sessions and API tokens.\n"
        );
        assert!(!site.session_is_valid(&session));
        assert!(site.accepts("hunter2", None));
        assert!(!site.accepts("secret", None));
    }
}

#[test]
fn reset_password_checks_the_password_rules() {
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
        assert!(site.accepts("secret", None));
    }
}

#[test]
fn reset_password_keeps_the_second_factor() {
    let mut site = Site::new(Way::Daemon);
    with_daemon_stopped(&mut site, |workdir| drop(enrol(workdir, "alice")));
    site.admin_with_input(&["reset-password", "alice"], "hunter2")
        .ok();
    assert!(!site.accepts("hunter2", None));
    assert!(site.accepts("hunter2", Some(&Codes::of("alice").now())));
}

#[test]
fn delete_sessions_ends_all_sessions_and_permits_new_ones() {
    for way in BOTH {
        let mut site = Site::new(way);
        let session = site.setup.session_of_alice();
        assert!(site.session_is_valid(&session));
        let out = site.admin(&["delete-sessions", "alice"]).ok();
        assert_eq!(out, "Deleted all sessions of alice.\n");
        assert!(!site.session_is_valid(&session));
        let session = site.setup.session_of_alice();
        assert!(site.session_is_valid(&session));
    }
}

#[test]
fn delete_api_tokens_ends_tokens_that_a_reset_kept() {
    for way in BOTH {
        let mut site = Site::new(way);
        let create = json!({"username": "alice", "password": "secret"});
        let created = site.setup.client.call("create_api_token", create);
        let token = created.ok()["token"].clone();
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
            "Set a new password for alice; deleted all its sessions.\n"
        );
        assert!(is_valid(&mut site));
        let out = site.admin(&["delete-api-tokens", "alice"]).ok();
        assert_eq!(out, "Deleted all API tokens of alice.\n");
        assert!(!is_valid(&mut site));
    }
}

/// Regression: an attacker with a stolen password kept the API tokens created with it.
#[test]
fn reset_password_ends_api_tokens() {
    for way in BOTH {
        let mut site = Site::new(way);
        let create = json!({"username": "alice", "password": "secret"});
        let created = site.setup.client.call("create_api_token", create);
        let token = created.ok()["token"].clone();
        site.admin_with_input(&["reset-password", "alice"], "hunter2\n")
            .ok();
        let reply = site
            .setup
            .client
            .call("authenticate_api_token", json!([token]));
        reply.fails("Invalid API token");
        let create = json!({"username": "alice", "password": "hunter2"});
        site.setup.client.call("create_api_token", create).ok();
    }
}

#[test]
fn everything_opens_with_the_new_key() {
    for way in BOTH {
        let mut site = Site::new(way);
        with_daemon_stopped(&mut site, |workdir| drop(enrol(workdir, "alice")));
        let keys = site.setup.daemon.workdir().join("secret.keys");
        let before = fs::read_to_string(&keys).unwrap();
        let out = site.admin(&["rotate-key"]).ok();
        assert!(out.starts_with("Rotated to key 2: "), "{out}");
        let after = fs::read_to_string(&keys).unwrap();
        assert!(after.starts_with("2 ") && after.lines().count() == 1);
        assert_ne!(before[2..], after[2..]);
        assert!(site.accepts("secret", Some(&Codes::of("alice").now())));
        assert!(site.setup.daemon.stop().success());
        site.setup.daemon.restart();
        assert!(site.accepts("secret", Some(&Codes::of("alice").next())));
    }
}

#[test]
fn no_request_fails_during_key_rotation() {
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
fn the_error_names_an_unknown_user() {
    for way in BOTH {
        let mut site = Site::new(way);
        for command in [
            "disable-otp",
            "reset-password",
            "delete-sessions",
            "delete-api-tokens",
        ] {
            let output = site.admin_with_input(&[command, "bob"], "hunter2\n");
            output.fails("No such user: bob");
        }
    }
}

#[test]
fn a_missing_working_directory_is_not_created() {
    let folder = tempfile::tempdir().unwrap();
    let workdir = folder.path().join("workdir");
    let output = admin(&workdir, &["users"], "");
    assert_eq!(output.status, 1);
    assert!(
        output.err.contains("there is no working directory"),
        "{output:?}"
    );
    assert!(!workdir.exists());
}

/// Skipped unless it runs as root.
#[test]
fn root_becomes_the_owner_of_the_working_directory() {
    const NOBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut site = Site::new(Way::Store);
    assert!(site.setup.daemon.stop().success());
    let folder = site.setup.daemon.folder();
    // A copy that the owner of the working directory can execute.
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
    // The rotation replaced the file.
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
fn output_contains_no_control_or_invisible_character() {
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
    let deleted = admin(&workdir, &["delete-sessions", "al\u{200b}ice\n"], "").ok();
    assert_eq!(deleted, "Deleted all sessions of al\\u{200b}ice\\n.\n");
}
