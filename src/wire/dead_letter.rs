//! Dead letters: records of messages that were not run. They hold enough to find the sender, but no
//! argument values, which may be passwords.

use serde::Serialize;

use super::json;
use crate::clock::{Iso, Timestamp, optional_iso};
use crate::value::Value;

/// Reason of a message longer than the limit.
pub(super) const TOO_LONG: &str = "the message is longer than max_message_size";

/// Reason of a reply that Redis rejected.
const UNDELIVERABLE: &str = "the reply could not be delivered: its list is of another type, or not ours to write, or the reply too long for Redis";

/// Reason of a poison request, one that ended the process each time it ran.
pub(super) const POISON: &str =
    "the daemon ended each time it ran this request: it is not run any more";

/// Maximum length of a text copied from a message, in characters.
const MAX_TEXT_CHARS: usize = 128;
/// Maximum number of argument names copied from a message.
const MAX_NAMES: usize = 32;

/// A record of a message that was not run, without argument values.
#[derive(Debug, Clone, Serialize)]
pub struct DeadLetter {
    /// Why the message was not run.
    pub reason: String,
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "optional_iso"
    )]
    time: Option<Timestamp>,
    length: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Vec<String>>,
}

impl DeadLetter {
    /// Returns the dead letter of a message of `length` bytes, with the fields of the decoded
    /// message, if it could be decoded.
    pub(super) fn new(reason: &str, length: usize, message: Option<&Value<'_>>) -> Self {
        let field = |key| message.and_then(|message| message.get(key));
        let text = |key| field(key).and_then(short_text);
        Self {
            reason: reason.to_owned(),
            time: None,
            length,
            r#type: text("type"),
            action: text("action").or_else(|| text("name")),
            id: text("id"),
            origin: text("origin"),
            args: field("args").and_then(names),
        }
    }

    /// Returns the dead letter of a reply that Redis rejected.
    #[must_use]
    pub fn undeliverable(id: &str) -> Self {
        Self {
            id: Some(shorten(id)),
            ..Self::new(UNDELIVERABLE, 0, None)
        }
    }

    /// Encodes the entry for the dead-letter list.
    ///
    /// # Errors
    /// Never in practice: a dead letter holds only text and numbers.
    pub fn encode(mut self, now: Timestamp) -> serde_json::Result<Vec<u8>> {
        self.time = Some(now);
        json::encode(&self)
    }
}

/// Returns the start of the entry for a message that is too long to fetch. Its length and a closing
/// brace follow.
#[must_use]
pub fn too_long_prefix(now: Timestamp) -> String {
    format!(
        "{{\"reason\": \"{TOO_LONG}\", \"time\": \"{}\", \"length\": ",
        Iso(now)
    )
}

/// Returns the start of the entry for a reply that Redis rejected. Its id in JSON and a closing
/// brace follow.
#[must_use]
pub fn undeliverable_prefix(now: Timestamp) -> String {
    format!(
        "{{\"reason\": \"{UNDELIVERABLE}\", \"time\": \"{}\", \"length\": 0, \"id\": ",
        Iso(now)
    )
}

fn short_text(value: &Value<'_>) -> Option<String> {
    match value {
        Value::Text(text) | Value::Int(text) => Some(shorten(text)),
        _ => None,
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(MAX_TEXT_CHARS).collect()
}

fn names(args: &Value<'_>) -> Option<Vec<String>> {
    let Value::Dict(entries) = args else {
        return None;
    };
    let names = entries.iter().filter_map(|(name, _)| short_text(name));
    Some(names.take(MAX_NAMES).collect())
}
