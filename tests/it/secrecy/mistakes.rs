//! Client errors in requests that contain a password.

use serde_json::json;

use super::story::Scenario;
use crate::support::Client;

/// Secrets of wrong types and in wrong parameters.
pub fn wrong_arguments(scenario: &mut Scenario) {
    let password = scenario.password("misplaced");
    let long = scenario.password("long").repeat(100);
    for odd in [
        json!([password]),
        json!({password.as_str(): password}),
        json!({"password": {"password": password}}),
        json!(1234.5678),
        json!(true),
        json!(long),
    ] {
        scenario.call_refused("create_user", json!({"username": "eve", "password": odd}));
        scenario.call_refused("authenticate_user", json!(["alice", odd]));
        scenario.call_refused("update_password", json!(["alice", odd, odd]));
        scenario.call_refused("create_session", json!(["alice", password, [odd]]));
        scenario.call_refused("authenticate_session", json!([[odd]]));
        let as_eve = json!({"executing_user": "eve", "executing_user_password": [odd]});
        scenario.call_refused("delete_user", as_eve);
    }
    let p = password.as_str();
    scenario.call_refused(
        "create_user",
        json!({"username": "eve", "password": p, "pasword": p}),
    );
    scenario.call_refused("create_user", json!({"username": "", "password": p}));
    scenario.call_refused("create_user", json!({"password": p}));
    scenario.call_refused("create_user", json!(["eve", p, p, p, p, p, p, p]));
    scenario.call_refused(
        "authenticate_user",
        json!({"username": ["alice"], "password": p}),
    );
    scenario.call_refused("authenticate_user", json!({"password": p}));
    scenario.call_refused("create_session", json!(["alice", p, p, "garbage"]));
    scenario.call_refused("get_users", json!([p]));
    scenario.call_refused("get_users", json!(p));
    scenario.call_refused("update_password", json!(["alice", p, ""]));
}

/// Requests that are refused before they run.
pub fn refused_messages(scenario: &mut Scenario) {
    scenario.call_changed(|message| message["action"] = json!("user.nope"));
    scenario.call_changed(|message| message["action"] = json!("nope.create_user"));
    scenario.call_changed(|message| message["action"] = json!({"password": message["args"]}));
    scenario.call_changed(|message| message["token"] = message["args"]["password"].clone());
    scenario.call_changed(|message| message["token"] = json!([message["args"]]));
    scenario.call_changed(|message| message["target"] = json!("somebody else"));
    scenario.call_changed(|message| message["target"] = json!([message["args"]]));
    scenario.call_changed(|message| message["_timestamp"] = json!(1));
    scenario.call_changed(|message| message["_timestamp"] = message["args"]["password"].clone());
    scenario.call_changed(|message| message["args"] = message["args"]["password"].clone());
    // The password under an unknown parameter name.
    scenario
        .call_changed(|message| message["args"]["secret"] = message["args"]["password"].clone());
}

/// Messages that become dead letters.
pub fn unreadable_messages(scenario: &mut Scenario) {
    let p = scenario.password("unreadable");
    let deep = format!("{}{}{}", "[".repeat(5_000), p, "]".repeat(5_000));
    let long = format!(
        r#"{{"type": "request", "args": {{"password": "{}"}}}}"#,
        p.repeat(500)
    );
    let messages = [
        p.clone(),
        format!("{p}\0\u{feff}"),
        format!(r#""{p}""#),
        format!(r#"["{p}", {{"password": "{p}"}}]"#),
        format!(r#"{{"type": "request", "action": "user.create_user", "args": ["eve", "{p}""#),
        format!(r#"{{"type": "request", "args": {{"password": "{p}" "x": 1}}}}"#),
        format!(r#"{{"type": "request", {p}: 1}}"#),
        format!(r#"{{"type": "response", "response": {{"output": "{p}"}}, "password": "{p}"}}"#),
        format!(r#"{{"type": ["{p}"], "id": ["{p}"], "action": ["{p}"], "origin": ["{p}"]}}"#),
        format!(r#"{{"password": "{p}", "args": {{"password": "{p}"}}}}"#),
        format!(r#"{{'type': 'request', 'args': {{'password': '{p}' + 'x'}}}}"#),
        format!("{{'type': 'request', 'args': {{'password': '{p}\\x'}}}}"),
        format!("{{'type': 'request', 'args': {{'password': open('{p}')}}}}"),
        deep,
        long,
    ];
    scenario.expected_dead_letters += messages.len() + 2;
    for message in messages {
        scenario.client.push(message);
    }
    let mut bytes = p.clone().into_bytes();
    bytes.insert(30, 0xff);
    scenario.client.push(bytes);
    // A dead letter with an error reply: half of a surrogate pair in the password.
    let id = Client::new_id();
    scenario.client.push(format!(
        r#"{{"type": "request", "id": "{id}", "action": "user.get_users", "args": ["{p}\ud800"]}}"#
    ));
    assert_eq!(scenario.answer(&id).errors().len(), 1);
}
