//! Decoding of requests.

use std::borrow::Cow;

use super::RequestId;
use super::dead_letter::{DeadLetter, POISON, TOO_LONG};
use super::literal;
use crate::value::Value;

/// Limits of a message, from the configuration.
#[derive(Debug, Clone)]
pub struct MessageLimits {
    /// Maximum bytes of a message.
    pub max_message_size: usize,
    /// Maximum bytes of an id.
    pub max_id_length: usize,
}

/// A decoded request whose fields are not checked yet.
pub struct Request<'m> {
    /// The fields that the reply needs.
    pub envelope: Envelope,
    /// The action, such as `user.get_users`, if the request names one.
    pub action: Option<Cow<'m, str>>,
    /// The arguments, of any type.
    pub args: Value<'m>,
    /// The device that the request is for, or `None` for any device.
    pub target: Option<Value<'m>>,
    /// The sender's token. It must never be logged.
    pub token: Option<Value<'m>>,
    /// Time of sending.
    pub sent: Sent,
}

/// The time of sending, as a request claims it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sent {
    /// The request has no timestamp.
    Unspecified,
    /// Seconds since the epoch; may be infinite.
    At(f64),
    /// The timestamp is not a number. Holds its type, for the error.
    Invalid(&'static str),
}

/// The fields of a request that its reply needs.
#[derive(Debug, Clone, Default)]
pub struct Envelope {
    /// The id, which names the reply list and is echoed; `None` if the request has no usable one.
    pub id: Option<RequestId>,
    /// The sender, which becomes the reply's target; `None` if it is not text, or longer than
    /// `max_id_length`.
    pub origin: Option<String>,
}

impl Envelope {
    /// Returns the bytes of all texts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let id = self.id.as_ref().map_or(0, |id| id.name().len());
        id + self.origin.as_ref().map_or(0, String::len)
    }
}

/// A message that is not run.
pub struct RejectedMessage {
    /// The entry for the dead-letter list.
    pub dead_letter: DeadLetter,
    /// The recipient of an error reply, if the id of the request could be read.
    pub reply_to: Option<Envelope>,
}

/// Decodes a message as a request.
///
/// # Errors
/// When the message is not a request, is too long, or has a [`Flaw`](literal::Flaw).
pub fn decode<'m>(
    message: &'m [u8],
    limits: &MessageLimits,
) -> Result<Request<'m>, Box<RejectedMessage>> {
    let length = message.len();
    let reject = |reason: &str, value: Option<&Value<'_>>, reply_to| {
        Box::new(RejectedMessage {
            dead_letter: DeadLetter::new(reason, length, value),
            reply_to,
        })
    };
    if length > limits.max_message_size {
        return Err(reject(TOO_LONG, None, None));
    }
    let decoded = literal::decode(message);
    let decoded = decoded.map_err(|error| reject(&error.to_string(), None, None))?;
    let value = decoded.value;
    if !matches!(value, Value::Dict(_)) {
        let reason = format!("the message is not an object but {}", value.type_name());
        return Err(reject(&reason, None, None));
    }
    match value.get("type") {
        Some(Value::Text(kind)) if kind == "request" => {}
        None | Some(Value::Null) if value.get("action").or(value.get("name")).is_some() => {}
        None | Some(Value::Null) => {
            return Err(reject("neither a type nor an action", Some(&value), None));
        }
        Some(_) => return Err(reject("the type is not \"request\"", Some(&value), None)),
    }
    let envelope = envelope(&value, limits);
    if let Some(flaw) = decoded.flaw {
        // No client reads the list of an id in which a lone surrogate was replaced.
        let usable = |id: &RequestId| !id.name().contains(char::REPLACEMENT_CHARACTER);
        let reply_to = envelope.id.as_ref().is_some_and(usable).then_some(envelope);
        return Err(reject(&flaw.to_string(), Some(&value), reply_to));
    }
    Ok(read_fields(value, envelope))
}

/// Returns the rejection of a poison request, without running it.
#[must_use]
pub fn quarantine(message: &[u8], limits: &MessageLimits) -> RejectedMessage {
    let decoded = literal::decode(message).ok();
    let value = decoded.map(|decoded| decoded.value);
    RejectedMessage {
        reply_to: value.as_ref().map(|value| envelope(value, limits)),
        dead_letter: DeadLetter::new(POISON, message.len(), value.as_ref()),
    }
}

/// Returns the rejection of a poison request of `length` bytes, without decoding it: decoding
/// itself may crash.
#[must_use]
pub fn quarantine_undecoded(length: usize) -> RejectedMessage {
    RejectedMessage {
        reply_to: None,
        dead_letter: DeadLetter::new(POISON, length, None),
    }
}

fn envelope(value: &Value<'_>, limits: &MessageLimits) -> Envelope {
    Envelope {
        id: RequestId::from_value(value.get("id"), limits.max_id_length),
        origin: value
            .get("origin")
            .and_then(Value::as_text)
            .filter(|origin| origin.len() <= limits.max_id_length)
            .map(str::to_owned),
    }
}

fn read_fields(value: Value<'_>, envelope: Envelope) -> Request<'_> {
    let mut request = Request {
        envelope,
        action: None,
        args: Value::Null,
        target: None,
        token: None,
        sent: Sent::Unspecified,
    };
    let mut name = None;
    let Value::Dict(entries) = value else {
        return request;
    };
    for (key, value) in entries {
        match key.as_text() {
            Some("action") => request.action = text(value),
            Some("name") => name = text(value),
            Some("args") => request.args = value,
            Some("target") => request.target = Some(value).filter(is_given),
            Some("token") => request.token = Some(value).filter(is_given),
            Some("_timestamp") => request.sent = sent(&value),
            _ => {}
        }
    }
    request.action = request.action.or(name);
    request
}

fn text(value: Value<'_>) -> Option<Cow<'_, str>> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

fn is_given(value: &Value<'_>) -> bool {
    !matches!(value, Value::Null)
}

fn sent(value: &Value<'_>) -> Sent {
    match value {
        Value::Null => Sent::Unspecified,
        Value::Float(seconds) if !seconds.is_nan() => Sent::At(*seconds),
        Value::Int(digits) => digits.parse().map_or(Sent::Invalid("integer"), Sent::At),
        Value::Float(_) => Sent::Invalid("NaN"),
        other => Sent::Invalid(other.type_name()),
    }
}
