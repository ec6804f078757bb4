//! Everything out, and back in.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    Node, codes_of, import, log_in, on, rows, secrets, usernames, whose_session, whose_token,
};
use crate::admin::{BOTH, Done, Way, command};
use crate::second_factor::used_secrets::use_a_code_of_the_day_after_tomorrow;
use crate::support::{Codes, Setup, enrol, wait_until_closed};

/// An export and the keys that belong to it.
pub(super) struct Export {
    folder: TempDir,
    text: String,
}

impl Export {
    pub(super) fn of(setup: &mut Setup, way: Way) -> Self {
        let text = on(setup, way, &["export"]).ok();
        let folder = tempfile::tempdir().unwrap();
        let keys = setup.daemon.workdir().join("secret.keys");
        fs::copy(keys, folder.path().join("keys")).unwrap();
        Self { folder, text }
    }

    fn keys(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    pub(super) fn import_into(&self, setup: &mut Setup, way: Way, more: &[&str]) -> Done {
        self.import_text(&self.text, setup, way, more)
    }

    fn import_text(&self, text: &str, setup: &mut Setup, way: Way, more: &[&str]) -> Done {
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

/// A daemon with users of every kind; gives alice's tokens and backup codes.
fn full() -> (Setup, Value) {
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
    let codes: Vec<_> = codes.iter().map(|code| code.expose()).collect();
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
fn everybody_comes_back_with_everything() {
    let (mut from, known) = full();
    // Used before: used for ever.
    let used = Codes::of("alice").now();
    let right = json!([true, ""]);
    assert_eq!(log_in(&mut from, "alice", "secret", Some(&used)), right);
    log_in(&mut from, "modern", "wrong", None);
    for way in BOTH {
        let export = Export::of(&mut from, way);
        let mut to = Setup::with(&[("THROTTLE__FAILURES", "5")]);
        let report = export.import_into(&mut to, Way::Store, &[]).ok();
        assert!(
            report.contains("\n9 of 9 users were brought.\n"),
            "{report}"
        );
        let users = from.client.call("get_users", json!([])).ok().clone();
        assert_eq!(*to.client.call("get_users", json!([])).ok(), users);
        // Its own keys, not those that it was sealed with.
        let own = fs::read(to.daemon.workdir().join("secret.keys")).unwrap();
        assert_ne!(own, fs::read(export.keys()).unwrap());

        assert_eq!(
            whose_token(&mut to, text(&known["token"])).as_deref(),
            Some("alice")
        );
        assert_eq!(
            whose_session(&mut to, text(&known["session"])).as_deref(),
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
            whose_token(&mut to, text(token)).as_deref(),
            Some("rotated")
        );
        let otpuser = &secrets["users"]["otpuser"];
        let now = codes_of(&otpuser["otp_secret"]).now();
        for code in [&now, text(&otpuser["backup_codes_valid"][0])] {
            let login = log_in(&mut to, "otpuser", text(&otpuser["password"]), Some(code));
            assert_eq!(login, right);
        }
        // A number is never used again, also not that of somebody who is gone.
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
fn into_the_database_that_it_is_of_it_changes_nothing() {
    for way in BOTH {
        let (mut setup, _) = full();
        let export = Export::of(&mut setup, way);
        let names = usernames(&mut setup);
        let report = export
            .import_into(&mut setup, way, &["--on-conflict", "rename"])
            .ok();
        assert!(
            report.contains("\n0 of 9 users were brought.\n"),
            "{report}"
        );
        assert!(
            rows(&report).iter().all(|row| row[7] == "is here already"),
            "{report}"
        );
        assert_eq!(usernames(&mut setup), names);
    }
}

/// By mistake, say.
#[test]
fn who_was_deleted_comes_back_under_a_new_number() {
    let (mut setup, known) = full();
    let export = Export::of(&mut setup, Way::Daemon);
    let secrets = secrets();
    let session = text(&secrets["users"]["tokenuser"]["sessions"][0]["session_token"]);
    let delete = json!({"username": "tokenuser", "session_token": known["session"]});
    setup.client.call("delete_user", delete).ok();
    assert_eq!(whose_session(&mut setup, session), None);
    let report = export.import_into(&mut setup, Way::Daemon, &[]).ok();
    assert!(
        report.contains("\n1 of 9 users were brought.\n"),
        "{report}"
    );
    assert_eq!(
        whose_session(&mut setup, session).as_deref(),
        Some("tokenuser")
    );
    let token = &secrets["users"]["tokenuser"]["api_tokens"][0]["token"];
    assert_eq!(
        whose_token(&mut setup, text(token)).as_deref(),
        Some("tokenuser")
    );
    assert_eq!(rows(&report)[4][..2], ["tokenuser", "11"]);
}

/// They are hashed with a key and the user's number there.
#[test]
fn where_somebody_has_been_they_come_without_backup_codes() {
    let (mut from, known) = full();
    let export = Export::of(&mut from, Way::Daemon);
    let mut to = Setup::new();
    let create = json!(["first", "secret"]);
    to.client.call("create_user", create).ok();
    let report = export.import_into(&mut to, Way::Daemon, &[]).ok();
    let alice = &rows(&report)[0];
    assert_eq!(alice[..5], ["alice", "2", "Argon2id", "on", "0"]);
    assert_eq!(
        alice[7],
        "comes, without backup codes (refresh_backup_codes makes new ones)"
    );
    let refused = json!([false, "invalid_otp_code"]);
    let code = text(&known["codes"][0]);
    assert_eq!(log_in(&mut to, "alice", "secret", Some(code)), refused);
    let now = Codes::of("alice").now();
    assert_eq!(
        log_in(&mut to, "alice", "secret", Some(&now)),
        json!([true, ""])
    );
    // Those of a node are hashed as it did.
    assert_eq!(rows(&report)[3][..5], ["otpuser", "5", "PBKDF2", "on", "8"]);
}

#[test]
fn the_key_of_an_export_comes_only_where_no_daemon_has_its_own() {
    let (mut from, _) = full();
    let export = Export::of(&mut from, Way::Daemon);
    let mut empty = Setup::new();
    let refused = export.import_into(&mut empty, Way::Daemon, &[]);
    refused.fails(
        "a database that gets the key of an export must have no daemon running: stop it, and try \
         again; nothing was changed",
    );
    assert_eq!(usernames(&mut empty), [""; 0]);
}

/// An export is read in parts, and somebody may be made in between.
#[test]
fn a_number_that_was_given_while_the_export_was_written_is_given_to_nobody_else() {
    use platypush_userd::admin::{AdminCommand, AdminReply};
    use platypush_userd::transfer::export::Part;

    let mut from = Setup::with_alice(&[]);
    let workdir = from.daemon.workdir();
    let mut lines = Vec::new();
    let (mut users, mut sessions) = (0, 0);
    let mut next = Some(Part::Heading);
    while let Some(part) = next {
        let part = match part {
            Part::Footing(export, ..) => Part::Footing(export, users, sessions),
            part => part,
        };
        let answer = platypush_userd::control::ask(&workdir, &AdminCommand::Export(part), None);
        let Ok(Some(Ok(AdminReply::Exported(exported, following)))) = answer else {
            panic!("an export");
        };
        if lines.is_empty() {
            let bob = json!({"username": "bob", "password": "secret",
                "executing_user": "alice", "executing_user_password": "secret"});
            from.client.call("create_user", bob).ok();
            let token = json!({"username": "bob", "password": "secret"});
            from.client.call("create_api_token", token).ok();
        }
        users += exported.users;
        sessions += exported.sessions;
        lines.extend(exported.lines);
        next = following;
    }
    let export = Export {
        folder: tempfile::tempdir().unwrap(),
        text: lines.join("\n"),
    };
    fs::copy(workdir.join("secret.keys"), export.keys()).unwrap();
    let mut to = Setup::new();
    export.import_into(&mut to, Way::Store, &[]).ok();
    assert_eq!(usernames(&mut to), ["alice", "bob"]);
    let carol = json!({"username": "carol", "password": "secret",
        "executing_user": "bob", "executing_user_password": "secret"});
    assert_eq!(to.client.call("create_user", carol).ok()["user_id"], 3);
    let token = json!({"username": "bob", "password": "secret"});
    assert_eq!(to.client.call("create_api_token", token).ok()["id"], 2);
}

/// Such as an older password of somebody.
#[test]
fn lines_of_another_export_do_not_open() {
    let (mut from, _) = full();
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
fn what_is_damaged_or_does_not_open_changes_nothing() {
    let (mut from, _) = full();
    let export = Export::of(&mut from, Way::Daemon);
    let lines: Vec<_> = export.text.lines().collect();
    let swapped = export.text.replacen("{\"user\":3,", "{\"user\":30,", 1);
    let joined = |lines: &[&str]| lines.join("\n");
    let twice = [&lines[..2], &lines[1..]].concat();
    let mut to = Setup::new();
    for (damaged, text) in [
        ("is cut off", joined(&lines[..lines.len() - 1])),
        (
            "is incomplete: of 9 users",
            joined(&[&lines[..2], &lines[3..]].concat()),
        ),
        ("line 3 of the export is damaged: it does not open", swapped),
        (
            "line 3 of the export is damaged: its user stands there twice",
            joined(&twice),
        ),
        ("its first line is no heading", joined(&lines[1..])),
        ("its first line is no heading", String::new()),
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

/// Names and times are for whoever looks; all else is sealed.
#[test]
fn an_export_shows_no_secret() {
    let (mut setup, known) = full();
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

/// More than a page of each.
#[test]
fn many_users_and_sessions_come_in_one_piece() {
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
        assert_eq!(whose_session(&mut to, &session).as_deref(), Some("alice"));
        let sessions = to.client.call("get_sessions", json!([session]));
        assert_eq!(sessions.ok().as_array().unwrap().len(), 2_501);
    }
}

/// Regression: steps that were used of a secret before 2FA was switched off.
#[test]
fn used_steps_of_earlier_secrets_come_along() {
    let mut from = Setup::with_alice(&[]);
    use_a_code_of_the_day_after_tomorrow(&mut from, |_| {});
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

/// Regression: an editor had put a byte order mark before the first line.
#[test]
fn a_byte_order_mark_is_passed_over() {
    let mut from = Setup::with_alice(&[]);
    let export = Export::of(&mut from, Way::Daemon);
    let keys = fs::read_to_string(export.keys()).unwrap();
    fs::write(export.keys(), format!("\u{feff}{keys}")).unwrap();
    let mut to = Setup::new();
    let marked = format!("\u{feff}{}", export.text);
    export.import_text(&marked, &mut to, Way::Daemon, &[]).ok();
    assert_eq!(usernames(&mut to), ["alice"]);
}
