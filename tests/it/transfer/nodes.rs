//! Users of Platypush nodes keep all their credentials.

use platypush_userd::store::Store as _;
use serde_json::{Value, json};

use super::{Node, codes_of, import, log_in, rows, secrets, session_owner, token_owner, usernames};
use crate::admin::{BOTH, Way, command};
use crate::store_changes::Changes as _;
use crate::store_conformance::bench::wait;
use crate::support::{Setup, open_store, wait_until_closed};

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array()
        .into_iter()
        .flatten()
        .map(|text| text.as_str().unwrap())
}

#[test]
fn all_credentials_of_a_node_are_valid_after_an_import() {
    let mut setup = Setup::new();
    let node = Node::copy("workdir");
    let report = import(&mut setup, Way::Daemon, &node, &[]).ok();
    assert!(report.contains("Imported 8 of 8 users."), "{report}");
    let secrets = secrets();
    let users = secrets["users"].as_object().unwrap();
    assert_eq!(usernames(&mut setup).len(), users.len());
    for (name, user) in users {
        passwords_and_codes(&mut setup, name, user);
        // Twice: after the first use, the store has a hash of its own for a token.
        for _ in 0..2 {
            tokens_and_sessions(&mut setup, name, user);
        }
    }
}

fn passwords_and_codes(setup: &mut Setup, name: &str, user: &Value) {
    let password = user["password"].as_str().unwrap();
    let wrong = json!([false, "invalid_credentials"]);
    assert_eq!(log_in(setup, name, "wrong", None), wrong, "{name}");
    if let Some(old) = user["old_password"].as_str() {
        assert_eq!(log_in(setup, name, old, None), wrong, "{name}");
    }
    let right = json!([true, ""]);
    if user["otp_secret"].is_null() {
        // Twice: the first login replaces the imported hash.
        for _ in 0..2 {
            assert_eq!(log_in(setup, name, password, None), right, "{name}");
        }
        return;
    }
    let missing = json!([false, "missing_otp_code"]);
    assert_eq!(log_in(setup, name, password, None), missing, "{name}");
    let codes = codes_of(&user["otp_secret"]);
    let used = json!([false, "invalid_otp_code"]);
    let wrong = codes.wrong();
    assert_eq!(log_in(setup, name, password, Some(&wrong)), used, "{name}");
    // Computed only now: the logins before may have taken longer than a code is valid.
    let now = codes.now();
    assert_eq!(log_in(setup, name, password, Some(&now)), right, "{name}");
    assert_eq!(log_in(setup, name, password, Some(&now)), used, "{name}");
    for invalid in texts(&user["backup_codes_used"]).chain(texts(&user["backup_codes_expired"])) {
        assert_eq!(
            log_in(setup, name, password, Some(invalid)),
            used,
            "{name} {invalid}"
        );
    }
    // A code is compared with the hash of each unused code until one matches. With ten bcrypt
    // hashes that takes minutes on a busy machine, so the test uses the first code.
    let bcrypt = texts(&user["backup_codes"]).next();
    if let Some(code) = bcrypt.or(texts(&user["backup_codes_valid"]).next()) {
        let typed = format!("{}-{}", code[..8].to_lowercase(), &code[8..]);
        let login = log_in(setup, name, password, Some(&typed));
        assert_eq!(login, right, "{name} {code}");
    }
    for code in texts(&user["backup_codes_valid"]).take(1) {
        let login = log_in(setup, name, password, Some(code));
        assert_eq!(login, used, "{name} {code}");
    }
}

fn tokens_and_sessions(setup: &mut Setup, name: &str, user: &Value) {
    for token in user["api_tokens"].as_array().into_iter().flatten() {
        let text = token["token"].as_str().unwrap();
        let expected = (token["valid"] != false).then(|| name.to_owned());
        assert_eq!(token_owner(setup, text), expected, "{token}");
        let damaged = format!("{}x", &text[..text.len() - 1]);
        assert_eq!(token_owner(setup, &damaged), None, "{token}");
    }
    for session in user["sessions"].as_array().into_iter().flatten() {
        let text = session["session_token"].as_str().unwrap();
        let expected = (session["valid"] != false).then(|| name.to_owned());
        assert_eq!(session_owner(setup, text), expected, "{session}");
    }
}

#[test]
fn a_database_without_salts_and_second_factors_is_imported() {
    let mut setup = Setup::new();
    let node = Node::copy("legacy-0.50.3");
    let report = import(&mut setup, Way::Daemon, &node, &[]).ok();
    assert_eq!(
        rows(&report),
        [["oldtimer", "1", "bcrypt", "-", "0", "0", "1", "imported"]]
    );
    let session = "b5e81cc23f8857eb3f3a13c1fa308a2bcfb09712791c02f79772bb7d02b477e0";
    assert_eq!(
        session_owner(&mut setup, session).as_deref(),
        Some("oldtimer")
    );
    let right = log_in(&mut setup, "oldtimer", "old-Passw0rd!", None);
    assert_eq!(right, json!([true, ""]));
}

#[test]
fn the_report_lists_imported_and_skipped_users() {
    let mut setup = Setup::new();
    let node = Node::copy("workdir");
    node.change("INSERT INTO user (user_id, username) VALUES (50, 'ghost')");
    node.change(
        "INSERT INTO user (user_id, username, password) SELECT 51, '  ', password FROM user \
         WHERE username = 'legacy'",
    );
    let before = node.files();
    let report = import(&mut setup, Way::Daemon, &node, &[]).ok();
    assert_eq!(node.files(), before, "the node was changed");
    let rows = rows(&report);
    assert_eq!(
        rows[..4],
        [
            ["legacy", "1", "bcrypt", "-", "0", "1", "0", "imported"],
            ["modern", "2", "PBKDF2", "-", "0", "0", "0", "imported"],
            ["otpuser", "3", "PBKDF2", "on", "8", "0", "0", "imported"],
            ["tokenuser", "4", "PBKDF2", "-", "0", "3", "2", "imported"],
        ]
    );
    assert!(
        rows[8].contains(&"skipped: Invalid or empty username"),
        "{report}"
    );
    for left in [
        "user \"ghost\" (row 50): it has no password",
        "API token \"orphan-token\" (row 7): its user, number 999, does not exist",
        "session (row 4): its user, number 999, does not exist",
        "API token \"expired\" of user \"tokenuser\" (row 4): it expired at ",
        "session of user \"tokenuser\" (row 3): it expired at ",
        "backup code of user \"otpuser\" (row 20): it expired at ",
    ] {
        let count = report
            .lines()
            .filter(|line| line.trim_start().starts_with(left));
        assert_eq!(count.count(), 1, "{left}\n{report}");
    }
    assert!(report.contains("\nImported 8 of 9 users.\n"), "{report}");
    assert!(report.contains("JSON web tokens of the node are not imported"));
    setup
        .daemon
        .wait_for_log("audit: action=\"import\" user=\"legacyotp\"");
    let entries = setup.daemon.count_in_log("audit: action=\"import\"");
    assert_eq!(entries, 1 + 8, "one for the import and one for each user");
}

#[test]
fn a_repeated_import_changes_nothing() {
    for way in BOTH {
        let mut setup = Setup::new();
        let node = Node::copy("workdir");
        import(&mut setup, way, &node, &["--on-conflict", "rename"]).ok();
        // Changes in this store between the imports stay.
        let change = json!(["modern", "modern-Passw0rd!", "new"]);
        setup.client.call("update_password", change).ok();
        let delete = json!({"username": "Zoë", "executing_user": "modern",
            "executing_user_password": "new"});
        setup.client.call("delete_user", delete).ok();
        node.change("DELETE FROM user WHERE username = 'Zoë'");
        let before = usernames(&mut setup);
        for _ in 0..2 {
            let report = import(&mut setup, way, &node, &["--on-conflict", "rename"]).ok();
            assert!(report.contains("\nImported 0 of 7 users.\n"), "{report}");
            assert!(
                rows(&report)
                    .iter()
                    .all(|row| row[7] == "skipped: already exists")
            );
            assert_eq!(usernames(&mut setup), before);
        }
        let right = log_in(&mut setup, "modern", "new", None);
        assert_eq!(right, json!([true, ""]));
    }
}

/// Otherwise, a regular import would undo each deletion.
#[test]
fn a_deleted_user_is_imported_again_only_with_bring_deleted() {
    let mut setup = Setup::with_alice(&[]);
    let node = Node::copy("workdir");
    import(&mut setup, Way::Daemon, &node, &[]).ok();
    let delete = json!({"username": "tokenuser", "executing_user": "alice",
        "executing_user_password": "secret"});
    setup.client.call("delete_user", delete).ok();
    let token = "tokenuser:giHY0Q3qczkdtxCDVRsYMUoVojuF44EC";
    for way in BOTH {
        let report = import(&mut setup, way, &node, &["--on-conflict", "rename"]).ok();
        assert!(report.contains("\nImported 0 of 8 users.\n"), "{report}");
        let row = &rows(&report)[3];
        assert_eq!(
            row[7],
            "skipped: deleted here since an earlier import (--bring-deleted)"
        );
        assert_eq!(token_owner(&mut setup, token), None);
    }
    let report = import(&mut setup, Way::Daemon, &node, &["--bring-deleted"]).ok();
    assert!(report.contains("\nImported 1 of 8 users.\n"), "{report}");
    assert_eq!(rows(&report)[3][1], "10", "a new number");
    assert_eq!(token_owner(&mut setup, token).as_deref(), Some("tokenuser"));
}

#[test]
fn a_dry_run_reports_and_changes_nothing() {
    for way in BOTH {
        let mut setup = Setup::with_alice(&[]);
        let node = Node::copy("workdir");
        let planned = import(&mut setup, way, &node, &["--dry-run"]).ok();
        assert!(planned.contains("Would import 8 of 8 users. Nothing was changed (--dry-run)."));
        assert_eq!(usernames(&mut setup), ["alice"]);
        let done = import(&mut setup, way, &node, &[]).ok();
        assert_eq!(rows(&planned), rows(&done));
    }
}

#[test]
fn without_the_otp_key_no_user_is_imported() {
    let mut setup = Setup::new();
    let node = Node::copy("workdir");
    let key = node.0.path().join("otp/key");
    let elsewhere = node.0.path().join("elsewhere");
    std::fs::rename(&key, &elsewhere).unwrap();
    let other = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/platypush/other_key"
    );
    for more in [&[][..], &["--otp-key", other]] {
        let done = import(&mut setup, Way::Daemon, &node, more);
        assert_eq!((done.status, done.out.as_str()), (1, ""), "{done:?}");
        assert_eq!(usernames(&mut setup), [""; 0]);
    }
    let named = ["--otp-key", elsewhere.to_str().unwrap()];
    import(&mut setup, Way::Daemon, &node, &named).ok();
    assert_eq!(usernames(&mut setup).len(), 8);
}

#[test]
fn a_missing_database_is_named() {
    let setup = Setup::new();
    let empty = tempfile::tempdir().unwrap();
    let path = empty.path().to_str().unwrap();
    let arguments = ["import", "platypush", "--workdir", path];
    let done = command(&setup.daemon.workdir(), &arguments, "");
    assert_eq!(done.status, 1);
    assert!(done.err.contains("main.db"), "{done:?}");
}

/// After a login and one use of each token, a user has no imported hash left.
#[test]
fn the_first_login_and_the_first_use_replace_imported_hashes() {
    let mut setup = Setup::new();
    let node = Node::copy("workdir");
    import(&mut setup, Way::Daemon, &node, &[]).ok();
    let secrets = secrets();
    for name in ["legacy", "tokenuser", "rotated"] {
        let user = &secrets["users"][name];
        let code = (!user["otp_secret"].is_null()).then(|| codes_of(&user["otp_secret"]).now());
        let password = user["password"].as_str().unwrap();
        log_in(&mut setup, name, password, code.as_deref());
        for token in user["api_tokens"].as_array().unwrap() {
            token_owner(&mut setup, token["token"].as_str().unwrap());
        }
    }
    assert!(setup.daemon.stop().success());
    wait_until_closed(&setup.daemon.workdir());
    let store = open_store(&setup.daemon.workdir()).unwrap();
    for name in ["legacy", "tokenuser", "rotated"] {
        let user = wait(store.user_by_name(name)).unwrap().unwrap();
        assert!(user.password.expose().starts_with("$argon2id$"), "{name}");
        assert!(!user.has_imported_tokens(), "{name}");
    }
    let user = wait(store.user_by_name("12345")).unwrap().unwrap();
    assert!(user.password.expose().starts_with("$pbkdf2-sha256$"));
    assert!(!wait(store.has_imported_tokens()).unwrap());
}
