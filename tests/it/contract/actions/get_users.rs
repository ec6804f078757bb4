use serde_json::json;

use crate::contract::case::Answer::Output;
use crate::contract::case::Case;
use crate::contract::shape::TIME;

pub const CASES: &[Case] = &[
    Case::new("no users", |_| json!({}), Output(|_| json!([]))).without_users(),
    Case::new(
        "all users by id",
        |_| json!({}),
        Output(|it| {
            json!([
                {"user_id": it.admin_id, "username": "admin", "created_at": TIME},
                {"user_id": it.alice_id, "username": "alice", "created_at": TIME},
            ])
        }),
    ),
];
