//! Encodes requests as clients do: as JSON, or as the Python literal that a Platypush procedure
//! sends.

use serde_json::{Value, json};

use crate::random::Random;

/// Returns the bytes of a request: a Python literal in 30 % of all cases, JSON otherwise.
pub fn encode(id: &str, action: &str, args: Value, random: &mut Random) -> Vec<u8> {
    let message = json!({
        "type": "request", "action": format!("user.{action}"), "id": id, "args": args, "origin": id,
    });
    if random.chance(30) {
        python(&message).into_bytes()
    } else {
        message.to_string().into_bytes()
    }
}

/// Formats a value as Python's `str` does.
fn python(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => {
            format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(python).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(entries) => {
            let entries: Vec<_> = entries
                .iter()
                .map(|(key, value)| format!("'{key}': {}", python(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}
