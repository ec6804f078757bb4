//! Several nodes in turn, and names that stand on more than one.

use serde_json::json;

use super::{Node, import, log_in, rows, usernames, whose_session, whose_token};
use crate::admin::{BOTH, Way, command};
use crate::support::Setup;

const TOKEN: &str = "tokenuser:giHY0Q3qczkdtxCDVRsYMUoVojuF44EC";
const SESSION: &str = "6c4c13ec9286464aab30528939f38ab428fa938ffa1c0efdb9ac3482b313db07";

/// Somebody who has the name of a user of the node.
fn somebody_called(setup: &mut Setup, name: &str) -> String {
    let create = json!({"username": name, "password": "other", "executing_user": "alice",
        "executing_user_password": "secret"});
    setup.client.call("create_user", create).ok();
    let args = json!({"username": name, "password": "other"});
    let made = setup.client.call("create_api_token", args);
    made.ok()["token"].as_str().unwrap().to_owned()
}

#[test]
fn who_comes_later_is_left_out() {
    for way in BOTH {
        let mut setup = Setup::with_alice(&[]);
        let others = somebody_called(&mut setup, "tokenuser");
        let report = import(&mut setup, way, &Node::copy("workdir"), &[]).ok();
        assert!(
            report.contains("\n7 of 8 users were brought.\n"),
            "{report}"
        );
        let row = &rows(&report)[3];
        assert_eq!(row[..2], ["tokenuser", "-"]);
        assert!(
            row[7].starts_with("skipped: somebody else has the name"),
            "{report}"
        );
        assert_eq!(whose_token(&mut setup, TOKEN), None);
        assert_eq!(whose_session(&mut setup, SESSION), None);
        assert_eq!(
            whose_token(&mut setup, &others).as_deref(),
            Some("tokenuser")
        );
    }
}

/// Whose token a text is does not hang on the name in it.
#[test]
fn who_comes_later_gets_another_name_and_keeps_all_the_rest() {
    for way in BOTH {
        let mut setup = Setup::with_alice(&[]);
        let others = somebody_called(&mut setup, "tokenuser");
        somebody_called(&mut setup, "tokenuser-2");
        let node = Node::copy("workdir");
        let rename = ["--on-conflict", "rename"];
        let report = import(&mut setup, way, &node, &rename).ok();
        assert!(
            report.contains("\n8 of 8 users were brought.\n"),
            "{report}"
        );
        assert_eq!(
            rows(&report)[3][7],
            "comes as tokenuser-3: the name is taken"
        );
        let name = Some("tokenuser-3");
        for _ in 0..2 {
            assert_eq!(whose_token(&mut setup, TOKEN).as_deref(), name);
            assert_eq!(whose_session(&mut setup, SESSION).as_deref(), name);
            assert_eq!(
                whose_token(&mut setup, &others).as_deref(),
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
        assert_eq!(rows(&again)[3][7], "is here already, as tokenuser-3");
        assert!(again.contains("\n0 of 8 users were brought.\n"), "{again}");

        let made = json!({"username": "tokenuser-3", "password": password});
        let made = setup.client.call("create_api_token", made).ok()["token"].clone();
        let made = made.as_str().unwrap();
        assert!(made.starts_with("tokenuser-3:"));
        assert_eq!(whose_token(&mut setup, made).as_deref(), name);
        let delete = json!({"username": "tokenuser-3", "executing_user": "alice",
            "executing_user_password": "secret"});
        setup.client.call("delete_user", delete).ok();
        for gone in [TOKEN, made] {
            assert_eq!(whose_token(&mut setup, gone), None);
        }
    }
}

/// Each name that a user had stands in some of its tokens.
#[test]
fn tokens_of_all_names_that_a_user_had_go_on() {
    let mut first = Setup::with_alice(&[]);
    somebody_called(&mut first, "tokenuser");
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
    somebody_called(&mut second, "tokenuser-2");
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
        report.contains("comes as tokenuser-2-2: the name is taken"),
        "{report}"
    );
    for token in [TOKEN, own] {
        let name = whose_token(&mut second, token);
        assert_eq!(name.as_deref(), Some("tokenuser-2-2"), "{token}");
    }
}

#[test]
fn a_name_that_gets_too_long_is_none() {
    let mut setup = Setup::with_alice(&[("MAX_USERNAME_LENGTH", "10")]);
    somebody_called(&mut setup, "tokenuser");
    let rename = ["--on-conflict", "rename"];
    let report = import(&mut setup, Way::Daemon, &Node::copy("workdir"), &rename).ok();
    let row = &rows(&report)[3];
    assert!(
        row[7].starts_with("skipped: 'username' is 11 bytes long"),
        "{report}"
    );
}

/// Two nodes begin to count at 1, each.
#[test]
fn numbers_are_given_anew() {
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

/// Two nodes with the same users of the same numbers are not the same node.
#[test]
fn a_namesake_of_another_node_is_somebody_else() {
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
    assert_eq!(rows(&report)[1][7], "comes as modern-2: the name is taken");
    assert_eq!(rows(&report)[2][7], "is here already");
}

/// Requests are served while users come.
#[test]
fn users_who_are_made_meanwhile_do_no_harm() {
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
    assert!(
        report.contains("\n8 of 8 users were brought.\n"),
        "{report}"
    );
    for id in &ids {
        setup.client.reply(id).ok();
    }
    assert_eq!(usernames(&mut setup).len(), 1 + 200 + 8);
}
