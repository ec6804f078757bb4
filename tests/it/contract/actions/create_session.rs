use serde_json::{Value, json};

use crate::contract::case::Answer::{Error, Output};
use crate::contract::case::Case;
use crate::contract::shape::{TIME, TOKEN};
use crate::contract::stage::Fixture;

fn session(user_id: u64, username: &str, expires_at: Value) -> Value {
    json!({"session_token": TOKEN, "user_id": user_id, "username": username,
        "created_at": TIME, "expires_at": expires_at})
}

fn of_alice(it: &Fixture) -> Value {
    session(it.alice_id, "alice", Value::Null)
}

fn of_otto(it: &Fixture) -> Value {
    session(it.otto.id, &it.otto.name, Value::Null)
}

pub const CASES: &[Case] = &[
    Case::new(
        "right",
        |_| json!({"username": "alice", "password": "secret"}),
        Output(of_alice),
    ),
    Case::new(
        "no expiry",
        |_| json!({"username": "alice", "password": "secret", "expires_at": null}),
        Output(of_alice),
    ),
    Case::new(
        "expiry as a number",
        |_| json!({"username": "alice", "password": "secret", "expires_at": 1_925_000_000}),
        Output(|it| session(it.alice_id, "alice", json!("2031-01-01T02:13:20.000000"))),
    ),
    Case::new(
        "expiry as ISO 8601",
        |_| json!({"username": "alice", "password": "secret", "expires_at": "2031-01-01"}),
        Output(|it| session(it.alice_id, "alice", json!("2031-01-01T00:00:00.000000"))),
    ),
    Case::new(
        "a past expiry is accepted",
        |_| json!({"username": "alice", "password": "secret", "expires_at": 0}),
        Output(|it| session(it.alice_id, "alice", json!("1970-01-01T00:00:00.000000"))),
    ),
    Case::new(
        "an invalid expiry",
        |_| json!({"username": "alice", "password": "secret", "expires_at": "garbage"}),
        Error("Invalid isoformat string: 'garbage'"),
    ),
    Case::new(
        "wrong password",
        |_| json!({"username": "alice", "password": "wrong"}),
        Error("Invalid credentials"),
    ),
    Case::new(
        "empty password",
        |_| json!({"username": "alice", "password": ""}),
        Error("Invalid credentials"),
    ),
    Case::new(
        "unknown user",
        |_| json!({"username": "bob", "password": "secret"}),
        Error("Invalid credentials"),
    ),
    Case::new(
        "a code is ignored without a second factor",
        |_| json!({"username": "alice", "password": "secret", "code": "000000"}),
        Output(of_alice),
    ),
    Case::new(
        "right code",
        |it| json!({"username": it.otto.name, "password": "secret", "code": it.otto.code}),
        Output(of_otto),
    )
    .with_otto(),
    Case::new(
        "missing code",
        |it| json!({"username": it.otto.name, "password": "secret"}),
        Error("missing_otp_code"),
    )
    .with_otto(),
    Case::new(
        "empty code",
        |it| json!({"username": it.otto.name, "password": "secret", "code": ""}),
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
];
