use serde_json::{Value, json};

use crate::contract::case::Answer::{Error, Output};
use crate::contract::case::Case;
use crate::contract::shape::TIME;
use crate::contract::stage::Fixture;

fn bob(it: &Fixture) -> Value {
    json!({"user_id": it.next_id, "username": "bob", "created_at": TIME})
}

pub const CASES: &[Case] = &[
    Case::new(
        "the first user needs no authentication",
        |_| json!({"username": "bob", "password": "hunter2"}),
        Output(bob),
    )
    .without_users(),
    Case::new(
        "credentials do not matter while there is no user",
        |_| {
            json!({"username": "bob", "password": "hunter2", "executing_user": "alice",
                "executing_user_password": "wrong", "session_token": "unknown"})
        },
        Output(bob),
    )
    .without_users(),
    Case::new(
        "credentials of any user",
        |_| {
            json!({"username": "bob", "password": "hunter2", "executing_user": "alice",
                "executing_user_password": "secret"})
        },
        Output(bob),
    ),
    Case::new(
        "session of any user",
        |it| json!({"username": "bob", "password": "hunter2", "session_token": it.session}),
        Output(bob),
    ),
    Case::new(
        "session of a user with a second factor",
        |it| json!({"username": "bob", "password": "hunter2", "session_token": it.otto.session}),
        Output(bob),
    )
    .with_otto(),
    Case::new(
        "a valid session is sufficient with a wrong password",
        |it| {
            json!({"username": "bob", "password": "hunter2", "executing_user": "alice",
                "executing_user_password": "wrong", "session_token": it.session})
        },
        Output(bob),
    ),
    Case::new(
        "right credentials are sufficient with an expired session",
        |it| {
            json!({"username": "bob", "password": "hunter2", "executing_user": "alice",
                "executing_user_password": "secret", "session_token": it.expired})
        },
        Output(bob),
    ),
    Case::new(
        "no credentials",
        |_| json!({"username": "bob", "password": "hunter2"}),
        Error("You need to authenticate in order to create another user"),
    ),
    Case::new(
        "null credentials",
        |_| {
            json!({"username": "bob", "password": "hunter2", "executing_user": null,
                "executing_user_password": null, "session_token": null})
        },
        Error("You need to authenticate in order to create another user"),
    ),
    Case::new(
        "empty credentials",
        |_| {
            json!({"username": "bob", "password": "hunter2", "executing_user": "",
                "executing_user_password": "", "session_token": ""})
        },
        Error("You need to authenticate in order to create another user"),
    ),
    Case::new(
        "a password without an executing user",
        |_| {
            json!({"username": "bob", "password": "hunter2",
                "executing_user_password": "secret"})
        },
        Error("You need to authenticate in order to create another user"),
    ),
    Case::new(
        "wrong password of the executing user",
        |_| {
            json!({"username": "bob", "password": "hunter2", "executing_user": "alice",
                "executing_user_password": "wrong"})
        },
        Error("Invalid credentials and/or session_token"),
    ),
    Case::new(
        "executing user without its password",
        |_| json!({"username": "bob", "password": "hunter2", "executing_user": "alice"}),
        Error("Invalid credentials and/or session_token"),
    ),
    Case::new(
        "unknown executing user",
        |_| {
            json!({"username": "bob", "password": "hunter2", "executing_user": "bob",
                "executing_user_password": "hunter2"})
        },
        Error("Invalid credentials and/or session_token"),
    ),
    Case::new(
        "a user with a second factor by password alone",
        |it| {
            json!({"username": "bob", "password": "hunter2", "executing_user": it.otto.name,
                "executing_user_password": "secret"})
        },
        Error("Invalid credentials and/or session_token"),
    )
    .with_otto(),
    Case::new(
        "unknown session",
        |_| json!({"username": "bob", "password": "hunter2", "session_token": "unknown"}),
        Error("Invalid credentials and/or session_token"),
    ),
    Case::new(
        "expired session",
        |it| json!({"username": "bob", "password": "hunter2", "session_token": it.expired}),
        Error("Invalid credentials and/or session_token"),
    ),
    Case::new(
        "deleted session",
        |it| json!({"username": "bob", "password": "hunter2", "session_token": it.deleted}),
        Error("Invalid credentials and/or session_token"),
    ),
    Case::new(
        "a name that exists",
        |it| json!({"username": "alice", "password": "hunter2", "session_token": it.session}),
        Error("The user alice already exists"),
    ),
    Case::new(
        "empty name",
        |it| json!({"username": "", "password": "hunter2", "session_token": it.session}),
        Error("Invalid or empty username"),
    ),
    Case::new(
        "a name of spaces",
        |it| json!({"username": " \t\n", "password": "hunter2", "session_token": it.session}),
        Error("Invalid or empty username"),
    ),
    Case::new(
        "empty name of the first user",
        |_| json!({"username": "", "password": "hunter2"}),
        Error("Invalid or empty username"),
    )
    .without_users(),
    Case::new(
        "empty password",
        |it| json!({"username": "bob", "password": "", "session_token": it.session}),
        Error("Please provide a password for the user"),
    ),
    Case::new(
        "empty password of the first user",
        |_| json!({"username": "bob", "password": ""}),
        Error("Please provide a password for the user"),
    )
    .without_users(),
    Case::new(
        "an unknown keyword",
        |it| {
            json!({"username": "bob", "password": "hunter2", "session_token": it.session,
                "foo": "bar"})
        },
        Error("'foo' is an invalid keyword argument for User"),
    ),
];
