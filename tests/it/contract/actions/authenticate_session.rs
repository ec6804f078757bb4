use serde_json::{Value, json};

use crate::contract::case::Answer::{Error, Output};
use crate::contract::case::Case;
use crate::contract::shape::TIME;

fn user(user_id: u64, username: &str) -> Value {
    json!({"user_id": user_id, "username": username, "created_at": TIME})
}

pub const CASES: &[Case] = &[
    Case::new(
        "valid",
        |it| json!({"session_token": it.session}),
        Output(|it| user(it.alice_id, "alice")),
    ),
    Case::new(
        "of a user with a second factor",
        |it| json!({"session_token": it.otto.session}),
        Output(|it| user(it.otto.id, &it.otto.name)),
    )
    .with_otto(),
    Case::new(
        "unknown",
        |_| json!({"session_token": "0".repeat(64)}),
        Error("Invalid session token"),
    ),
    Case::new(
        "another spelling",
        |it| json!({"session_token": it.session.to_uppercase()}),
        Error("Invalid session token"),
    ),
    Case::new(
        "empty",
        |_| json!({"session_token": ""}),
        Error("Invalid session token"),
    ),
    Case::new(
        "expired",
        |it| json!({"session_token": it.expired}),
        Error("Invalid session token"),
    ),
    Case::new(
        "deleted",
        |it| json!({"session_token": it.deleted}),
        Error("Invalid session token"),
    ),
];
