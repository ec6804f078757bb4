use serde_json::json;

use crate::contract::case::Answer::Output;
use crate::contract::case::Case;
use crate::contract::shape::TIME;

pub const CASES: &[Case] = &[
    Case::new("nobody", |_| json!({}), Output(|_| json!([]))).with_nobody(),
    Case::new(
        "all by id",
        |_| json!({}),
        Output(|it| {
            json!([
                {"user_id": it.keeper_id, "username": "keeper", "created_at": TIME},
                {"user_id": it.alice_id, "username": "alice", "created_at": TIME},
            ])
        }),
    ),
];
