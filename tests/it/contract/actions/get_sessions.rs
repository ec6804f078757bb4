use serde_json::{Value, json};

use crate::contract::case::Answer::{Error, Output};
use crate::contract::case::Case;
use crate::contract::shape::{SESSION_ID, TIME};

fn current(session_id: &str) -> Value {
    json!([{"session_id": session_id, "created_at": TIME, "expires_at": null, "current": true}])
}

pub const CASES: &[Case] = &[
    Case::new(
        "valid, without expired and deleted sessions",
        |it| json!({"session_token": it.session}),
        Output(|it| current(&it.session_id)),
    ),
    Case::new(
        "of a user with a second factor",
        |it| json!({"session_token": it.otto.session}),
        Output(|_| current(SESSION_ID)),
    )
    .with_otto(),
    Case::new(
        "unknown",
        |_| json!({"session_token": "0".repeat(64)}),
        Error("Invalid session token"),
    ),
    Case::new(
        "empty",
        |_| json!({"session_token": ""}),
        Error("Invalid session token"),
    ),
    Case::new(
        "a session id instead of a token",
        |it| json!({"session_token": it.session_id}),
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
