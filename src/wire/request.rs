//! Reading requests.

use std::borrow::Cow;

use super::RequestId;
use super::dead_letter::DeadLetter;
use super::literal;
use crate::value::Value;

/// Bounds of a message, from the configuration.
#[derive(Debug, Clone)]
pub struct MessageLimits {
    /// Bytes of a message.
    pub max_message_size: usize,
    /// Bytes of an id.
    pub max_id_length: usize,
}

/// A request as it came, its parts not judged yet.
pub struct Request<'m> {
    /// What the reply needs.
    pub envelope: Envelope,
    /// `user.<action>`, if it names one.
    pub action: Option<Cow<'m, str>>,
    /// The arguments, whatever they are.
    pub args: Value<'m>,
    /// For whom the request is; `None` is for anybody.
    pub target: Option<Value<'m>>,
    /// The sender's token; never printed.
    pub token: Option<Value<'m>>,
    /// When it was sent.
    pub sent: Sent,
}

/// When a request says it was sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sent {
    /// It does not say.
    Unsaid,
    /// Seconds since the epoch; may be infinite.
    At(f64),
    /// No number; what there is instead.
    Unreadable(&'static str),
}

/// What a reply needs of its request.
#[derive(Debug, Clone, Default)]
pub struct Envelope {
    /// Names the reply list and is echoed; `None` where the request brings
    /// none that can be used.
    pub id: Option<RequestId>,
    /// Who sent the request: the reply's target. None where it is no text, or
    /// longer than an id may be.
    pub origin: Option<String>,
}

impl Envelope {
    /// Bytes of its texts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let id = self.id.as_ref().map_or(0, |id| id.name().len());
        id + self.origin.as_ref().map_or(0, String::len)
    }
}

/// A message that is not run.
pub struct Refused {
    /// What goes to the dead-letter list.
    pub dead_letter: DeadLetter,
    /// Where an error reply is due: to a request whose id could be read.
    pub reply_to: Option<Envelope>,
}

/// Reads a message as a request.
///
/// # Errors
/// [`Refused`] when it is none, or one that cannot be read whole.
pub fn decode<'m>(message: &'m [u8], limits: &MessageLimits) -> Result<Request<'m>, Box<Refused>> {
    let length = message.len();
    let refuse = |reason: String| {
        Box::new(Refused {
            dead_letter: DeadLetter::unreadable(reason, length),
            reply_to: None,
        })
    };
    if length > limits.max_message_size {
        return Err(refuse(super::dead_letter::OVER_LONG.into()));
    }
    let decoded = literal::decode(message).map_err(|error| refuse(error.to_string()))?;
    let value = decoded.value;
    if !matches!(value, Value::Dict(_)) {
        return Err(refuse(format!(
            "the message is not an object but {}",
            value.type_name()
        )));
    }
    let refuse = |reason: &str, reply_to| {
        Box::new(Refused {
            dead_letter: DeadLetter::of(reason, length, &value),
            reply_to,
        })
    };
    match value.get("type") {
        Some(Value::Text(kind)) if kind == "request" => {}
        None | Some(Value::Null) if value.get("action").or(value.get("name")).is_some() => {}
        None | Some(Value::Null) => {
            return Err(refuse("neither a type nor an action", None));
        }
        Some(_) => return Err(refuse("the type is not \"request\"", None)),
    }
    let envelope = envelope(&value, limits);
    if let Some(flaw) = decoded.flaw {
        // An id that was itself spoiled names a list that nobody reads.
        let usable = |id: &RequestId| !id.name().contains(char::REPLACEMENT_CHARACTER);
        let reply_to = envelope.id.as_ref().is_some_and(usable).then_some(envelope);
        return Err(refuse(&flaw.to_string(), reply_to));
    }
    Ok(read_parts(value, envelope))
}

/// The dead letter of a message that must not be run any more, and where an
/// error reply is due.
#[must_use]
pub fn quarantine(message: &[u8], limits: &MessageLimits) -> Refused {
    let decoded = literal::decode(message).ok();
    let value = decoded.map(|decoded| decoded.value);
    Refused {
        reply_to: value.as_ref().map(|value| envelope(value, limits)),
        dead_letter: DeadLetter::deadly(message.len(), value.as_ref()),
    }
}

/// The same of a message of that length, without reading it: that may be what is
/// wrong with it.
#[must_use]
pub fn quarantine_unread(length: usize) -> Refused {
    Refused {
        reply_to: None,
        dead_letter: DeadLetter::deadly(length, None),
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

fn read_parts(value: Value<'_>, envelope: Envelope) -> Request<'_> {
    let mut request = Request {
        envelope,
        action: None,
        args: Value::Null,
        target: None,
        token: None,
        sent: Sent::Unsaid,
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
        Value::Null => Sent::Unsaid,
        Value::Float(seconds) if !seconds.is_nan() => Sent::At(*seconds),
        Value::Int(digits) => digits.parse().map_or(Sent::Unreadable("integer"), Sent::At),
        Value::Float(_) => Sent::Unreadable("NaN"),
        other => Sent::Unreadable(other.type_name()),
    }
}
