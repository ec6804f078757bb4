use serde_json::json;

use crate::contract::case::Answer::{Error, Output};
use crate::contract::case::Case;

pub const CASES: &[Case] = &[
    Case::new(
        "credentials of any user",
        |_| {
            json!({"username": "alice", "executing_user": "admin",
                "executing_user_password": "admin-secret"})
        },
        Output(|_| json!(true)),
    ),
    Case::new(
        "credentials of the deleted user",
        |_| {
            json!({"username": "alice", "executing_user": "alice",
                "executing_user_password": "secret"})
        },
        Output(|_| json!(true)),
    ),
    Case::new(
        "session of the deleted user",
        |it| json!({"username": "alice", "session_token": it.session}),
        Output(|_| json!(true)),
    ),
    Case::new(
        "a user with a second factor",
        |it| json!({"username": it.otto.name, "session_token": it.session}),
        Output(|_| json!(true)),
    )
    .with_otto(),
    Case::new(
        "session of a user with a second factor",
        |it| json!({"username": "alice", "session_token": it.otto.session}),
        Output(|_| json!(true)),
    )
    .with_otto(),
    Case::new(
        "a valid session is sufficient with a wrong password",
        |it| {
            json!({"username": "alice", "executing_user": "alice",
                "executing_user_password": "wrong", "session_token": it.session})
        },
        Output(|_| json!(true)),
    ),
    Case::new(
        "right credentials are sufficient with an unknown session",
        |_| {
            json!({"username": "alice", "executing_user": "alice",
                "executing_user_password": "secret", "session_token": "unknown"})
        },
        Output(|_| json!(true)),
    ),
    Case::new(
        "no credentials",
        |_| json!({"username": "alice"}),
        Error("Invalid credentials and/or session_token"),
    ),
    Case::new(
        "no users",
        |_| json!({"username": "bob"}),
        Error("Invalid credentials and/or session_token"),
    )
    .without_users(),
    Case::new(
        "wrong password of the executing user",
        |_| {
            json!({"username": "alice", "executing_user": "alice",
                "executing_user_password": "wrong"})
        },
        Error("Invalid credentials and/or session_token"),
    ),
    Case::new(
        "executing user without its password",
        |_| json!({"username": "alice", "executing_user": "alice"}),
        Error("Invalid credentials and/or session_token"),
    ),
    Case::new(
        "a user with a second factor by password alone",
        |it| {
            json!({"username": "alice", "executing_user": it.otto.name,
                "executing_user_password": "secret"})
        },
        Error("Invalid credentials and/or session_token"),
    )
    .with_otto(),
    Case::new(
        "expired session",
        |it| json!({"username": "alice", "session_token": it.expired}),
        Error("Invalid credentials and/or session_token"),
    ),
    Case::new(
        "deleted session",
        |it| json!({"username": "alice", "session_token": it.deleted}),
        Error("Invalid credentials and/or session_token"),
    ),
    Case::new(
        "an unknown user",
        |it| json!({"username": "bob", "session_token": it.session}),
        Error("No such user: bob"),
    ),
    Case::new(
        "without authentication the error hides whether the user exists",
        |_| json!({"username": "bob", "session_token": "unknown"}),
        Error("Invalid credentials and/or session_token"),
    ),
];
