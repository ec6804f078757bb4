use serde_json::{Value, json};

use crate::contract::case::Answer::{Error, ErrorBeginning, ErrorOf, Output};
use crate::contract::case::Case;
use crate::contract::shape::{BACKUP_CODE, OTP_SECRET, OTP_URI, QR_CODE};
use crate::contract::stage::Fixture;

fn enrolment(otp_secret: &str, backup_codes: usize) -> Value {
    json!({"username": "alice", "otp_secret": otp_secret, "otp_uri": OTP_URI,
        "qrcode": QR_CODE, "backup_codes": vec![BACKUP_CODE; backup_codes]})
}

fn already_enabled(it: &Fixture) -> String {
    format!(
        "2FA is already enabled for {}: disable it first",
        it.otto.name
    )
}

const BAD_SECRET: &str = "otp_secret must be base32 of 128 to 512 bits (26 to 103 characters): \
                          call enable_otp with dry_run to get one";

pub const CASES: &[Case] = &[
    Case::new(
        "a dry run proposes a secret",
        |_| json!({"username": "alice", "password": "secret", "dry_run": true}),
        Output(|_| enrolment(OTP_SECRET, 0)),
    ),
    Case::new(
        "a dry run with a given secret",
        |it| {
            json!({"username": "alice", "password": "secret",
                "otp_secret": it.authenticator.secret, "dry_run": true})
        },
        Output(|it| enrolment(&it.authenticator.secret, 0)),
    ),
    Case::new(
        "right code",
        |it| {
            json!({"username": "alice", "password": "secret",
                "otp_secret": it.authenticator.secret, "code": it.authenticator.code})
        },
        Output(|it| enrolment(&it.authenticator.secret, 10)),
    ),
    Case::new(
        "wrong code",
        |it| {
            json!({"username": "alice", "password": "secret",
                "otp_secret": it.authenticator.secret, "code": it.authenticator.wrong_code})
        },
        ErrorBeginning("invalid_otp_code: this is no code of the otp_secret at "),
    ),
    Case::new(
        "missing code",
        |it| {
            json!({"username": "alice", "password": "secret",
                "otp_secret": it.authenticator.secret})
        },
        Error("missing_otp_code"),
    ),
    Case::new(
        "missing secret",
        |it| {
            json!({"username": "alice", "password": "secret",
                "code": it.authenticator.code})
        },
        Error(BAD_SECRET),
    ),
    Case::new(
        "120 bits",
        |it| {
            json!({"username": "alice", "password": "secret", "otp_secret": "A".repeat(24),
                "code": it.authenticator.code})
        },
        Error(BAD_SECRET),
    ),
    Case::new(
        "too long for a QR code",
        |it| {
            json!({"username": "alice", "password": "secret", "otp_secret": "A".repeat(4096),
                "code": it.authenticator.code})
        },
        Error(BAD_SECRET),
    ),
    Case::new(
        "not base32",
        |it| {
            json!({"username": "alice", "password": "secret", "otp_secret": "1".repeat(32),
                "code": it.authenticator.code})
        },
        Error(BAD_SECRET),
    ),
    Case::new(
        "already enabled",
        |it| {
            json!({"username": it.otto.name, "password": "secret",
                "otp_secret": it.authenticator.secret, "code": it.authenticator.code})
        },
        ErrorOf(already_enabled),
    )
    .with_otto(),
    Case::new(
        "a dry run while already enabled",
        |it| json!({"username": it.otto.name, "password": "secret", "dry_run": true}),
        ErrorOf(already_enabled),
    )
    .with_otto(),
    Case::new(
        "wrong password while already enabled",
        |it| json!({"username": it.otto.name, "password": "wrong", "dry_run": true}),
        Error("Invalid credentials"),
    )
    .with_otto(),
    Case::new(
        "wrong password",
        |_| json!({"username": "alice", "password": "wrong", "dry_run": true}),
        Error("Invalid credentials"),
    ),
    Case::new(
        "unknown user",
        |_| json!({"username": "bob", "password": "secret", "dry_run": true}),
        Error("Invalid credentials"),
    ),
];
