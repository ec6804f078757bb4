use serde_json::json;

use crate::contract::case::Answer::{Error, Output};
use crate::contract::case::Case;
use crate::contract::shape::TIME;

pub const CASES: &[Case] = &[
    Case::new(
        "valid",
        |it| json!({"token": it.api_token}),
        Output(|it| json!({"user_id": it.alice_id, "username": "alice", "created_at": TIME})),
    ),
    Case::new(
        "expired",
        |it| json!({"token": it.expired_api_token}),
        Error("Invalid API token"),
    ),
    Case::new(
        "deleted",
        |it| json!({"token": it.deleted_api_token}),
        Error("Invalid API token"),
    ),
    Case::new(
        "of a deleted user",
        |it| json!({"token": it.api_token_of_deleted_user}),
        Error("Invalid API token"),
    ),
    Case::new(
        "under the name of another user",
        |it| json!({"token": it.api_token.replace("alice", "admin")}),
        Error("Invalid API token"),
    ),
    Case::new(
        "another spelling",
        |it| json!({"token": format!("{} ", it.api_token)}),
        Error("Invalid API token"),
    ),
    Case::new(
        "without the name",
        |it| json!({"token": it.api_token.replace("alice:", "")}),
        Error("Invalid API token"),
    ),
    Case::new(
        "the name alone",
        |_| json!({"token": "alice:"}),
        Error("Invalid API token"),
    ),
    Case::new(
        "empty",
        |_| json!({"token": ""}),
        Error("Invalid API token"),
    ),
    Case::new(
        "a session token",
        |it| json!({"token": it.session}),
        Error("Invalid API token"),
    ),
    Case::new(
        "a password",
        |_| json!({"token": "alice:secret"}),
        Error("Invalid API token"),
    ),
];
