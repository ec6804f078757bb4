//! Comparison of JSON with a template: exact, including the order of keys, except for placeholders.

use serde_json::Value;

/// Placeholder for a time.
pub const TIME: &str = "<time>";
/// Placeholder for a session token.
pub const TOKEN: &str = "<token>";
/// Placeholder for the id of a session.
pub const SESSION_ID: &str = "<session id>";
/// Placeholder for the secret of an authenticator.
pub const OTP_SECRET: &str = "<secret>";
/// Placeholder for the `otpauth:` URI of a secret.
pub const OTP_URI: &str = "<uri>";
/// Placeholder for the QR code of this URI.
pub const QR_CODE: &str = "<picture>";
/// Placeholder for a backup code.
pub const BACKUP_CODE: &str = "<backup code>";

/// Placeholder for an API token.
pub const API_TOKEN: &str = "<API token>";
/// Placeholder for the generated name of an API token.
pub const API_TOKEN_NAME: &str = "<API token name>";

/// Returns whether a text matches a placeholder.
type Matches = fn(&str) -> bool;

const PLACEHOLDERS: &[(&str, Matches)] = &[
    (TIME, is_time),
    (TOKEN, is_token),
    (SESSION_ID, |text| text.len() == 16 && is_lower_hex(text)),
    (OTP_SECRET, |text| text.len() == 32 && is_base32(text)),
    (OTP_URI, |text| {
        text.starts_with("otpauth://totp/") && text.ends_with("issuer=platypush@test-node")
    }),
    (QR_CODE, |text| {
        text.starts_with("data:image/png;base64,iVBORw0KGgo")
    }),
    (API_TOKEN, |text| {
        let random = text.split_once(':').map(|(_, random)| random);
        random.is_some_and(|random| random.len() == 32 && !random.contains(':'))
    }),
    (API_TOKEN_NAME, |text| {
        text.len() == "alice__".len() + 8 && text.starts_with("alice__")
    }),
    (BACKUP_CODE, |text| text.len() == 16 && is_base32(text)),
];

/// Compares a value with a template.
///
/// # Errors
/// A message that shows both if they differ.
pub fn compare(actual: &Value, template: &Value) -> Result<(), String> {
    let mut masked = actual.clone();
    mask(&mut masked, template);
    // Compares text, because objects are equal regardless of the order of their keys.
    let (actual, template) = (masked.to_string(), template.to_string());
    if actual == template {
        Ok(())
    } else {
        Err(format!("expected {template}\n     got {actual}"))
    }
}

#[track_caller]
pub fn assert_shape(actual: &Value, template: &Value) {
    if let Err(difference) = compare(actual, template) {
        panic!("{difference}");
    }
}

/// Replaces each text that matches its placeholder in the template by that placeholder.
fn mask(actual: &mut Value, template: &Value) {
    match (actual, template) {
        (Value::String(text), Value::String(expected)) => {
            let mut known = PLACEHOLDERS.iter();
            if known.any(|(placeholder, matches)| expected == placeholder && matches(text)) {
                text.clone_from(expected);
            }
        }
        (Value::Object(members), Value::Object(expected)) => {
            for (key, member) in members {
                if let Some(expected) = expected.get(key) {
                    mask(member, expected);
                }
            }
        }
        (Value::Array(items), Value::Array(expected)) => {
            for (item, expected) in items.iter_mut().zip(expected) {
                mask(item, expected);
            }
        }
        _ => {}
    }
}

/// Returns whether a text is a time like `2026-11-24T02:09:52.538344`.
pub fn is_time(text: &str) -> bool {
    let digits_as_zero: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    digits_as_zero == "0000-00-00T00:00:00.000000"
}

/// Returns whether a text is 256 bits in lower-case hexadecimal.
fn is_token(text: &str) -> bool {
    text.len() == 64 && is_lower_hex(text)
}

fn is_base32(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7'))
}

pub fn is_lower_hex(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[test]
fn a_template_is_matched_exactly() {
    use serde_json::json;

    let template = json!({"at": TIME, "key": TOKEN, "list": [1, TIME]});
    let time = "2026-11-24T02:09:52.538344";
    let token = "0f".repeat(32);
    let good = json!({"at": time, "key": token, "list": [1, time]});
    assert_eq!(compare(&good, &template), Ok(()));
    for bad in [
        json!({"key": token, "at": time, "list": [1, time]}),
        json!({"at": time, "key": token, "list": [1, time], "more": 1}),
        json!({"at": time, "key": token, "list": [1]}),
        json!({"at": time, "key": token, "list": [1.0, time]}),
        json!({"at": "2026-11-24T02:09:52", "key": token, "list": [1, time]}),
        json!({"at": "2026-11-24T02:09:52.538344+00:00", "key": token, "list": [1, time]}),
        json!({"at": time, "key": token.to_uppercase(), "list": [1, time]}),
        json!({"at": time, "key": token[1..], "list": [1, time]}),
        json!({"at": null, "key": token, "list": [1, time]}),
    ] {
        assert!(compare(&bad, &template).is_err(), "{bad}");
    }
}
