use serde_json::{Value, json};

use crate::contract::case::Answer::{Error, Output};
use crate::contract::case::Case;
use crate::contract::shape::{API_TOKEN, API_TOKEN_NAME};
use crate::contract::stage::Fixture;

fn created_token(it: &Fixture, name: &str) -> Value {
    json!({"id": it.next_api_token_id, "name": name, "token": API_TOKEN, "expires_at": null})
}

pub const CASES: &[Case] = &[
    Case::new(
        "with a name",
        |_| json!({"username": "alice", "password": "secret", "name": "backup"}),
        Output(|it| created_token(it, "backup")),
    ),
    Case::new(
        "without a name",
        |_| json!({"username": "alice", "password": "secret"}),
        Output(|it| created_token(it, API_TOKEN_NAME)),
    ),
    Case::new(
        "a name of digits",
        |_| json!({"username": "alice", "password": "secret", "name": 7}),
        Output(|it| created_token(it, "7")),
    ),
    Case::new(
        "with an expiry",
        |_| {
            json!({"username": "alice", "password": "secret", "name": "a",
                "expires_at": "2031-01-01"})
        },
        Output(|it| {
            json!({"id": it.next_api_token_id, "name": "a", "token": API_TOKEN,
                "expires_at": "2031-01-01T00:00:00.000000"})
        }),
    ),
    Case::new(
        "the name of a deleted token",
        |_| json!({"username": "alice", "password": "secret", "name": "deleted"}),
        Output(|it| created_token(it, "deleted")),
    ),
    Case::new(
        "the name of an expired token",
        |_| json!({"username": "alice", "password": "secret", "name": "expired"}),
        Output(|it| created_token(it, "expired")),
    ),
    Case::new(
        "a code is ignored without a second factor",
        |_| json!({"username": "alice", "password": "secret", "code": "000000"}),
        Output(|it| created_token(it, API_TOKEN_NAME)),
    ),
    Case::new(
        "right code, the name of another user's token",
        |it| {
            json!({"username": it.otto.name, "password": "secret", "code": it.otto.code,
                "name": "script"})
        },
        Output(|it| created_token(it, "script")),
    )
    .with_otto(),
    Case::new(
        "the name is taken",
        |_| json!({"username": "alice", "password": "secret", "name": "script"}),
        Error("An API token named script already exists"),
    ),
    Case::new(
        "an invalid expiry",
        |_| json!({"username": "alice", "password": "secret", "expires_at": "garbage"}),
        Error("Invalid isoformat string: 'garbage'"),
    ),
    Case::new(
        "wrong password",
        |_| json!({"username": "alice", "password": "wrong", "name": "backup"}),
        Error("Invalid credentials"),
    ),
    Case::new(
        "unknown user",
        |_| json!({"username": "unknown", "password": "secret"}),
        Error("Invalid credentials"),
    ),
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
];
