//! Limits: a value at the limit is accepted, a longer one is refused with an error that names the
//! configuration key.

use std::sync::Arc;

use platypush_userd::actions::ACTIONS;
use serde_json::{Value, json};

use super::{is_password, next_dead_letter, reply_lists, send_with, stop_when_idle};
use crate::support::{Client, Daemon, RedisServer, Setup};

/// Returns text of this many bytes, with two-byte characters.
fn text(bytes: usize) -> String {
    "é".repeat(bytes / 2) + if bytes % 2 == 1 { "x" } else { "" }
}

/// Returns a request of this many bytes, padded with an unused member.
fn message(id: &str, bytes: usize) -> String {
    let message = |pad: &str| {
        json!({"type": "request", "action": "user.get_users", "id": id, "pad": pad}).to_string()
    };
    let pad = "x".repeat(bytes - message("").len());
    message(&pad)
}

#[test]
fn messages() {
    for (settings, limit) in [
        (&[][..], 1 << 20),
        (&[("MAX_MESSAGE_SIZE", "1500")][..], 1500),
    ] {
        let mut setup = Setup::with(settings);
        let id = Client::new_id();
        let longest = message(&id, limit);
        assert_eq!(longest.len(), limit);
        setup.client.push(longest);
        setup.client.reply(&id).ok();
        setup.client.push(message(&id, limit + 1));
        let letter = next_dead_letter(&mut setup.client);
        assert_eq!(letter["length"], limit + 1);
        let reason = letter["reason"].as_str().unwrap();
        assert!(reason.contains("max_message_size"), "{reason}");
    }
}

#[test]
fn ids() {
    for (settings, limit) in [(&[][..], 256), (&[("MAX_ID_LENGTH", "7")][..], 7)] {
        let mut setup = Setup::with(settings);
        let longest = text(limit);
        send_with(&mut setup.client, json!({"id": longest}));
        setup.client.reply(&longest).ok();
        send_with(&mut setup.client, json!({"id": text(limit + 1)}));
        // The ids of `Client` fit in 7 bytes.
        stop_when_idle(&mut setup);
        let [generated] = &reply_lists(&mut setup.client)[..] else {
            panic!("one reply is expected");
        };
        assert_eq!(generated.len(), 32, "{generated}");
        assert!(setup.daemon.log().contains(generated));
    }
}

#[test]
fn names_and_passwords() {
    let small = [("MAX_USERNAME_LENGTH", "9"), ("PASSWORD__MAX_LENGTH", "11")];
    for (settings, name, password) in [(&[][..], 255, 4096), (&small[..], 9, 11)] {
        let mut setup = Setup::with(settings);
        let client = &mut setup.client;
        let (longest_name, longest_password) = (text(name), text(password));
        let user = client.call("create_user", json!([longest_name, longest_password]));
        assert_eq!(user.ok()["username"], json!(longest_name));
        assert!(is_password(client, &longest_name, &longest_password));

        for (action, parameter) in parameters_with_limit() {
            let (limit, key) = if parameter.ends_with("password") {
                (password, "password.max_length")
            } else {
                (name, "max_username_length")
            };
            let signature = signature_parameters(action);
            let mut args: Value = signature.iter().map(|p| (*p, "x")).collect();
            args[parameter] = json!(text(limit + 1));
            for flag in ["return_details", "revoke_sessions", "expires_at"] {
                args.as_object_mut().unwrap().remove(flag);
            }
            let reply = client.call(action, args);
            let expected = format!(
                "'{parameter}' is {} bytes long, at most {limit} are allowed ({key})",
                limit + 1
            );
            reply.fails(&expected);
        }
    }
}

/// Returns action and name of every parameter that contains a user name or a password.
fn parameters_with_limit() -> Vec<(&'static str, &'static str)> {
    let mut found = Vec::new();
    for action in ACTIONS {
        let name = action.signature().name;
        for parameter in signature_parameters(name) {
            if parameter.ends_with("password")
                || ["username", "executing_user"].contains(&parameter)
            {
                found.push((name, parameter));
            }
        }
    }
    assert!(found.len() >= 12, "{found:?}");
    found
}

fn signature_parameters(action: &str) -> Vec<&'static str> {
    let known = ACTIONS.iter().map(|known| known.signature());
    let signature = known.into_iter().find(|s| s.name == action).unwrap();
    signature.parameters.iter().map(|p| p.name).collect()
}

/// The list applies to new passwords only and ignores case.
#[test]
fn common_passwords() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list");
    std::fs::write(&list, "correct\r\nHorse Battery\n").unwrap();
    let list = list.display().to_string();
    let mut setup = Setup::with(&[("PASSWORD__BLOCKLIST_FILE", &list)]);
    let client = &mut setup.client;
    let common = "The password is on a list of common or leaked passwords: choose another \
                  (password.blocklist_file)";
    for password in ["correct", "CORRECT", "horse battery"] {
        let reply = client.call("create_user", json!(["alice", password]));
        reply.fails(common);
    }
    client.call("create_user", json!(["alice", "secret"])).ok();
    let args = json!(["alice", "secret", "Horse battery"]);
    client.call("update_password", args).fails(common);
    assert!(!is_password(client, "alice", "correct"));
    assert!(is_password(client, "alice", "secret"));
}

#[test]
fn a_missing_blocklist_prevents_the_start() {
    let redis = RedisServer::start();
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let settings = [("PASSWORD__BLOCKLIST_FILE", "/nowhere/list")];
    let mut daemon = Daemon::launch(folder, &redis, &settings, |command| command);
    assert!(!daemon.wait().success());
    daemon.wait_for_log("cannot read the list of refused passwords /nowhere/list");
}

/// The minimum length counts characters and applies to new passwords only.
#[test]
fn short_passwords() {
    let mut setup = Setup::with(&[("PASSWORD__MIN_LENGTH", "8")]);
    let client = &mut setup.client;
    let too_short =
        "The password is too short: at least 8 characters are needed (password.min_length)";
    for password in ["secret7", "äöüäöüß", "☃☃☃☃☃☃☃", "😀😀😀😀"] {
        let reply = client.call("create_user", json!(["alice", password]));
        reply.fails(too_short);
    }
    client
        .call("create_user", json!(["alice", "äöüäöüß☃"]))
        .ok();
    for password in ["secret7", "1234567"] {
        let args = json!(["alice", "äöüäöüß☃", password]);
        client.call("update_password", args).fails(too_short);
    }
    let args = json!(["alice", "äöüäöüß☃", 1_234_567]);
    client.call("update_password", args).fails(too_short);
    let args = json!(["alice", "äöüäöüß☃", ""]);
    let reply = client.call("update_password", args);
    reply.fails("Please provide a password for the user");
    // A login accepts passwords of any length.
    assert!(!is_password(client, "alice", "short"));
    assert!(is_password(client, "alice", "äöüäöüß☃"));
}
