use serde_json::json;

use crate::contract::case::Answer::{Error, Output};
use crate::contract::case::Case;

pub const CASES: &[Case] = &[
    Case::new(
        "right code",
        |it| json!({"username": it.otto.name, "password": "secret", "code": it.otto.code}),
        Output(|_| json!(true)),
    )
    .with_otto(),
    Case::new(
        "all sessions",
        |_| json!({"username": "alice", "password": "secret"}),
        Output(|_| json!(true)),
    ),
    Case::new(
        "a code is ignored without a second factor",
        |_| json!({"username": "alice", "password": "secret", "code": "000000"}),
        Output(|_| json!(true)),
    ),
    Case::new(
        "one session by id",
        |it| json!({"username": "alice", "password": "secret", "session_id": it.session_id}),
        Output(|_| json!(true)),
    ),
    Case::new(
        "no such session",
        |_| json!({"username": "alice", "password": "secret", "session_id": "0123456789abcdef"}),
        Output(|_| json!(false)),
    ),
    Case::new(
        "another spelling of an id",
        |it| {
            json!({"username": "alice", "password": "secret",
                "session_id": format!(" {}", it.session_id)})
        },
        Output(|_| json!(false)),
    ),
    Case::new(
        "session of another user",
        |it| {
            json!({"username": it.otto.name, "password": "secret", "code": it.otto.code,
                "session_id": it.session_id})
        },
        Output(|_| json!(false)),
    )
    .with_otto(),
    Case::new(
        "missing code",
        |it| json!({"username": it.otto.name, "password": "secret"}),
        Error("missing_otp_code"),
    )
    .with_otto(),
    Case::new(
        "wrong code",
        |it| json!({"username": it.otto.name, "password": "secret", "code": it.otto.wrong_code}),
        Error("invalid_otp_code"),
    )
    .with_otto(),
    Case::new(
        "right code, wrong password",
        |it| json!({"username": it.otto.name, "password": "wrong", "code": it.otto.code}),
        Error("Invalid credentials"),
    )
    .with_otto(),
    Case::new(
        "wrong password",
        |_| json!({"username": "alice", "password": "wrong"}),
        Error("Invalid credentials"),
    ),
    Case::new(
        "unknown user",
        |_| json!({"username": "bob", "password": "secret"}),
        Error("Invalid credentials"),
    ),
];
