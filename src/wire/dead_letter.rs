//! Dead letters: records of messages that were not run. They hold enough to find the sender, but no
//! argument values, which may be passwords.

use serde::Serialize;

use super::json;
use crate::clock::{Iso, Timestamp};
use crate::value::Value;

/// Reason of a message longer than the limit.
pub const TOO_LONG: &str = "the message is longer than max_message_size";

/// Reason of a reply that Redis rejected.
const UNDELIVERABLE: &str = "the reply could not be delivered: its list is of another type, or not ours to write, or the reply too long for Redis";

/// Reason of a poison request.
pub const POISON: &str = "the daemon ended each time it ran this request: it is not run any more";

/// Maximum length of a text copied from a message, in characters.
const MAX_TEXT_CHARS: usize = 128;
/// Maximum number of argument names copied from a message.
const MAX_NAMES: usize = 32;

/// A record of a message that was not run, without argument values.
#[derive(Debug, Clone, Serialize)]
pub struct DeadLetter {
    /// Why the message was not run.
    pub reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
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
    /// Returns the dead letter of a message that could not be decoded.
    pub(super) const fn unreadable(reason: String, length: usize) -> Self {
        Self {
            reason,
            time: None,
            length,
            r#type: None,
            action: None,
            id: None,
            origin: None,
            args: None,
        }
    }

    /// Returns the dead letter of a decoded message.
    pub(super) fn of(reason: &str, length: usize, message: &Value<'_>) -> Self {
        let text = |key| message.get(key).and_then(short_text);
        Self {
            r#type: text("type"),
            action: text("action").or_else(|| text("name")),
            id: text("id"),
            origin: text("origin"),
            args: message.get("args").and_then(names),
            ..Self::unreadable(reason.to_owned(), length)
        }
    }

    /// Returns the dead letter of a poison request, one that ended the process each time it ran.
    /// `message` is `None` if decoding itself may crash.
    #[must_use]
    pub fn poison(length: usize, message: Option<&Value<'_>>) -> Self {
        match message {
            Some(message) => Self::of(POISON, length, message),
            None => Self::unreadable(POISON.to_owned(), length),
        }
    }

    /// Returns the dead letter of a reply that Redis rejected.
    #[must_use]
    pub fn undeliverable(id: &str) -> Self {
        Self {
            id: Some(shorten(id)),
            ..Self::unreadable(UNDELIVERABLE.to_owned(), 0)
        }
    }

    /// Encodes the entry for the dead-letter list.
    ///
    /// # Errors
    /// Never in practice: a dead letter holds only text and numbers.
    pub fn encode(mut self, now: Timestamp) -> serde_json::Result<Vec<u8>> {
        self.time = Some(iso(now));
        json::encode(&self)
    }
}

/// Returns the start of the entry for a message that is too long to fetch. Its length and a closing
/// brace follow.
#[must_use]
pub fn too_long_prefix(now: Timestamp) -> String {
    format!(
        "{{\"reason\": \"{TOO_LONG}\", \"time\": \"{}\", \"length\": ",
        iso(now)
    )
}

/// Returns the start of the entry for a reply that Redis rejected. Its id in JSON and a closing
/// brace follow.
#[must_use]
pub fn undeliverable_prefix(now: Timestamp) -> String {
    format!(
        "{{\"reason\": \"{UNDELIVERABLE}\", \"time\": \"{}\", \"length\": 0, \"id\": ",
        iso(now)
    )
}

fn iso(now: Timestamp) -> String {
    Iso(now).to_string()
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
    Some(
        entries
            .iter()
            .filter_map(|(name, _)| short_text(name))
            .take(MAX_NAMES)
            .collect(),
    )
}
