use serde_json::json;

use crate::contract::case::Answer::{Error, Output};
use crate::contract::case::Case;
use crate::contract::shape::TIME;

pub const CASES: &[Case] = &[
    Case::new(
        "valid, without expired and deleted tokens",
        |it| json!({"session_token": it.session}),
        Output(|it| {
            json!([{"id": it.api_token_id, "name": "script", "created_at": TIME,
                "expires_at": null}])
        }),
    ),
    Case::new(
        "of a user without tokens",
        |it| json!({"session_token": it.otto.session}),
        Output(|_| json!([])),
    )
    .with_otto(),
    Case::new(
        "an API token instead of a session token",
        |it| json!({"session_token": it.api_token}),
        Error("Invalid session token"),
    ),
    Case::new(
        "expired session",
        |it| json!({"session_token": it.expired}),
        Error("Invalid session token"),
    ),
    Case::new(
        "deleted session",
        |it| json!({"session_token": it.deleted}),
        Error("Invalid session token"),
    ),
];
