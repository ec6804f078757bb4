use serde_json::json;

use crate::contract::case::Answer::Output;
use crate::contract::case::Case;

pub const CASES: &[Case] = &[
    Case::new(
        "valid",
        |it| json!({"session_token": it.session}),
        Output(|_| json!(true)),
    ),
    Case::new(
        "of a user with a second factor",
        |it| json!({"session_token": it.otto.session}),
        Output(|_| json!(true)),
    )
    .with_otto(),
    Case::new(
        "unknown",
        |_| json!({"session_token": "0".repeat(64)}),
        Output(|_| json!(false)),
    ),
    Case::new(
        "empty",
        |_| json!({"session_token": ""}),
        Output(|_| json!(false)),
    ),
    Case::new(
        "expired",
        |it| json!({"session_token": it.expired}),
        Output(|_| json!(false)),
    ),
    Case::new(
        "deleted",
        |it| json!({"session_token": it.deleted}),
        Output(|_| json!(false)),
    ),
];
