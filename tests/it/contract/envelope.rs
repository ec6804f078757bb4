//! The envelope of a request: `type`, `id`, `args` and `origin`.

use serde_json::{Value, json};

use super::shape::is_lower_hex;
use super::{ask, next_dead_letter, reply_lists, send_with, stop_when_idle};
use crate::support::{Client, Setup};

#[test]
fn requests_are_recognized() {
    let mut setup = Setup::new();
    for message in [
        r#"{"type": "request", "action": "user.get_users", "id": "x"}"#,
        r#"{"type": "request", "name": "user.get_users", "id": "x"}"#,
        r#"{"action": "user.get_users", "id": "x"}"#,
        r#"{"name": "user.get_users", "id": "x"}"#,
        r#"{"type": null, "action": "user.get_users", "id": "x"}"#,
        r#"{"type": "request", "action": "user.get_users", "name": "user.nope", "id": "x"}"#,
        r#"{"type": "request", "action": null, "name": "user.get_users", "id": "x"}"#,
        r#"{"type": "request", "action": "user.get_users", "id": "x", "more": [{}]}"#,
        // The last of duplicate keys wins.
        r#"{"type": "event", "type": "request", "action": "user.get_users", "id": "x"}"#,
        r#"{"action": "user.nope", "action": "user.get_users", "id": "y", "id": "x"}"#,
        r#"{"action": "user.get_users", "id": "x", "args": {"a": 1}, "args": {}}"#,
    ] {
        eprintln!("{message}");
        let reply = ask(&mut setup.client, "x", message);
        assert_eq!(reply.ok(), &json!([]));
    }
    stop_when_idle(&mut setup);
    assert_eq!(setup.client.dead_letters(), Vec::<Value>::new());
}

#[test]
fn other_messages_get_no_reply() {
    let mut setup = Setup::new();
    for message in [
        r#"{"type": "response", "action": "user.get_users", "id": "x"}"#,
        r#"{"type": "event", "action": "user.get_users", "id": "x"}"#,
        r#"{"type": "Request", "action": "user.get_users", "id": "x"}"#,
        r#"{"type": "", "action": "user.get_users", "id": "x"}"#,
        r#"{"type": 5, "action": "user.get_users", "id": "x"}"#,
        r#"{"type": true, "action": "user.get_users", "id": "x"}"#,
        r#"{"type": ["request"], "action": "user.get_users", "id": "x"}"#,
        r#"{"type": "request", "type": "event", "action": "user.get_users", "id": "x"}"#,
        r#"{"id": "x"}"#,
        r#"{"id": "x", "args": {}}"#,
        r"{}",
    ] {
        setup.client.push(message);
        let letter = next_dead_letter(&mut setup.client);
        assert_eq!(letter["length"], message.len(), "{letter}");
    }
    stop_when_idle(&mut setup);
    assert_eq!(reply_lists(&mut setup.client), Vec::<String>::new());
}

/// The id names the reply list, and the reply repeats it unchanged.
#[test]
fn an_id_is_echoed() {
    let mut setup = Setup::new();
    let longest = "x".repeat(256);
    let longest_json = format!("\"{longest}\"");
    for (id, list, echo) in [
        (r#""y1""#, "y1", r#""y1""#),
        (r#""0""#, "0", r#""0""#),
        (r#"" two words ""#, " two words ", r#"" two words ""#),
        (r#""ünï ☃ 😀""#, "ünï ☃ 😀", r#""ünï ☃ 😀""#),
        (r#""\u00fc\ud83d\ude00""#, "ü😀", r#""ü😀""#),
        (r#""a\"b\\c\n""#, "a\"b\\c\n", r#""a\"b\\c\n""#),
        (r#""a:b*?[c]""#, "a:b*?[c]", r#""a:b*?[c]""#),
        (&longest_json, &longest, &longest_json),
        ("7", "7", "7"),
        ("-7", "-7", "-7"),
        (
            "123456789012345678901234567890",
            "123456789012345678901234567890",
            "123456789012345678901234567890",
        ),
        ("1.5", "1.5", "1.5"),
        ("2.0", "2.0", "2.0"),
        ("1795486177.0171", "1795486177.0171", "1795486177.0171"),
        ("1e16", "1e+16", "1e+16"),
        ("-0.00001", "-1e-05", "-1e-05"),
    ] {
        let message = format!(r#"{{"type": "request", "action": "user.get_users", "id": {id}}}"#);
        setup.client.push(message);
        let reply = setup.client.raw_reply(list);
        let beginning = format!(r#"{{"id": {echo}, "type": "response", "#);
        assert!(reply.starts_with(&beginning), "{id}: {reply}");
    }
}

/// A request without a usable id is run too. Its reply goes to a list with a generated name that
/// the log contains.
#[test]
fn an_unusable_id_is_replaced() {
    let mut setup = Setup::new();
    let over_long = format!("\"{}\"", "x".repeat(257));
    let huge = "1".repeat(257);
    let ids = [
        "null", "\"\"", "0", "-0", "0.0", "-0.0", "true", "false", "NaN", "Infinity", "[]",
        "[\"x\"]", "{}", &over_long, &huge,
    ];
    for id in ids {
        setup.client.push(format!(
            r#"{{"type": "request", "action": "user.get_users", "id": {id}, "origin": "me"}}"#
        ));
    }
    setup
        .client
        .push(r#"{"type": "request", "action": "user.get_users", "origin": "me"}"#);
    stop_when_idle(&mut setup);

    let generated = reply_lists(&mut setup.client);
    assert_eq!(generated.len(), ids.len() + 1);
    let log = setup.daemon.log();
    for id in generated {
        assert!(id.len() == 32 && is_lower_hex(&id), "{id}");
        assert!(log.contains(&id), "{id} is not in the log");
        let reply = setup.client.reply(&id);
        assert_eq!(reply.ok(), &json!([]));
        assert_eq!(reply.0["id"], json!(id));
        assert_eq!(reply.0["target"], "me");
    }
    setup.client.assert_nothing_left();
}

#[test]
fn args_are_an_object_a_list_or_nothing() {
    let mut setup = Setup::new();
    for args in [json!({}), json!([]), json!(null)] {
        let id = send_with(&mut setup.client, json!({"args": args}));
        setup.client.reply(&id).ok();
    }
    for (args, kind) in [
        (json!("user"), "text"),
        (json!(""), "text"),
        (json!(5), "integer"),
        (json!(0), "integer"),
        (json!(1.5), "float"),
        (json!(true), "boolean"),
        (json!(false), "boolean"),
    ] {
        let id = send_with(&mut setup.client, json!({"args": args}));
        let expected = format!("args must be an object or a list, not {kind}");
        setup.client.reply(&id).fails(&expected);
    }
}

#[test]
fn the_last_of_repeated_arguments_wins() {
    let mut setup = Setup::with_alice(&[]);
    for message in [
        r#"{"action": "user.authenticate_user", "id": "x",
            "args": {"username": "bob", "password": 5, "password": "secret", "username": "alice"}}"#,
        "{'action': 'user.authenticate_user', 'id': 'x',
            'args': {'username': 'bob', 'username': 'alice', 'password': 'secret'}}",
    ] {
        assert_eq!(ask(&mut setup.client, "x", message).ok(), &json!(true));
    }
}

#[test]
fn origin_becomes_target() {
    let mut setup = Setup::new();
    for (members, target) in [
        (json!({"origin": "kitchen"}), json!("kitchen")),
        (json!({"origin": ""}), json!("")),
        (json!({"origin": "é\n\"'"}), json!("é\n\"'")),
        (json!({}), json!(null)),
        (json!({"origin": null}), json!(null)),
        (json!({"origin": 5}), json!(null)),
        (json!({"origin": ["kitchen"]}), json!(null)),
        (json!({"target": "other"}), json!(null)),
    ] {
        let id = send_with(&mut setup.client, members.clone());
        let reply = setup.client.reply(&id);
        assert_eq!(reply.0["target"], target, "{members}");
        assert_eq!(reply.0["origin"], "test-node", "{members}");
    }
    // An error reply too.
    let members = json!({"origin": "kitchen", "action": "user.nope"});
    let id = send_with(&mut setup.client, members);
    let reply = setup.client.reply(&id);
    reply.fails("No such action: user.nope");
    assert_eq!(reply.0["target"], "kitchen");
}

/// Two requests with the same id get two replies in one list.
#[test]
fn each_request_gets_one_reply() {
    let mut setup = Setup::new();
    let ids: Vec<_> = (0..300).map(|_| Client::new_id()).collect();
    for id in &ids {
        for _ in 0..2 {
            send_with(&mut setup.client, json!({"id": id}));
        }
    }
    stop_when_idle(&mut setup);
    assert_eq!(reply_lists(&mut setup.client).len(), ids.len());
    for id in &ids {
        for _ in 0..2 {
            setup.client.reply(id).ok();
        }
    }
    setup.client.assert_nothing_left();
}
