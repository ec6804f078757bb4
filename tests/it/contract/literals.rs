//! Messages that are Python literals, as Platypush procedures send them.

use serde_json::{Value, json};

use super::shape::{TIME, TOKEN, assert_shape};
use super::{ask, is_password, log_in};
use crate::support::Setup;

/// The contract's own example. Its argument `note` does not exist.
const EXAMPLE: &str = r#"{'type': 'request', 'action': 'user.authenticate_user', 'id': 'y1', 'args': {'username': 'alice', 'password': 123456, 'code': None, 'return_details': True, 'note': 'it\'s "q" é'}}"#;

#[test]
fn the_example_of_the_contract() {
    let mut setup = Setup::new();
    let args = json!({"username": "alice", "password": "123456"});
    setup.client.call("create_user", args).ok();

    let reply = ask(&mut setup.client, "y1", EXAMPLE);
    reply.fails("user.authenticate_user() got an unexpected keyword argument 'note'");
    assert_eq!(reply.0["id"], "y1");

    let without_note = EXAMPLE.replace(r#", 'note': 'it\'s "q" é'"#, "");
    assert_ne!(without_note, EXAMPLE);
    let reply = ask(&mut setup.client, "y1", &without_note);
    assert_eq!(reply.ok(), &json!([true, ""]));

    let wrong = without_note.replace("123456", "654321");
    let reply = ask(&mut setup.client, "y1", &wrong);
    assert_eq!(reply.ok(), &json!([false, "invalid_credentials"]));
}

/// Quotes, escapes and text that looks like another type.
#[test]
fn text_is_read_as_python_reads_it() {
    let mut setup = Setup::with_alice(&[]);
    let session = log_in(&mut setup.client, "alice", "secret");
    for (literal, name) in [
        (r#"'it\'s "q" é'"#, "it's \"q\" é"),
        (r#""it's""#, "it's"),
        (r"'a\\b\x20c\x41\u00e9\U0001f600'", "a\\b cAé😀"),
        ("'007'", "007"),
        ("'1e5'", "1e5"),
        ("'true'", "true"),
        ("7", "7"),
    ] {
        let message = format!(
            "{{'action': 'user.create_user', 'id': 'x', 'args': {{'username': {literal}, \
             'password': 'secret', 'session_token': '{session}'}}}}"
        );
        let reply = ask(&mut setup.client, "x", &message);
        assert_eq!(reply.ok()["username"], name, "{literal}");
    }
}

#[test]
fn positional_arguments_may_be_a_tuple() {
    let mut setup = Setup::with_alice(&[]);
    for args in [
        "('alice', 'secret')",
        "('alice', 'secret', None)",
        "['alice', 'secret', None, False]",
    ] {
        let message = format!("{{'action': 'user.authenticate_user', 'id': 'x', 'args': {args}}}");
        assert_eq!(ask(&mut setup.client, "x", &message).ok(), &json!(true));
    }
}

/// PyYAML turns an unquoted date or time into these objects.
#[test]
fn dates_and_times() {
    let mut setup = Setup::with_alice(&[]);
    for (literal, expires_at) in [
        ("datetime.date(2031, 1, 1)", "2031-01-01T00:00:00.000000"),
        (
            "datetime.datetime(2031, 1, 1, 12, 0)",
            "2031-01-01T12:00:00.000000",
        ),
        (
            "datetime.datetime(2031, 1, 1, 12, 30, 15, 250000)",
            "2031-01-01T12:30:15.250000",
        ),
        (
            "datetime.datetime(2031, 1, 1, 12, 0, tzinfo=datetime.timezone.utc)",
            "2031-01-01T12:00:00.000000",
        ),
        (
            "datetime.datetime(2031, 1, 1, 12, 0, \
             tzinfo=datetime.timezone(datetime.timedelta(seconds=7200)))",
            "2031-01-01T10:00:00.000000",
        ),
        ("1925000000", "2031-01-01T02:13:20.000000"),
        ("1925000000.5", "2031-01-01T02:13:20.500000"),
    ] {
        let message = format!(
            "{{'action': 'user.create_session', 'id': 'x', \
             'args': {{'username': 'alice', 'password': 'secret', 'expires_at': {literal}}}}}"
        );
        let reply = ask(&mut setup.client, "x", &message);
        let expected = json!({"session_token": TOKEN, "user_id": 1, "username": "alice",
            "created_at": TIME, "expires_at": expires_at});
        assert_shape(reply.ok(), &expected);
    }
}

/// Platypush decodes `"1e5"`, `"true"`, `"null"` and `"NaN"`, so they arrive as another type than
/// text. The error explains it.
#[test]
fn passwords_that_platypush_decoded() {
    let mut setup = Setup::with_alice(&[]);
    for (literal, kind) in [
        ("100000.0", "float"),
        ("nan", "float"),
        ("inf", "float"),
        ("-inf", "float"),
        ("True", "boolean"),
        ("None", "null"),
        ("[1, 2]", "list"),
        ("(1, 2)", "list"),
        ("{'a': 1}", "object"),
        ("datetime.date(2031, 1, 1)", "date"),
        ("datetime.datetime(2031, 1, 1, 0, 0)", "datetime"),
    ] {
        let message = format!(
            "{{'action': 'user.authenticate_user', 'id': 'x', \
             'args': {{'username': 'alice', 'password': {literal}}}}}"
        );
        let reply = ask(&mut setup.client, "x", &message);
        let [error] = reply.errors()[..] else {
            panic!("{literal}: {reply:?}");
        };
        assert!(error.contains("'password'"), "{literal}: {error}");
        assert!(error.contains(kind), "{literal}: {error}");
        assert!(error.contains("Platypush"), "{literal}: {error}");
        assert_eq!(reply.output(), &json!({"success": false}));
    }
}

/// A password of digits is the same as text and as a number.
#[test]
fn passwords_of_digits() {
    let mut setup = Setup::new();
    let huge = "123456789012345678901234567890";
    for (name, created_with, password) in [
        ("text", json!("123456"), "123456"),
        ("number", json!(123_456), "123456"),
        ("negative", json!(-5), "-5"),
        ("zero", json!(0), "0"),
    ] {
        let session = setup
            .client
            .call("create_session", json!(["text", "123456"]));
        let session = &session.output()["session_token"];
        let args = json!({"username": name, "password": created_with, "session_token": session});
        setup.client.call("create_user", args).ok();
        assert!(is_password(&mut setup.client, name, password), "{name}");
        let number: Value = serde_json::from_str(password).unwrap();
        let reply = setup
            .client
            .call("authenticate_user", json!([name, number]));
        assert_eq!(reply.ok(), &json!(true), "{name}");
    }
    // Longer than any integer type; serde_json would decode it as a float.
    let update = format!(
        "{{'action': 'user.update_password', 'id': 'x', 'args': ['text', 123456, {huge}]}}"
    );
    let reply = ask(&mut setup.client, "x", &update);
    assert_eq!(reply.ok(), &json!(true));
    assert!(is_password(&mut setup.client, "text", huge));
    assert!(!is_password(&mut setup.client, "text", "123456"));

    // A password with leading zeros stays text, so it differs from the number.
    let reply = setup
        .client
        .call("update_password", json!(["number", 123_456, "007"]));
    assert_eq!(reply.ok(), &json!(true));
    let reply = setup.client.call("authenticate_user", json!(["number", 7]));
    assert_eq!(reply.ok(), &json!(false));
    assert!(is_password(&mut setup.client, "number", "007"));
}
