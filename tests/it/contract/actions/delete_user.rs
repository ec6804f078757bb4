use serde_json::json;

use crate::contract::case::Answer::{Error, Output};
use crate::contract::case::Case;

pub const CASES: &[Case] = &[
    Case::new(
        "credentials of any user",
        |_| {
            json!({"username": "alice", "executing_user": "keeper",
                "executing_user_password": "kept"})
        },
        Output(|_| json!(true)),
    ),
    Case::new(
        "its own credentials",
        |_| {
            json!({"username": "alice", "executing_user": "alice",
                "executing_user_password": "secret"})
        },
        Output(|_| json!(true)),
    ),
    Case::new(
        "its own session",
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
        "a valid session suffices where the password is wrong",
        |it| {
            json!({"username": "alice", "executing_user": "alice",
                "executing_user_password": "wrong", "session_token": it.session})
        },
        Output(|_| json!(true)),
    ),
    Case::new(
        "right credentials suffice where the session is unknown",
        |_| {
            json!({"username": "alice", "executing_user": "alice",
                "executing_user_password": "secret", "session_token": "unknown"})
        },
        Output(|_| json!(true)),
    ),
    Case::new(
        "nobody asks",
        |_| json!({"username": "alice"}),
        Error("Invalid credentials and/or session_token"),
    ),
    Case::new(
        "there is nobody",
        |_| json!({"username": "bob"}),
        Error("Invalid credentials and/or session_token"),
    )
    .with_nobody(),
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
        "who may not ask is not told who exists",
        |_| json!({"username": "bob", "session_token": "unknown"}),
        Error("Invalid credentials and/or session_token"),
    ),
];
