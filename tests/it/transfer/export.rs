//! Export of a complete store, and import of the export.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    Node, codes_of, import, log_in, on, rows, secrets, session_owner, token_owner, usernames,
};
use crate::admin::{BOTH, CommandOutput, Way, command};
use crate::second_factor::used_secrets::use_code_two_days_ahead;
use crate::support::{Codes, Setup, enrol, wait_until_closed};

/// An export and its keys.
pub(super) struct Export {
    pub(super) folder: TempDir,
    pub(super) text: String,
}

impl Export {
    pub(super) fn of(setup: &mut Setup, way: Way) -> Self {
        let text = on(setup, way, &["export"]).ok();
        let folder = tempfile::tempdir().unwrap();
        let keys = setup.daemon.workdir().join("secret.keys");
        fs::copy(keys, folder.path().join("keys")).unwrap();
        Self { folder, text }
    }

    pub(super) fn keys(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    pub(super) fn import_into(&self, setup: &mut Setup, way: Way, more: &[&str]) -> CommandOutput {
        self.import_text(&self.text, setup, way, more)
    }

    fn import_text(&self, text: &str, setup: &mut Setup, way: Way, more: &[&str]) -> CommandOutput {
        let file = self.folder.path().join("export.jsonl");
        fs::write(&file, text).unwrap();
        let keys = self.keys();
        let base = [
            "import",
            "jsonl",
            file.to_str().unwrap(),
            "--keys",
            keys.to_str().unwrap(),
        ];
        on(setup, way, &[&base, more].concat())
    }
}

/// Starts a daemon with users of every kind and returns the tokens and backup codes of alice.
fn populated() -> (Setup, Value) {
    let mut setup = Setup::with_alice(&[("THROTTLE__FAILURES", "5")]);
    let args = json!({"username": "alice", "password": "secret", "name": "script"});
    let token = setup.client.call("create_api_token", args).ok()["token"].clone();
    let session = setup.session_of_alice();
    let gone = json!({"username": "gone", "password": "x", "session_token": session});
    setup.client.call("create_user", gone.clone()).ok();
    let delete = json!({"username": "gone", "session_token": session});
    setup.client.call("delete_user", delete).ok();
    assert!(setup.daemon.stop().success());
    let codes = enrol(&setup.daemon.workdir(), "alice");
    let codes: Vec<_> = codes.iter().map(|code| code.expose_secret()).collect();
    let known = json!({"token": token, "session": session, "codes": codes});
    wait_until_closed(&setup.daemon.workdir());
    setup.daemon.restart();
    import(&mut setup, Way::Daemon, &Node::copy("workdir"), &[]).ok();
    (setup, known)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn an_import_restores_all_users_with_all_credentials() {
    let (mut from, known) = populated();
    // A code used before the export stays rejected.
    let used = Codes::of("alice").now();
    let right = json!([true, ""]);
    assert_eq!(log_in(&mut from, "alice", "secret", Some(&used)), right);
    log_in(&mut from, "modern", "wrong", None);
    for way in BOTH {
        let export = Export::of(&mut from, way);
        let mut to = Setup::with(&[("THROTTLE__FAILURES", "5")]);
        let report = export.import_into(&mut to, Way::Store, &[]).ok();
        assert!(report.contains("\nImported 9 of 9 users.\n"), "{report}");
        let users = from.client.call("get_users", json!([])).ok().clone();
        assert_eq!(*to.client.call("get_users", json!([])).ok(), users);
        // The store keeps keys of its own, not those of the export.
        let own = fs::read(to.daemon.workdir().join("secret.keys")).unwrap();
        assert_ne!(own, fs::read(export.keys()).unwrap());

        assert_eq!(
            token_owner(&mut to, text(&known["token"])).as_deref(),
            Some("alice")
        );
        assert_eq!(
            session_owner(&mut to, text(&known["session"])).as_deref(),
            Some("alice")
        );
        let again = log_in(&mut to, "alice", "secret", Some(&used));
        assert_eq!(again, json!([false, "invalid_otp_code"]));
        for code in [
            Codes::of("alice").next(),
            text(&known["codes"][0]).to_owned(),
        ] {
            assert_eq!(log_in(&mut to, "alice", "secret", Some(&code)), right);
        }
        let secrets = secrets();
        let token = &secrets["users"]["rotated"]["api_tokens"][0]["token"];
        assert_eq!(
            token_owner(&mut to, text(token)).as_deref(),
            Some("rotated")
        );
        let otpuser = &secrets["users"]["otpuser"];
        let now = codes_of(&otpuser["otp_secret"]).now();
        for code in [&now, text(&otpuser["backup_codes_valid"][0])] {
            let login = log_in(&mut to, "otpuser", text(&otpuser["password"]), Some(code));
            assert_eq!(login, right);
        }
        // A number is never reused, not even that of a deleted user.
        let make = json!({"username": "new", "password": "x",
            "session_token": known["session"]});
        let made = to.client.call("create_user", make).ok()["user_id"].clone();
        assert_eq!(
            made,
            users.as_array().unwrap().last().unwrap()["user_id"]
                .as_u64()
                .unwrap()
                + 1
        );
    }
}

#[test]
fn an_import_into_the_exported_database_changes_nothing() {
    for way in BOTH {
        let (mut setup, _) = populated();
        let export = Export::of(&mut setup, way);
        let names = usernames(&mut setup);
        let report = export
            .import_into(&mut setup, way, &["--on-conflict", "rename"])
            .ok();
        assert!(report.contains("\nImported 0 of 9 users.\n"), "{report}");
        assert!(
            rows(&report)
                .iter()
                .all(|row| row[7] == "skipped: already exists"),
            "{report}"
        );
        assert_eq!(usernames(&mut setup), names);
    }
}

/// Restores a user that was deleted by mistake.
#[test]
fn a_deleted_user_is_restored_with_a_new_number() {
    let (mut setup, known) = populated();
    let export = Export::of(&mut setup, Way::Daemon);
    let secrets = secrets();
    let session = text(&secrets["users"]["tokenuser"]["sessions"][0]["session_token"]);
    let delete = json!({"username": "tokenuser", "session_token": known["session"]});
    setup.client.call("delete_user", delete).ok();
    assert_eq!(session_owner(&mut setup, session), None);
    let report = export.import_into(&mut setup, Way::Daemon, &[]).ok();
    assert!(report.contains("\nImported 1 of 9 users.\n"), "{report}");
    assert_eq!(
        session_owner(&mut setup, session).as_deref(),
        Some("tokenuser")
    );
    let token = &secrets["users"]["tokenuser"]["api_tokens"][0]["token"];
    assert_eq!(
        token_owner(&mut setup, text(token)).as_deref(),
        Some("tokenuser")
    );
    assert_eq!(rows(&report)[4][..2], ["tokenuser", "11"]);
}

/// Backup codes are hashed with a key and the number of the user, both of the exporting store.
#[test]
fn backup_codes_are_not_imported_into_a_store_with_users() {
    let (mut from, known) = populated();
    let export = Export::of(&mut from, Way::Daemon);
    let mut to = Setup::new();
    let create = json!(["first", "secret"]);
    to.client.call("create_user", create).ok();
    let report = export.import_into(&mut to, Way::Daemon, &[]).ok();
    let alice = &rows(&report)[0];
    assert_eq!(alice[..5], ["alice", "2", "Argon2id", "on", "0"]);
    assert_eq!(
        alice[7],
        "imported, without backup codes (refresh_backup_codes creates new ones)"
    );
    let refused = json!([false, "invalid_otp_code"]);
    let code = text(&known["codes"][0]);
    assert_eq!(log_in(&mut to, "alice", "secret", Some(code)), refused);
    let now = Codes::of("alice").now();
    assert_eq!(
        log_in(&mut to, "alice", "secret", Some(&now)),
        json!([true, ""])
    );
    // Backup codes of a node keep the hashes of the node.
    assert_eq!(rows(&report)[3][..5], ["otpuser", "5", "PBKDF2", "on", "8"]);
}

#[test]
fn a_store_takes_the_key_of_an_export_only_without_a_daemon() {
    let (mut from, _) = populated();
    let export = Export::of(&mut from, Way::Daemon);
    let mut empty = Setup::new();
    let refused = export.import_into(&mut empty, Way::Daemon, &[]);
    refused.fails(
        "the import replaces the key of the backup codes, which a running daemon keeps in memory: \
         stop the daemon and try again; nothing was changed",
    );
    assert_eq!(usernames(&mut empty), [""; 0]);
}

/// A store of an older schema is refused with "export with the version that wrote it, then import
/// here".
#[test]
fn an_export_of_the_version_with_schema_4_is_imported_with_all_credentials() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/export");
    let export = Export {
        folder: tempfile::tempdir().unwrap(),
        text: fs::read_to_string(data.join("schema-4.jsonl")).unwrap(),
    };
    fs::copy(data.join("secret.keys"), export.keys()).unwrap();
    let permissions = fs::Permissions::from_mode(0o600);
    fs::set_permissions(export.keys(), permissions).unwrap();
    let mut to = Setup::new();
    let report = export.import_into(&mut to, Way::Store, &[]).ok();
    assert!(report.contains("Imported 2 of 2 users."), "{report}");
    assert_eq!(log_in(&mut to, "bob", "pw", None), json!([true, ""]));
    let code = Some("JWXKVG2M5KUSY5K6");
    let right = json!([true, ""]);
    assert_eq!(log_in(&mut to, "alice", "secret", code), right);
    let used = json!([false, "invalid_otp_code"]);
    assert_eq!(log_in(&mut to, "alice", "secret", code), used);
    let totp = codes_of(&json!("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")).now();
    assert_eq!(log_in(&mut to, "alice", "secret", Some(&totp)), right);
    let session = "fa8ed7278f8eaed6dc1c0914aba65e4012445f6f00ac5282fd88b5ac564f28be";
    assert_eq!(session_owner(&mut to, session).as_deref(), Some("bob"));
    let token = "bob:HpnWDhWyFDf0bjWmwI8M0BDH2r8JmbH3";
    assert_eq!(token_owner(&mut to, token).as_deref(), Some("bob"));
}

/// Mixed lines would restore an older password, for example.
#[test]
fn lines_of_another_export_are_rejected() {
    let (mut from, _) = populated();
    let old = Export::of(&mut from, Way::Daemon).text;
    let change = json!(["modern", "modern-Passw0rd!", "new"]);
    from.client.call("update_password", change).ok();
    let new = Export::of(&mut from, Way::Daemon);
    let line_of = |export: &str| {
        let line = export.lines().find(|line| line.contains("\"modern\""));
        line.unwrap().to_owned()
    };
    let mixed = new.text.replace(&line_of(&new.text), &line_of(&old));
    let last = |export: &str| export.lines().last().unwrap().to_owned();
    let shortened: Vec<_> = new
        .text
        .lines()
        .filter(|line| !line.contains("\"modern\""))
        .collect();
    let shortened = shortened
        .join("\n")
        .replace("{\"users\":9,", "{\"users\":8,");
    let mut to = Setup::new();
    for text in [
        mixed,
        shortened,
        new.text.replace(&last(&new.text), &last(&old)),
    ] {
        let done = new.import_text(&text, &mut to, Way::Store, &[]);
        assert_eq!(done.status, 1);
        assert!(done.err.contains("it does not open"), "{done:?}");
    }
    assert_eq!(usernames(&mut to), [""; 0]);
    new.import_into(&mut to, Way::Store, &[]).ok();
}

#[test]
fn a_damaged_export_changes_nothing() {
    let (mut from, _) = populated();
    let export = Export::of(&mut from, Way::Daemon);
    let lines: Vec<_> = export.text.lines().collect();
    let swapped = export.text.replacen("{\"user\":3,", "{\"user\":30,", 1);
    let joined = |lines: &[&str]| lines.join("\n");
    let twice = [&lines[..2], &lines[1..]].concat();
    let mut to = Setup::new();
    for (damaged, text) in [
        ("is cut off", joined(&lines[..lines.len() - 1])),
        (
            "is incomplete: it has 8 of 9 users",
            joined(&[&lines[..2], &lines[3..]].concat()),
        ),
        ("line 3 of the export is damaged: it does not open", swapped),
        (
            "line 3 of the export is damaged: its user is a duplicate",
            joined(&twice),
        ),
        ("its first line is not a header", joined(&lines[1..])),
        ("its first line is not a header", String::new()),
        (
            "line 2 of the export is damaged: it is neither",
            joined(&[lines[0], "{}"]),
        ),
        (
            "this export has version 7",
            export.text.replacen(
                "\"platypush_userd_export\":1",
                "\"platypush_userd_export\":7",
                1,
            ),
        ),
    ] {
        let done = export.import_text(&text, &mut to, Way::Store, &[]);
        assert_eq!((done.status, &*done.out), (1, ""), "{damaged}: {done:?}");
        assert!(done.err.contains(damaged), "{damaged}: {done:?}");
        assert_eq!(usernames(&mut to), [""; 0], "{damaged}");
    }
    let file = export.folder.path().join("export.jsonl");
    fs::write(&file, &export.text).unwrap();
    let own_keys = ["import", "jsonl", file.to_str().unwrap()];
    let done = command(&to.daemon.workdir(), &own_keys, "");
    assert_eq!(done.status, 1);
    assert!(done.err.contains("--keys FILE"), "{done:?}");
}

/// Names and times are readable in an export; everything else is sealed.
#[test]
fn an_export_contains_no_readable_secret() {
    let (mut setup, known) = populated();
    let export = Export::of(&mut setup, Way::Daemon).text;
    let secrets = secrets();
    let otpuser = &secrets["users"]["otpuser"];
    for secret in [
        text(&known["token"]),
        text(&known["session"]),
        text(&known["codes"][0]),
        text(&otpuser["otp_secret"]),
        text(&otpuser["password"]),
        "$argon2id$",
        "$pbkdf2",
        "$2b$",
    ] {
        assert!(!export.contains(secret), "{secret}");
    }
    let lines: Vec<Value> = export
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[1]["username"], "alice");
    let last = lines.last().unwrap();
    assert_eq!([&last["users"], &last["sessions"]], [9, 3]);
    setup.daemon.wait_for_log("audit: action=\"export\"");
    assert_eq!(setup.daemon.count_in_log("audit: action=\"export\""), 1);
}

/// More than one page of users and of sessions.
#[test]
fn many_users_and_sessions_are_imported_completely() {
    let mut from = Setup::with_alice(&[]);
    let session = from.session_of_alice();
    let args = |number| {
        json!({"username": format!("user-{number}"), "password": "secret",
        "session_token": session})
    };
    let calls: Vec<_> = (0..600)
        .map(|number| from.client.send("create_user", args(number)))
        .collect();
    for id in &calls {
        from.client.reply(id).ok();
    }
    let log_in = json!(["alice", "secret"]);
    let calls: Vec<_> = (0..2_500)
        .map(|_| from.client.send("create_session", log_in.clone()))
        .collect();
    for id in &calls {
        from.client.reply(id).ok();
    }
    let export = Export::of(&mut from, Way::Daemon);
    assert!(export.text.contains("\n{\"users\":601,\"sessions\":2501,"));
    let mut to = Setup::new();
    for way in [Way::Daemon, Way::Store] {
        export.import_into(&mut to, way, &[]).ok();
        assert_eq!(usernames(&mut to), usernames(&mut from));
        assert_eq!(session_owner(&mut to, &session).as_deref(), Some("alice"));
        let sessions = to.client.call("get_sessions", json!([session]));
        assert_eq!(sessions.ok().as_array().unwrap().len(), 2_501);
    }
}

/// Regression: an export left out the used steps of a secret once 2FA was disabled.
#[test]
fn used_steps_of_earlier_secrets_are_exported() {
    let mut from = Setup::with_alice(&[]);
    use_code_two_days_ahead(&mut from, |_| {});
    on(&mut from, Way::Daemon, &["admin", "disable-otp", "alice"]).ok();
    let codes = Codes::of("alice");
    let export = Export::of(&mut from, Way::Daemon);
    let mut to = Setup::new();
    export.import_into(&mut to, Way::Store, &[]).ok();
    let secret = codes.0.to_base32();
    let args = json!(["alice", "secret", secret.as_str(), codes.now()]);
    to.client.call("enable_otp", args).ok();
    let used = log_in(&mut to, "alice", "secret", Some(&codes.next()));
    assert_eq!(used, json!([false, "invalid_otp_code"]));
}

/// Regression: a byte order mark, as some editors write it, made the first line invalid.
#[test]
fn a_byte_order_mark_is_ignored() {
    let mut from = Setup::with_alice(&[]);
    let export = Export::of(&mut from, Way::Daemon);
    let keys = fs::read_to_string(export.keys()).unwrap();
    fs::write(export.keys(), format!("\u{feff}{keys}")).unwrap();
    let mut to = Setup::new();
    let marked = format!("\u{feff}{}", export.text);
    export.import_text(&marked, &mut to, Way::Daemon, &[]).ok();
    assert_eq!(usernames(&mut to), ["alice"]);
}
