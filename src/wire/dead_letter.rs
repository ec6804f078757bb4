//! What is kept of a message that could not be run: enough to find its
//! sender, and nothing of its values, which may be passwords.

use serde::Serialize;

use super::json;
use crate::clock::{Iso, Timestamp};
use crate::value::Value;

/// Reason for a message longer than the limit.
pub const OVER_LONG: &str = "the message is longer than max_message_size";

/// Reason for a reply that Redis did not take.
const UNDELIVERABLE: &str = "the reply could not be delivered: its list is of another type, or not ours to write, or the reply too long for Redis";

/// Reason for a message that is not run any more.
pub const DEADLY: &str = "the daemon ended each time it ran this request: it is not run any more";

/// Longest text that is taken over from a message, in characters.
const LONGEST_TEXT: usize = 128;
/// Most argument names that are taken over.
const MOST_NAMES: usize = 32;

/// A message that was not run, without its values.
#[derive(Debug, Clone, Serialize)]
pub struct DeadLetter {
    /// Why.
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
    /// Of a message that could not be decoded.
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

    /// Of a decoded message.
    pub(super) fn of(reason: &str, length: usize, message: &Value<'_>) -> Self {
        let text = |key| message.get(key).and_then(shown);
        Self {
            r#type: text("type"),
            action: text("action").or_else(|| text("name")),
            id: text("id"),
            origin: text("origin"),
            args: message.get("args").and_then(names),
            ..Self::unreadable(reason.to_owned(), length)
        }
    }

    /// Of a message that ended the process each time it ran. `message` is
    /// `None` where even reading it may have been what did it.
    #[must_use]
    pub fn deadly(length: usize, message: Option<&Value<'_>>) -> Self {
        match message {
            Some(message) => Self::of(DEADLY, length, message),
            None => Self::unreadable(DEADLY.to_owned(), length),
        }
    }

    /// Of a reply that Redis did not take.
    #[must_use]
    pub fn undeliverable(id: &str) -> Self {
        Self {
            id: Some(shorten(id)),
            ..Self::unreadable(UNDELIVERABLE.to_owned(), 0)
        }
    }

    /// The entry for the dead-letter list.
    ///
    /// # Errors
    /// Never in practice; kept in the type because encoding is fallible.
    pub fn encode(mut self, now: Timestamp) -> serde_json::Result<Vec<u8>> {
        self.time = Some(iso(now));
        json::encode(&self)
    }
}

/// The entry for a message that was too long to be fetched, up to its length:
/// what follows is the number and a closing brace.
#[must_use]
pub fn over_long_prefix(now: Timestamp) -> String {
    format!(
        "{{\"reason\": \"{OVER_LONG}\", \"time\": \"{}\", \"length\": ",
        iso(now)
    )
}

/// The entry for a reply that Redis refused, up to its id: what follows is the
/// id in JSON and a closing brace.
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

fn shown(value: &Value<'_>) -> Option<String> {
    match value {
        Value::Text(text) | Value::Int(text) => Some(shorten(text)),
        _ => None,
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(LONGEST_TEXT).collect()
}

fn names(args: &Value<'_>) -> Option<Vec<String>> {
    let Value::Dict(entries) = args else {
        return None;
    };
    Some(
        entries
            .iter()
            .filter_map(|(name, _)| shown(name))
            .take(MOST_NAMES)
            .collect(),
    )
}
