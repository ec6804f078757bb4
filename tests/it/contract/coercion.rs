//! Values that each kind of parameter accepts, for every parameter of every action.

use platypush_userd::actions::{ACTIONS, Kind, Parameter};
use serde_json::{Value, json};

use super::{ask, is_password, log_in};
use crate::support::Setup;

/// Kinds of text.
const TEXTS: &[Kind] = &[Kind::Text, Kind::Name, Kind::Secret, Kind::Password];

/// Returns every parameter of these kinds, with its action and text for all required arguments.
fn parameters(kinds: &[Kind]) -> Vec<(&'static str, &'static Parameter, Value)> {
    let mut selected = Vec::new();
    for action in ACTIONS {
        let signature = action.signature();
        let required = signature.parameters.iter().filter(|p| p.required);
        let args: Value = required.map(|p| (p.name, "x")).collect();
        for parameter in signature.parameters {
            if kinds.contains(&parameter.kind) {
                selected.push((signature.name, parameter, args.clone()));
            }
        }
    }
    assert!(!selected.is_empty());
    selected
}

/// Calls an action with `json` as the value of one argument, and returns the errors. The message
/// is built as text, because `serde_json` has no `NaN`.
fn call_with(setup: &mut Setup, action: &str, args: &Value, name: &str, json: &str) -> Vec<String> {
    let mut args = args.clone();
    args[name] = json!("<here>");
    let args = args.to_string().replace("\"<here>\"", json);
    let message = format!(r#"{{"action": "user.{action}", "id": "x", "args": {args}}}"#);
    let reply = ask(&mut setup.client, "x", &message);
    reply.errors().iter().map(ToString::to_string).collect()
}

/// The error names argument and type, explains the conversion by Platypush and never contains the
/// value.
#[test]
fn other_types_than_text_are_refused() {
    let mut setup = Setup::new();
    for (action, parameter, args) in parameters(TEXTS) {
        for (value, kind) in [
            ("9081726354.5", "float"),
            ("9081726354e30", "float"),
            ("NaN", "float"),
            ("Infinity", "float"),
            ("true", "boolean"),
            ("false", "boolean"),
            ("null", "null"),
            (r#"["9081726354"]"#, "list"),
            ("[]", "list"),
            (r#"{"9081726354": "9081726354"}"#, "object"),
            ("{}", "object"),
        ] {
            if value == "null" && !parameter.required {
                continue;
            }
            let errors = call_with(&mut setup, action, &args, parameter.name, value);
            let [error] = &errors[..] else {
                panic!("{action}, {}, {value}: {errors:?}", parameter.name);
            };
            let explains = [&format!("'{}'", parameter.name), kind, "Platypush"]
                .iter()
                .all(|part| error.contains(part));
            assert!(explains, "{action}, {}, {value}: {error}", parameter.name);
            assert!(!error.contains("9081726354"), "{action}: {error}");
        }
    }
    assert_eq!(setup.client.call("get_users", json!({})).ok(), &json!([]));
}

/// Integers of any length are accepted as the text of their digits.
#[test]
fn integers_are_accepted_as_text() {
    let mut setup = Setup::new();
    for (action, parameter, args) in parameters(TEXTS) {
        // A created user would require authentication for the other calls.
        if action == "create_user" {
            continue;
        }
        for value in ["0", "-5", "123456", "123456789012345678901234567890"] {
            for error in call_with(&mut setup, action, &args, parameter.name, value) {
                assert!(
                    !error.contains("must be text"),
                    "{action}, {value}: {error}"
                );
            }
        }
    }
}

#[test]
fn names_may_be_integers() {
    let mut setup = Setup::new();
    let user = setup.client.call("create_user", json!([4711, "secret"]));
    assert_eq!(user.ok()["username"], "4711");
    let args = json!({"username": 12, "password": 34, "executing_user": 4711,
        "executing_user_password": "secret"});
    let user = setup.client.call("create_user", args);
    assert_eq!(user.ok()["username"], "12");
    assert!(is_password(&mut setup.client, "12", "34"));
    let args = json!({"username": 12, "executing_user": "12", "executing_user_password": 34});
    assert_eq!(setup.client.call("delete_user", args).ok(), &json!(true));
}

/// For an optional parameter, null and empty text count as missing.
#[test]
fn optional_text_may_be_null_or_empty() {
    let mut setup = Setup::new();
    for (action, parameter, args) in parameters(TEXTS) {
        if parameter.required || action == "create_user" {
            continue;
        }
        let without = setup.client.call(action, args.clone());
        for missing in ["null", "\"\""] {
            let errors = call_with(&mut setup, action, &args, parameter.name, missing);
            assert_eq!(errors, without.errors(), "{action}, {}", parameter.name);
        }
    }
}

#[test]
fn other_types_than_flags_are_refused() {
    let mut setup = Setup::new();
    for (action, parameter, args) in parameters(&[Kind::Flag]) {
        for (value, kind) in [
            ("2", "integer"),
            ("-1", "integer"),
            ("1.0", "float"),
            ("0.0", "float"),
            ("NaN", "float"),
            (r#""true""#, "text"),
            (r#""""#, "text"),
            ("[]", "list"),
            ("{}", "object"),
        ] {
            let errors = call_with(&mut setup, action, &args, parameter.name, value);
            let expected = format!("'{}' must be true or false, not {kind}", parameter.name);
            assert_eq!(errors, [expected], "{action}, {value}");
        }
    }
}

/// The flags of JSON and Python, and the numbers 0 and 1.
const FLAGS: &[(&str, bool)] = &[
    ("true", true),
    ("True", true),
    ("1", true),
    ("false", false),
    ("False", false),
    ("0", false),
    ("-0", false),
    ("null", false),
    ("None", false),
];

#[test]
fn flags_of_return_details() {
    let mut setup = Setup::with_alice(&[]);
    for (flag, wants_details) in FLAGS {
        let message = format!(
            "{{'action': 'user.authenticate_user', 'id': 'x', \
             'args': {{'username': 'alice', 'password': 'secret', 'return_details': {flag}}}}}"
        );
        let reply = ask(&mut setup.client, "x", &message);
        let expected = if *wants_details {
            json!([true, ""])
        } else {
            json!(true)
        };
        assert_eq!(reply.ok(), &expected, "{flag}");
    }
}

#[test]
fn flags_of_revoke_sessions() {
    let mut setup = Setup::with_alice(&[]);
    for (flag, revokes) in FLAGS {
        let session = log_in(&mut setup.client, "alice", "secret");
        let message = format!(
            "{{'action': 'user.update_password', 'id': 'x', \
             'args': ['alice', 'secret', 'secret', None, {flag}]}}"
        );
        assert_eq!(ask(&mut setup.client, "x", &message).ok(), &json!(true));
        let reply = setup.client.call("authenticate_session", json!([session]));
        assert_eq!(reply.errors().is_empty(), !revokes, "{flag}");
    }
}
