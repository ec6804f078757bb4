//! The wire contract, line by line, against the real daemon and a real Redis.
//!
//! `actions/` contains a table of cases for each action, and `case.rs` defines and runs cases.
//! `coverage.rs` contains the contract's own table and fails for each action, parameter or error
//! text without a case. Each other file covers a subject that needs more than one call.

mod actions;
mod broken_in_platypush;
mod case;
mod coercion;
mod coverage;
mod dead_letters;
mod envelope;
mod evaluated;
mod expires_at;
mod limits;
mod literals;
mod passwords;
mod policy;
mod replies;
mod second_factor;
pub mod shape;
mod stage;
mod users;
mod wording;

use redis::Commands as _;
use serde_json::{Value, json};

use crate::support::{Client, QUEUE, REPLIES, Reply, Setup};

/// Pushes a message unchanged and waits for the reply to `id`.
#[track_caller]
fn ask(client: &mut Client, id: &str, message: &str) -> Reply {
    client.push(message);
    client.reply(id)
}

/// Sends a `get_users` with additional members in the envelope and returns its id. For tests in
/// which the action does not matter.
fn send_with(client: &mut Client, members: Value) -> String {
    let id = Client::new_id();
    let mut message = json!({"type": "request", "action": "user.get_users", "id": id});
    let Value::Object(members) = members else {
        panic!("members of an object");
    };
    message.as_object_mut().unwrap().extend(members);
    client.push(message.to_string());
    id
}

/// Logs in and returns the session token.
#[track_caller]
fn log_in(client: &mut Client, username: &str, password: &str) -> String {
    let reply = client.call("create_session", json!([username, password]));
    reply.ok()["session_token"].as_str().unwrap().to_owned()
}

/// Returns whether the password is right.
#[track_caller]
fn is_password(client: &mut Client, username: &str, password: &str) -> bool {
    let reply = client.call("authenticate_user", json!([username, password]));
    reply.ok().as_bool().unwrap()
}

/// Stops the daemon once all messages pushed before are processed, and asserts that none is left
/// in flight.
///
/// The daemon fetches messages in order and finishes every request that it has started. A request
/// that waits to hash a password has not started.
#[track_caller]
fn stop_when_idle(setup: &mut Setup) {
    setup.client.call("get_users", json!({}));
    assert!(setup.daemon.stop().success());
    // After this line, the log is complete.
    setup.daemon.wait_for_log("stopped");
    let mut keys: Vec<String> = setup.client.redis.keys("*").unwrap();
    keys.retain(|key| {
        key != &format!("{QUEUE}:dead") && !key.ends_with(":owner") && !key.starts_with(REPLIES)
    });
    assert_eq!(keys, Vec::<String>::new(), "left over");
}

/// Returns the sorted names of the reply lists that still exist, without their prefix.
fn reply_lists(client: &mut Client) -> Vec<String> {
    let keys: Vec<String> = client.redis.keys(format!("{REPLIES}*")).unwrap();
    let mut ids: Vec<String> = keys.iter().map(|key| key[REPLIES.len()..].into()).collect();
    ids.sort();
    ids
}

/// Waits for the next dead letter and removes it.
#[track_caller]
fn next_dead_letter(client: &mut Client) -> Value {
    let popped: Option<(String, String)> =
        client.redis.blpop(format!("{QUEUE}:dead"), 60.0).unwrap();
    serde_json::from_str(&popped.expect("a dead letter").1).unwrap()
}
