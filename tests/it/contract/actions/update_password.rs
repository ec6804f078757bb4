use serde_json::json;

use crate::contract::case::Answer::{Error, Output};
use crate::contract::case::Case;

pub const CASES: &[Case] = &[
    Case::new(
        "right",
        |_| json!({"username": "alice", "old_password": "secret", "new_password": "hunter2"}),
        Output(|_| json!(true)),
    ),
    Case::new(
        "to the same password",
        |_| json!({"username": "alice", "old_password": "secret", "new_password": "secret"}),
        Output(|_| json!(true)),
    ),
    Case::new(
        "wrong password",
        |_| json!({"username": "alice", "old_password": "wrong", "new_password": "hunter2"}),
        Output(|_| json!(false)),
    ),
    Case::new(
        "unknown user",
        |_| json!({"username": "bob", "old_password": "secret", "new_password": "hunter2"}),
        Output(|_| json!(false)),
    ),
    Case::new(
        "empty new password",
        |_| json!({"username": "alice", "old_password": "secret", "new_password": ""}),
        Error("Please provide a password for the user"),
    ),
    Case::new(
        "with revocation",
        |_| {
            json!({"username": "alice", "old_password": "secret", "new_password": "hunter2",
                "revoke_sessions": true})
        },
        Output(|_| json!(true)),
    ),
    Case::new(
        "a code is ignored without a second factor",
        |_| {
            json!({"username": "alice", "old_password": "secret", "new_password": "hunter2",
                "code": "000000"})
        },
        Output(|_| json!(true)),
    ),
    Case::new(
        "right code",
        |it| {
            json!({"username": it.otto.name, "old_password": "secret",
                "new_password": "hunter2", "code": it.otto.code})
        },
        Output(|_| json!(true)),
    )
    .with_otto(),
    Case::new(
        "right code, with revocation",
        |it| {
            json!({"username": it.otto.name, "old_password": "secret",
                "new_password": "hunter2", "code": it.otto.code, "revoke_sessions": true})
        },
        Output(|_| json!(true)),
    )
    .with_otto(),
    Case::new(
        "missing code",
        |it| {
            json!({"username": it.otto.name, "old_password": "secret",
                "new_password": "hunter2"})
        },
        Output(|_| json!(false)),
    )
    .with_otto(),
    Case::new(
        "wrong code",
        |it| {
            json!({"username": it.otto.name, "old_password": "secret",
                "new_password": "hunter2", "code": it.otto.wrong_code})
        },
        Output(|_| json!(false)),
    )
    .with_otto(),
];
