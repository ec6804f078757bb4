//! Parser of messages: JSON as Python's `json.loads` accepts it (`NaN`, integers of any length), or
//! else a Python literal.
//!
//! Python literals are common, because Platypush's `redis.send_message` pushes `str(dict)`: each
//! message that a procedure sends is one. One parser reads both languages, and `python3` is the
//! oracle of its tests.
//!
//! A message that must not run (see [`Flaw`]) is decoded nevertheless, so that its sender gets an
//! error reply. The parser itself bounds depth and number of values: a check of the decoded message
//! would come after its memory was allocated.

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

/// Maximum nesting depth of containers: the request, its arguments, and some levels for a list or
/// object that a client passes as an argument by mistake. No argument is a container.
pub const MAX_DEPTH: usize = 8;

/// Maximum number of values in a message, counting each container and each item.
///
/// A request has about twenty. A value takes 32 bytes of memory and as few as two bytes of the
/// message, so without this limit a message of 1 MiB would take 40 MiB.
pub const MAX_VALUES: usize = 1_000;

/// Keys of the outermost object that are kept beyond [`MAX_VALUES`] too, because the reply and the
/// dead letter need them.
const KEPT_KEYS: [&str; 5] = ["type", "action", "name", "id", "origin"];

/// A decoded message.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded<'m> {
    /// The value of the message, without the parts that exceed a limit.
    pub value: Value<'m>,
    /// Why the message must be refused: the first reason in the order of [`Flaw`].
    pub flaw: Option<Flaw>,
}

/// Why a decoded message must be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Text with a lone surrogate, which U+FFFD replaces.
    #[error("The message has text that is not valid Unicode (a lone surrogate)")]
    LoneSurrogate,
    /// A container deeper than [`MAX_DEPTH`], which null replaces.
    #[error("The message is nested {depth} levels deep, at most {MAX_DEPTH} are allowed")]
    TooDeep {
        /// Depth of the deepest container.
        depth: usize,
    },
    /// More values than [`MAX_VALUES`]. The excess values are dropped.
    #[error("The message has {count} values, at most {MAX_VALUES} are allowed")]
    TooManyValues {
        /// Values in the message, without values nested too deep.
        count: usize,
    },
}

/// Why a message could not be decoded.
///
/// The type cannot hold any text of the message, which may be a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The bytes are not UTF-8.
    #[error("The message is not UTF-8: bad byte at {at}")]
    NotUtf8 {
        /// The offset of the first bad byte.
        at: usize,
    },
    /// The text is neither JSON nor a Python literal.
    #[error("The message is neither JSON nor a Python literal: {problem} at byte {at}")]
    Syntax {
        /// The syntax error.
        problem: &'static str,
        /// The offset of the byte where the error was found.
        at: usize,
    },
}

impl Unreadable {
    /// Returns the byte offset up to which the message is valid.
    #[must_use]
    pub const fn at(&self) -> usize {
        match self {
            Self::NotUtf8 { at } | Self::Syntax { at, .. } => *at,
        }
    }
}

/// The language of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Json,
    Python,
}

/// Decodes one message, in time linear in its length.
///
/// # Errors
///
/// When the message is neither JSON nor a Python literal. The error is that of the language in
/// which the parser got further.
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
