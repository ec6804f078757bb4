//! Imports of several nodes, and names that exist on more than one of them.

use serde_json::json;

use super::{Node, import, log_in, rows, session_owner, token_owner, usernames};
use crate::admin::{BOTH, Way, command};
use crate::support::Setup;

const TOKEN: &str = "tokenuser:giHY0Q3qczkdtxCDVRsYMUoVojuF44EC";
const SESSION: &str = "6c4c13ec9286464aab30528939f38ab428fa938ffa1c0efdb9ac3482b313db07";

/// Creates a user with a name that a user of the node also has, and returns an API token of it.
fn create_namesake(setup: &mut Setup, name: &str) -> String {
    let create = json!({"username": name, "password": "other", "executing_user": "alice",
        "executing_user_password": "secret"});
    setup.client.call("create_user", create).ok();
    let args = json!({"username": name, "password": "other"});
    let made = setup.client.call("create_api_token", args);
    made.ok()["token"].as_str().unwrap().to_owned()
}

#[test]
fn a_user_with_a_taken_name_is_skipped() {
    for way in BOTH {
        let mut setup = Setup::with_alice(&[]);
        let others = create_namesake(&mut setup, "tokenuser");
        let report = import(&mut setup, way, &Node::copy("workdir"), &[]).ok();
        assert!(report.contains("\nImported 7 of 8 users.\n"), "{report}");
        let row = &rows(&report)[3];
        assert_eq!(row[..2], ["tokenuser", "-"]);
        assert!(
            row[7].starts_with("skipped: another user has this name"),
            "{report}"
        );
        assert_eq!(token_owner(&mut setup, TOKEN), None);
        assert_eq!(session_owner(&mut setup, SESSION), None);
        assert_eq!(
            token_owner(&mut setup, &others).as_deref(),
            Some("tokenuser")
        );
    }
}

/// Tokens of the imported user stay valid although they contain the old name.
#[test]
fn a_renamed_user_keeps_its_tokens_sessions_and_password() {
    for way in BOTH {
        let mut setup = Setup::with_alice(&[]);
        let others = create_namesake(&mut setup, "tokenuser");
        create_namesake(&mut setup, "tokenuser-2");
        let node = Node::copy("workdir");
        let rename = ["--on-conflict", "rename"];
        let report = import(&mut setup, way, &node, &rename).ok();
        assert!(report.contains("\nImported 8 of 8 users.\n"), "{report}");
        assert_eq!(
            rows(&report)[3][7],
            "imported as tokenuser-3: the name is taken"
        );
        let name = Some("tokenuser-3");
        for _ in 0..2 {
            assert_eq!(token_owner(&mut setup, TOKEN).as_deref(), name);
            assert_eq!(session_owner(&mut setup, SESSION).as_deref(), name);
            assert_eq!(
                token_owner(&mut setup, &others).as_deref(),
                Some("tokenuser")
            );
            setup.daemon.kill();
            setup.daemon.restart();
        }
        let right = json!([true, ""]);
        let password = "token-Passw0rd!";
        assert_eq!(log_in(&mut setup, "tokenuser-3", password, None), right);
        assert_eq!(log_in(&mut setup, "tokenuser", "other", None), right);
        let again = import(&mut setup, way, &node, &rename).ok();
        assert_eq!(rows(&again)[3][7], "skipped: already exists as tokenuser-3");
        assert!(again.contains("\nImported 0 of 8 users.\n"), "{again}");

        let made = json!({"username": "tokenuser-3", "password": password});
        let made = setup.client.call("create_api_token", made).ok()["token"].clone();
        let made = made.as_str().unwrap();
        assert!(made.starts_with("tokenuser-3:"));
        assert_eq!(token_owner(&mut setup, made).as_deref(), name);
        let delete = json!({"username": "tokenuser-3", "executing_user": "alice",
            "executing_user_password": "secret"});
        setup.client.call("delete_user", delete).ok();
        for gone in [TOKEN, made] {
            assert_eq!(token_owner(&mut setup, gone), None);
        }
    }
}

/// A token contains the name that its user had when the token was created.
#[test]
fn tokens_with_any_earlier_name_of_a_user_stay_valid() {
    let mut first = Setup::with_alice(&[]);
    create_namesake(&mut first, "tokenuser");
    let rename = ["--on-conflict", "rename"];
    import(&mut first, Way::Daemon, &Node::copy("workdir"), &rename).ok();
    let made = json!({"username": "tokenuser-2", "password": "token-Passw0rd!"});
    let own = first.client.call("create_api_token", made).ok()["token"].clone();
    let own = own.as_str().unwrap();
    let workdir = first.daemon.workdir();
    let folder = tempfile::tempdir().unwrap();
    let export = folder.path().join("export.jsonl");
    std::fs::write(&export, command(&workdir, &["export"], "").ok()).unwrap();

    let mut second = Setup::with_alice(&[]);
    create_namesake(&mut second, "tokenuser-2");
    let keys = workdir.join("secret.keys");
    let arguments = [
        &[
            "import",
            "jsonl",
            export.to_str().unwrap(),
            "--keys",
            keys.to_str().unwrap(),
        ][..],
        &rename,
    ];
    let report = command(&second.daemon.workdir(), &arguments.concat(), "").ok();
    assert!(
        report.contains("imported as tokenuser-2-2: the name is taken"),
        "{report}"
    );
    for token in [TOKEN, own] {
        let name = token_owner(&mut second, token);
        assert_eq!(name.as_deref(), Some("tokenuser-2-2"), "{token}");
    }
}

#[test]
fn a_user_is_skipped_if_the_new_name_is_too_long() {
    let mut setup = Setup::with_alice(&[("MAX_USERNAME_LENGTH", "10")]);
    create_namesake(&mut setup, "tokenuser");
    let rename = ["--on-conflict", "rename"];
    let report = import(&mut setup, Way::Daemon, &Node::copy("workdir"), &rename).ok();
    let row = &rows(&report)[3];
    assert!(
        row[7].starts_with("skipped: 'username' is 11 bytes long"),
        "{report}"
    );
}

/// Each node numbers its users from 1.
#[test]
fn users_get_new_numbers() {
    let mut setup = Setup::with_alice(&[]);
    for sample in ["workdir", "legacy-0.50.3"] {
        import(&mut setup, Way::Daemon, &Node::copy(sample), &[]).ok();
    }
    let names = usernames(&mut setup);
    assert_eq!(names.len(), 10);
    assert_eq!(
        (&*names[0], &*names[1], &*names[9]),
        ("alice", "legacy", "oldtimer")
    );
    let users = setup.client.call("get_users", json!([]));
    let users = users.ok().as_array().unwrap();
    let ids: Vec<_> = users
        .iter()
        .map(|user| user["user_id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids, (1..=10).collect::<Vec<_>>());
}

/// Equal names and numbers do not make two nodes the same node.
#[test]
fn a_namesake_on_another_node_is_another_user() {
    let mut setup = Setup::new();
    import(&mut setup, Way::Daemon, &Node::copy("workdir"), &[]).ok();
    let other = Node::copy("workdir");
    other.change("UPDATE user SET password_salt = '00112233445566778899aabbccddeeff' WHERE username = 'modern'");
    let report = import(
        &mut setup,
        Way::Daemon,
        &other,
        &["--on-conflict", "rename"],
    )
    .ok();
    assert_eq!(
        rows(&report)[1][7],
        "imported as modern-2: the name is taken"
    );
    assert_eq!(rows(&report)[2][7], "skipped: already exists");
}

/// The daemon serves requests during an import.
#[test]
fn users_created_during_an_import_do_not_affect_it() {
    let mut setup = Setup::with_alice(&[]);
    let session = setup.session_of_alice();
    let node = Node::copy("workdir");
    let ids: Vec<_> = (0..200)
        .map(|number| {
            let args = json!({"username": format!("new-{number}"), "password": "secret",
                "session_token": session});
            setup.client.send("create_user", args)
        })
        .collect();
    let report = import(&mut setup, Way::Daemon, &node, &[]).ok();
    assert!(report.contains("\nImported 8 of 8 users.\n"), "{report}");
    for id in &ids {
        setup.client.reply(id).ok();
    }
    assert_eq!(usernames(&mut setup).len(), 1 + 200 + 8);
}
