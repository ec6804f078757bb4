//! Comparing JSON with a template: exactly, the order of keys included,
//! except for what no test can know.

use serde_json::Value;

/// Stands in a template for a time as the contract writes it.
pub const TIME: &str = "<time>";
/// Stands in a template for a session token.
pub const TOKEN: &str = "<token>";
/// Stands in a template for what names a session.
pub const SESSION_ID: &str = "<session id>";
/// Stands in a template for the secret of an authenticator.
pub const OTP_SECRET: &str = "<secret>";
/// Stands in a template for its URI…
pub const OTP_URI: &str = "<uri>";
/// …and for the picture of that.
pub const QR_CODE: &str = "<picture>";
/// Stands in a template for a backup code.
pub const BACKUP_CODE: &str = "<backup code>";

/// Stands in a template for an API token…
pub const API_TOKEN: &str = "<API token>";
/// …and for the name that one gets when nobody gives it one.
pub const API_TOKEN_NAME: &str = "<API token name>";

/// Whether a text may stand in the place of a placeholder.
type Fits = fn(&str) -> bool;

const PLACEHOLDERS: &[(&str, Fits)] = &[
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

/// The differences as a message, or `Ok`.
pub fn compare(actual: &Value, template: &Value) -> Result<(), String> {
    let mut masked = actual.clone();
    mask(&mut masked, template);
    // As text: two objects are equal whatever the order of their keys.
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

fn mask(actual: &mut Value, template: &Value) {
    match (actual, template) {
        (Value::String(text), Value::String(wanted)) => {
            let mut known = PLACEHOLDERS.iter();
            if known.any(|(placeholder, fits)| wanted == placeholder && fits(text)) {
                text.clone_from(wanted);
            }
        }
        (Value::Object(members), Value::Object(wanted)) => {
            for (key, member) in members {
                if let Some(wanted) = wanted.get(key) {
                    mask(member, wanted);
                }
            }
        }
        (Value::Array(items), Value::Array(wanted)) => {
            for (item, wanted) in items.iter_mut().zip(wanted) {
                mask(item, wanted);
            }
        }
        _ => {}
    }
}

/// `2026-11-24T02:09:52.538344`
pub fn is_time(text: &str) -> bool {
    let digits_as_zero: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    digits_as_zero == "0000-00-00T00:00:00.000000"
}

/// 256 bits in lower-case hexadecimal.
fn is_token(text: &str) -> bool {
    text.len() == 64 && is_lower_hex(text)
}

fn is_base32(text: &str) -> bool {
    let of_base32 = |b| matches!(b, b'A'..=b'Z' | b'2'..=b'7');
    text.bytes().all(of_base32)
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
