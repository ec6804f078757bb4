use serde_json::json;

use crate::contract::case::Answer::{Error, Output};
use crate::contract::case::Case;
use crate::contract::shape::BACKUP_CODE;

pub const CASES: &[Case] = &[
    Case::new(
        "right code",
        |it| json!({"username": it.otto.name, "password": "secret", "code": it.otto.code}),
        Output(|_| json!(vec![BACKUP_CODE; 10])),
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
    Case::new(
        "no second factor",
        |_| json!({"username": "alice", "password": "secret"}),
        Error("2FA is not enabled for alice"),
    ),
    Case::new(
        "a code without a second factor",
        |_| json!({"username": "alice", "password": "secret", "code": "123456"}),
        Error("2FA is not enabled for alice"),
    ),
];
