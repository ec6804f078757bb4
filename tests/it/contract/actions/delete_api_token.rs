use serde_json::json;

use crate::contract::case::Answer::{Error, Output};
use crate::contract::case::Case;

pub const CASES: &[Case] = &[
    Case::new(
        "own token",
        |it| json!({"session_token": it.session, "id": it.api_token_id}),
        Output(|_| json!(true)),
    ),
    Case::new(
        "the id as text",
        |it| json!({"session_token": it.session, "id": it.api_token_id.to_string()}),
        Output(|_| json!(true)),
    ),
    Case::new(
        "unknown id",
        |it| json!({"session_token": it.session, "id": it.next_api_token_id}),
        Output(|_| json!(false)),
    ),
    Case::new(
        "token of another user",
        |it| json!({"session_token": it.otto.session, "id": it.api_token_id}),
        Output(|_| json!(false)),
    )
    .with_otto(),
    Case::new(
        "expired session",
        |it| json!({"session_token": it.expired, "id": it.api_token_id}),
        Error("Invalid session token"),
    ),
    Case::new(
        "no session",
        |it| json!({"session_token": "", "id": it.api_token_id}),
        Error("Invalid session token"),
    ),
    Case::new(
        "not a number",
        |it| json!({"session_token": it.session, "id": "none"}),
        Error("'id' must be a whole number from 1 on, not none"),
    ),
    Case::new(
        "zero",
        |it| json!({"session_token": it.session, "id": 0}),
        Error("'id' must be a whole number from 1 on, not 0"),
    ),
    Case::new(
        "negative",
        |it| json!({"session_token": it.session, "id": -1}),
        Error("'id' must be a whole number from 1 on, not -1"),
    ),
    Case::new(
        "another type",
        |it| json!({"session_token": it.session, "id": [1]}),
        Error("'id' must be a whole number from 1 on, not list"),
    ),
];
