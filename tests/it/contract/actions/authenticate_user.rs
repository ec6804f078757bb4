use serde_json::json;

use crate::contract::case::Answer::Output;
use crate::contract::case::Case;

pub const CASES: &[Case] = &[
    Case::new(
        "right",
        |_| json!({"username": "alice", "password": "secret"}),
        Output(|_| json!(true)),
    ),
    Case::new(
        "wrong password",
        |_| json!({"username": "alice", "password": "Secret"}),
        Output(|_| json!(false)),
    ),
    Case::new(
        "empty password",
        |_| json!({"username": "alice", "password": ""}),
        Output(|_| json!(false)),
    ),
    Case::new(
        "unknown user",
        |_| json!({"username": "bob", "password": "secret"}),
        Output(|_| json!(false)),
    ),
    Case::new(
        "no users",
        |_| json!({"username": "bob", "password": "secret"}),
        Output(|_| json!(false)),
    )
    .without_users(),
    Case::new(
        "empty name",
        |_| json!({"username": "", "password": "secret"}),
        Output(|_| json!(false)),
    ),
    Case::new(
        "right, with details",
        |_| json!({"username": "alice", "password": "secret", "return_details": true}),
        Output(|_| json!([true, ""])),
    ),
    Case::new(
        "wrong password, with details",
        |_| json!({"username": "alice", "password": "wrong", "return_details": true}),
        Output(|_| json!([false, "invalid_credentials"])),
    ),
    Case::new(
        "unknown user, with details",
        |_| json!({"username": "bob", "password": "secret", "return_details": true}),
        Output(|_| json!([false, "invalid_credentials"])),
    ),
    Case::new(
        "a code is ignored without a second factor",
        |_| json!({"username": "alice", "password": "secret", "code": "000000"}),
        Output(|_| json!(true)),
    ),
    Case::new(
        "a wrong password with a code, without a second factor",
        |_| {
            json!({"username": "alice", "password": "wrong", "code": "000000",
                "return_details": true})
        },
        Output(|_| json!([false, "invalid_credentials"])),
    ),
    Case::new(
        "right code",
        |it| json!({"username": it.otto.name, "password": "secret", "code": it.otto.code}),
        Output(|_| json!(true)),
    )
    .with_otto(),
    Case::new(
        "right code, with details",
        |it| {
            json!({"username": it.otto.name, "password": "secret", "code": it.otto.code,
                "return_details": true})
        },
        Output(|_| json!([true, ""])),
    )
    .with_otto(),
    Case::new(
        "right code, wrong password",
        |it| {
            json!({"username": it.otto.name, "password": "wrong", "code": it.otto.code,
                "return_details": true})
        },
        Output(|_| json!([false, "invalid_credentials"])),
    )
    .with_otto(),
    Case::new(
        "missing code",
        |it| json!({"username": it.otto.name, "password": "secret"}),
        Output(|_| json!(false)),
    )
    .with_otto(),
    Case::new(
        "missing code, with details",
        |it| json!({"username": it.otto.name, "password": "secret", "return_details": true}),
        Output(|_| json!([false, "missing_otp_code"])),
    )
    .with_otto(),
    Case::new(
        "wrong code",
        |it| json!({"username": it.otto.name, "password": "secret", "code": it.otto.wrong_code}),
        Output(|_| json!(false)),
    )
    .with_otto(),
    Case::new(
        "wrong code, with details",
        |it| {
            json!({"username": it.otto.name, "password": "secret", "code": it.otto.wrong_code,
                "return_details": true})
        },
        Output(|_| json!([false, "invalid_otp_code"])),
    )
    .with_otto(),
];
