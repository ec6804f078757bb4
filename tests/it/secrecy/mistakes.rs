//! Everything a client can do wrong with a password in its hand.

use serde_json::json;

use super::story::Story;
use crate::support::Client;

/// Secrets where they belong, in forms in which they do not.
pub fn wrong_arguments(story: &mut Story) {
    let password = story.password("misplaced");
    let long = story.password("long").repeat(100);
    for odd in [
        json!([password]),
        json!({password.as_str(): password}),
        json!({"password": {"password": password}}),
        json!(1234.5678),
        json!(true),
        json!(long),
    ] {
        story.refused("create_user", json!({"username": "eve", "password": odd}));
        story.refused("authenticate_user", json!(["alice", odd]));
        story.refused("update_password", json!(["alice", odd, odd]));
        story.refused("create_session", json!(["alice", password, [odd]]));
        story.refused("authenticate_session", json!([[odd]]));
        let as_eve = json!({"executing_user": "eve", "executing_user_password": [odd]});
        story.refused("delete_user", as_eve);
    }
    let p = password.as_str();
    story.refused(
        "create_user",
        json!({"username": "eve", "password": p, "pasword": p}),
    );
    story.refused("create_user", json!({"username": "", "password": p}));
    story.refused("create_user", json!({"password": p}));
    story.refused("create_user", json!(["eve", p, p, p, p, p, p, p]));
    story.refused(
        "authenticate_user",
        json!({"username": ["alice"], "password": p}),
    );
    story.refused("authenticate_user", json!({"password": p}));
    story.refused("create_session", json!(["alice", p, p, "garbage"]));
    story.refused("get_users", json!([p]));
    story.refused("get_users", json!(p));
    story.refused("update_password", json!(["alice", p, ""]));
}

/// Requests that are answered, but not run.
pub fn odd_messages(story: &mut Story) {
    story.call_oddly(|message| message["action"] = json!("user.nope"));
    story.call_oddly(|message| message["action"] = json!("nope.create_user"));
    story.call_oddly(|message| message["action"] = json!({"password": message["args"]}));
    story.call_oddly(|message| message["token"] = message["args"]["password"].clone());
    story.call_oddly(|message| message["token"] = json!([message["args"]]));
    story.call_oddly(|message| message["target"] = json!("somebody else"));
    story.call_oddly(|message| message["target"] = json!([message["args"]]));
    story.call_oddly(|message| message["_timestamp"] = json!(1));
    story.call_oddly(|message| message["_timestamp"] = message["args"]["password"].clone());
    story.call_oddly(|message| message["args"] = message["args"]["password"].clone());
    // Another key for the password, and a reply list that is none.
    story.call_oddly(|message| message["args"]["secret"] = message["args"]["password"].clone());
}

/// Messages that become dead letters.
pub fn unreadable_messages(story: &mut Story) {
    let p = story.password("unreadable");
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
    story.dead_letters_due += messages.len() + 2;
    for message in messages {
        story.client.push(message);
    }
    let mut bytes = p.clone().into_bytes();
    bytes.insert(30, 0xff);
    story.client.push(bytes);
    // One that is answered too: half of a surrogate pair in the password.
    let id = Client::new_id();
    story.client.push(format!(
        r#"{{"type": "request", "id": "{id}", "action": "user.get_users", "args": ["{p}\ud800"]}}"#
    ));
    assert_eq!(story.answer(&id).errors().len(), 1);
}
