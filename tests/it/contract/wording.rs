//! Errors of calls that do not match a signature: the texts of Python, as Platypush sends them.

use platypush_userd::actions::ACTIONS;
use serde_json::{Value, json};

use super::ask;
use crate::support::{Client, Setup};

#[test]
fn arguments_that_do_not_fit() {
    let mut setup = Setup::new();
    let nine = json!([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    for (action, args, error) in [
        // Missing.
        (
            "authenticate_user",
            json!({"username": "alice"}),
            "user.authenticate_user() missing 1 required positional argument: 'password'",
        ),
        (
            "authenticate_user",
            json!(["alice"]),
            "user.authenticate_user() missing 1 required positional argument: 'password'",
        ),
        (
            "authenticate_user",
            json!({"password": "secret", "code": "1"}),
            "user.authenticate_user() missing 1 required positional argument: 'username'",
        ),
        (
            "create_user",
            json!({}),
            "user.create_user() missing 2 required positional arguments: 'username' and 'password'",
        ),
        (
            "create_user",
            Value::Null,
            "user.create_user() missing 2 required positional arguments: 'username' and 'password'",
        ),
        (
            "update_password",
            json!([]),
            "user.update_password() missing 3 required positional arguments: \
             'username', 'old_password', and 'new_password'",
        ),
        (
            "update_password",
            json!({"old_password": "secret", "revoke_sessions": true}),
            "user.update_password() missing 2 required positional arguments: \
             'username' and 'new_password'",
        ),
        (
            "delete_user",
            json!({"session_token": "x"}),
            "user.delete_user() missing 1 required positional argument: 'username'",
        ),
        (
            "create_session",
            json!({}),
            "user.create_session() missing 2 required positional arguments: \
             'username' and 'password'",
        ),
        (
            "authenticate_session",
            json!([]),
            "user.authenticate_session() missing 1 required positional argument: 'session_token'",
        ),
        (
            "delete_session",
            json!({}),
            "user.delete_session() missing 1 required positional argument: 'session_token'",
        ),
        (
            "get_user_by_session",
            json!({}),
            "user.get_user_by_session() missing 1 required positional argument: 'session_token'",
        ),
        // Too many.
        (
            "create_user",
            nine.clone(),
            "user.create_user() takes from 2 to 5 positional arguments but 9 were given",
        ),
        (
            "authenticate_user",
            nine.clone(),
            "user.authenticate_user() takes from 2 to 4 positional arguments but 9 were given",
        ),
        (
            "update_password",
            nine.clone(),
            "user.update_password() takes from 3 to 5 positional arguments but 9 were given",
        ),
        (
            "delete_user",
            nine.clone(),
            "user.delete_user() takes from 1 to 4 positional arguments but 9 were given",
        ),
        (
            "create_session",
            nine.clone(),
            "user.create_session() takes from 2 to 4 positional arguments but 9 were given",
        ),
        (
            "authenticate_session",
            json!(["x", "y"]),
            "user.authenticate_session() takes 1 positional argument but 2 were given",
        ),
        (
            "delete_session",
            nine.clone(),
            "user.delete_session() takes 1 positional argument but 9 were given",
        ),
        (
            "get_users",
            json!([null]),
            "user.get_users() takes 0 positional arguments but 1 was given",
        ),
        (
            "get_user_by_session",
            nine,
            "user.get_user_by_session() takes 1 positional argument but 9 were given",
        ),
    ] {
        eprintln!("{action} {args}");
        setup.client.call(action, args).fails(error);
    }
    assert_eq!(setup.client.call("get_users", json!({})).ok(), &json!([]));
}

/// An unknown keyword is reported even if required arguments are missing. `create_user` has
/// `**kwargs`, so it reports missing arguments first.
#[test]
fn unknown_keywords() {
    let mut setup = Setup::new();
    for action in ACTIONS {
        let name = action.signature().name;
        let complete = action.signature().parameters.iter();
        let complete: Value = complete.map(|p| (p.name, "x")).collect();
        for mut args in [json!({}), complete] {
            args["bogus"] = json!(1);
            let expected = match name {
                "create_user" if args.get("username").is_none() => {
                    "user.create_user() missing 2 required positional arguments: 'username' and 'password'"
                        .to_owned()
                }
                "create_user" => "'bogus' is an invalid keyword argument for User".to_owned(),
                name => format!("user.{name}() got an unexpected keyword argument 'bogus'"),
            };
            eprintln!("{name} {args}");
            setup.client.call(name, args).fails(&expected);
        }
    }
    assert_eq!(setup.client.call("get_users", json!({})).ok(), &json!([]));
}

/// Other spellings of a parameter are unknown keywords.
#[test]
fn keywords_are_compared_byte_for_byte() {
    let mut setup = Setup::new();
    for keyword in ["Session_Token", "session-token", "session_token ", "", "é"] {
        let reply = setup
            .client
            .call("authenticate_session", json!({keyword: "x"}));
        reply.fails(&format!(
            "user.authenticate_session() got an unexpected keyword argument '{keyword}'"
        ));
    }
}

#[test]
fn unknown_actions_and_plugins() {
    let mut setup = Setup::new();
    for (action, error) in [
        ("user.nope", "No such action: user.nope"),
        ("user.", "No such action: user."),
        ("user.Get_Users", "No such action: user.Get_Users"),
        ("user.get_users ", "No such action: user.get_users "),
        ("nope", "No such plugin: nope"),
        ("nope.get_users", "No such plugin: nope"),
        ("get_users", "No such plugin: get_users"),
        ("User.get_users", "No such plugin: User"),
        ("light.hue.on", "No such plugin: light.hue"),
        ("user.get_users.x", "No such plugin: user.get_users"),
        (".get_users", "No such plugin: "),
    ] {
        call_named(&mut setup.client, &json!(action)).fails(error);
    }
}

#[test]
fn missing_action() {
    let mut setup = Setup::new();
    for action in [json!(null), json!(""), json!(5), json!(["user.get_users"])] {
        let reply = call_named(&mut setup.client, &action);
        reply.fails("No action specified in the request");
    }
    let reply = ask(
        &mut setup.client,
        "none",
        r#"{"type": "request", "id": "none"}"#,
    );
    reply.fails("No action specified in the request");
}

fn call_named(client: &mut Client, action: &Value) -> crate::support::Reply {
    let id = Client::new_id();
    let message = json!({"type": "request", "action": action, "args": {}, "id": id});
    ask(client, &id, &message.to_string())
}
