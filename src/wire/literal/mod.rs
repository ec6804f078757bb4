//! Reads a message: JSON as Python's `json.loads` has it, or else a Python
//! literal.
//!
//! The second is no curiosity: Platypush's `redis.send_message` pushes
//! `str(dict)`, so whatever a procedure puts on the queue is a Python literal.
//!
//! A message that can be read but must not be run (see [`Flaw`]) is decoded
//! all the same, so that its sender can be found and told.

mod datetime;
mod numbers;
mod parser;
#[cfg(test)]
mod properties;
mod strings;
#[cfg(test)]
mod tests;

use crate::value::Value;
use parser::Parser;

/// Maximum number of containers inside each other: the request, its arguments,
/// and some levels of a list or object that stands in an argument by mistake.
/// Arguments themselves need none.
pub const MAX_DEPTH: usize = 8;

/// Maximum number of values in a message, each container and each item of one.
/// A request has some twenty. A value takes 32 bytes of memory and may take two
/// in the message, so without this limit a message of 1 MiB would take 40 MiB.
pub const MAX_VALUES: usize = 1_000;

/// Keys of the outermost object that are kept behind the limit of values too:
/// the reply and the dead letter need them.
const KEPT_KEYS: [&str; 5] = ["type", "action", "name", "id", "origin"];

/// A message that could be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded<'m> {
    /// What it says, as far as it could be kept.
    pub value: Value<'m>,
    /// Why it must be refused nevertheless: one reason, where there are more.
    pub flaw: Option<Flaw>,
}

/// Why a message that can be read must be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Text with half a surrogate pair; U+FFFD stands in its place.
    #[error("The message has text that is not valid Unicode (a lone surrogate)")]
    LoneSurrogate,
    /// A container deeper than [`MAX_DEPTH`]; null stands in its place.
    #[error("The message is nested {depth} levels deep, at most {MAX_DEPTH} are allowed")]
    TooDeep {
        /// Levels of the deepest container.
        depth: usize,
    },
    /// More values than [`MAX_VALUES`]; those behind the limit are left out.
    #[error("The message has {count} values, at most {MAX_VALUES} are allowed")]
    TooManyValues {
        /// Values in the message, without those that are nested too deep.
        count: usize,
    },
}

/// Why a message could not be read.
///
/// By its type it cannot hold anything of the message, which may be a
/// password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The bytes are no text.
    #[error("The message is not UTF-8: bad byte at {at}")]
    NotUtf8 {
        /// The offset of the first bad byte.
        at: usize,
    },
    /// The text is no message.
    #[error("The message is neither JSON nor a Python literal: {problem} at byte {at}")]
    Syntax {
        /// What is wrong.
        problem: &'static str,
        /// The offset of the byte where it shows.
        at: usize,
    },
}

impl Unreadable {
    /// The byte offset up to which the message was in order.
    #[must_use]
    pub const fn at(&self) -> usize {
        match self {
            Self::NotUtf8 { at } | Self::Syntax { at, .. } => *at,
        }
    }
}

/// The two languages of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Json,
    Python,
}

/// Reads one message, in time linear in its length.
///
/// # Errors
///
/// [`Unreadable`] where it is neither JSON nor a Python literal; it tells of
/// the language in which more of the message made sense.
pub fn decode(bytes: &[u8]) -> Result<Decoded<'_>, Unreadable> {
    let text = str::from_utf8(bytes).map_err(|error| Unreadable::NotUtf8 {
        at: error.valid_up_to(),
    })?;
    Parser::new(text, Dialect::Json).message().or_else(|json| {
        Parser::new(text, Dialect::Python)
            .message()
            .map_err(|python| {
                if json.at() > python.at() {
                    json
                } else {
                    python
                }
            })
    })
}
