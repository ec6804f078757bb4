//! The wire contract, line by line, against the real daemon and a real Redis.
//!
//! `actions/` has a table of cases for each action, `case.rs` says what a
//! case is and runs it, `coverage.rs` holds the contract's own table against
//! them: an action, a parameter or an error text without a case fails there.
//! The other files have a subject each, where one call does not tell enough.

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

/// Pushes a message as it is and waits for the reply to `id`.
#[track_caller]
fn ask(client: &mut Client, id: &str, message: &str) -> Reply {
    client.push(message);
    client.reply(id)
}

/// A `get_users` with these members of the envelope on top, for what is not
/// about an action. Gives its id.
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

/// Logs in and gives the session token.
#[track_caller]
fn log_in(client: &mut Client, username: &str, password: &str) -> String {
    let reply = client.call("create_session", json!([username, password]));
    reply.ok()["session_token"].as_str().unwrap().to_owned()
}

/// Whether that password is right.
#[track_caller]
fn is_password(client: &mut Client, username: &str, password: &str) -> bool {
    let reply = client.call("authenticate_user", json!([username, password]));
    reply.ok().as_bool().unwrap()
}

/// Stops the daemon when everything that was pushed before is answered: it
/// takes messages in order and finishes what it has begun. (A request that
/// waits to hash a password has not begun.) Nothing may be left under way.
#[track_caller]
fn settle(setup: &mut Setup) {
    setup.client.call("get_users", json!({}));
    assert!(setup.daemon.stop().success());
    // Its last line: from here on the log is whole.
    setup.daemon.wait_for_log("stopped");
    let mut keys: Vec<String> = setup.client.redis.keys("*").unwrap();
    keys.retain(|key| {
        key != &format!("{QUEUE}:dead") && !key.ends_with(":owner") && !key.starts_with(REPLIES)
    });
    assert_eq!(keys, Vec::<String>::new(), "left over");
}

/// Names of the reply lists that nobody has fetched, without their prefix,
/// in order.
fn waiting_replies(client: &mut Client) -> Vec<String> {
    let keys: Vec<String> = client.redis.keys(format!("{REPLIES}*")).unwrap();
    let mut ids: Vec<String> = keys.iter().map(|key| key[REPLIES.len()..].into()).collect();
    ids.sort();
    ids
}

/// Waits for the next dead letter, and takes it.
#[track_caller]
fn next_dead_letter(client: &mut Client) -> Value {
    let popped: Option<(String, String)> =
        client.redis.blpop(format!("{QUEUE}:dead"), 60.0).unwrap();
    serde_json::from_str(&popped.expect("a dead letter").1).unwrap()
}
