//! Handling of untrusted text from clients and foreign databases: text for nodes, names, and text
//! for terminals.
//!
//! Platypush (1.3.39) evaluates `${…}` as Python in each text of the context of a hook or
//! procedure, and decodes a text that is JSON, repeatedly if procedures are nested
//! (`Request.expand_value_from_context`, called by `_update_context` for each text). So the daemon
//! sends nodes neither `${` nor a JSON escape, which may decode to it.
//!
//! The encoder of `wire/json.rs` neutralizes every text that goes to nodes. Names are compared and
//! stored as they are; a new name that would be sent in another form is refused. An API token is
//! sent too. If its user's name must not be sent unchanged, the token carries the neutral form, and
//! the store finds the user by that (`User::token_names`).

use std::borrow::Cow;
use std::fmt;

/// Returns the text with a space inside each `${` and after the backslash of each `\uXXXX`, so that
/// Platypush neither evaluates it nor decodes it to text that it evaluates.
///
/// A space only separates characters, so it cannot form another `${` or `\uXXXX`. Without `\uXXXX`
/// in a text, no level of JSON decoding makes a dollar sign, a brace or another escape.
#[must_use]
pub fn neutralize(text: &str) -> Cow<'_, str> {
    // Fast path: each text of each reply passes here, and few have such a character.
    if !text.bytes().any(|byte| matches!(byte, b'$' | b'\\')) {
        return Cow::Borrowed(text);
    }
    let mut rest = text;
    let mut safe = String::new();
    while let Some(at) = unsafe_pair(rest) {
        let (before, after) = rest.split_at(at + 1);
        safe.push_str(before);
        safe.push(' ');
        rest = after;
    }
    if safe.is_empty() {
        return Cow::Borrowed(text);
    }
    safe.push_str(rest);
    Cow::Owned(safe)
}

/// Returns the offset of the first `${` or `\uXXXX`.
fn unsafe_pair(text: &str) -> Option<usize> {
    let is_unsafe = |(at, _): &(usize, &str)| {
        let rest = &text[at + 1..];
        if text.as_bytes()[*at] == b'$' {
            rest.starts_with('{')
        } else {
            begins_as_escape(rest)
        }
    };
    text.match_indices(['$', '\\'])
        .find(is_unsafe)
        .map(|(at, _)| at)
}

/// Returns whether a text begins with `uXXXX`, which is a JSON escape after a backslash.
#[must_use]
pub fn begins_as_escape(text: &str) -> bool {
    match text.as_bytes() {
        [b'u', digits @ ..] => {
            let digits = digits.get(..4);
            digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        }
        _ => false,
    }
}

/// Why a text is not allowed as the name of a user or API token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// The text contains `${`.
    Evaluated,
    /// The text contains `\uXXXX`.
    Decoded,
    /// The text contains a control or invisible character.
    Invisible(char),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Evaluated => f.write_str(
                "U+0024 before U+007B (a dollar sign and a brace), which Platypush would evaluate",
            ),
            Self::Decoded => {
                f.write_str("U+005C before uXXXX (an escape of JSON), which Platypush would decode")
            }
            Self::Invisible(character) => write!(
                f,
                "U+{:04X}, a control or invisible character",
                u32::from(*character)
            ),
        }
    }
}

/// Checks that a text is allowed as the name of a user or API token.
///
/// # Errors
/// When it is not. The error is the first reason found.
pub fn check_name(name: &str) -> Result<(), Unusable> {
    if let Some(character) = name.chars().find(|character| is_invisible(*character)) {
        return Err(Unusable::Invisible(character));
    }
    match unsafe_pair(name) {
        Some(at) if name[at..].starts_with('$') => Err(Unusable::Evaluated),
        Some(_) => Err(Unusable::Decoded),
        None => Ok(()),
    }
}

/// Returns whether a name has only white space and characters that modify other ones, such as
/// variation selectors.
#[must_use]
pub fn is_blank(name: &str) -> bool {
    name.chars().all(|character| {
        character.is_whitespace()
            || matches!(character, '\u{34f}' | '\u{180b}'..='\u{180f}' | '\u{200c}' | '\u{200d}'
                | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
    })
}

/// Returns the name for an imported user or token: [`neutralize`]d, with text such as `[U+202E]` in
/// place of each invisible character. A name that [`check_name`] accepts is not changed.
#[must_use]
pub fn usable_name(name: &str) -> Cow<'_, str> {
    if check_name(name).is_ok() {
        return Cow::Borrowed(name);
    }
    let mut visible = String::with_capacity(name.len());
    for character in name.chars() {
        if is_invisible(character) {
            visible.push_str(&format!("[U+{:04X}]", u32::from(character)));
        } else {
            visible.push(character);
        }
    }
    Cow::Owned(neutralize(&visible).into_owned())
}

/// Returns whether the `origin` of a request is allowed in an event: it may have ASCII letters,
/// digits and `. _ - : @ /`.
#[must_use]
pub fn is_plain_origin(origin: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:@/".contains(&byte);
    origin.bytes().all(is_plain)
}

/// Returns text that is safe for a terminal: control and invisible characters are escaped as `\n`
/// or `\u{202e}`, so that none of them moves the cursor or hides text.
#[must_use]
pub fn printable(text: &str) -> String {
    escape(text, is_invisible)
}

/// Returns text that is safe for a cell of a table on a terminal: [`printable`], with white space
/// at the start or after white space escaped as `\u{20}`. Otherwise an attacker could pad a text so
/// that the terminal breaks the line where a forged row begins.
#[must_use]
pub fn printable_cell(text: &str) -> String {
    let mut last = ' ';
    escape(text, |character| {
        let before = std::mem::replace(&mut last, character);
        is_invisible(character) || before.is_whitespace() && character.is_whitespace()
    })
}

fn escape(text: &str, mut is_escaped: impl FnMut(char) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if !is_escaped(character) {
            escaped.push(character);
        } else if character.is_control() {
            escaped.extend(character.escape_debug());
        } else {
            escaped.extend(character.escape_unicode());
        }
    }
    escaped
}

/// Returns JSON with the control and invisible characters in its texts escaped as `\uXXXX`.
/// Characters below U+0020 are kept: in valid JSON they occur only as white space between values.
#[must_use]
pub fn printable_json(json: &str) -> String {
    let mut printable = String::with_capacity(json.len());
    for character in json.chars() {
        if is_invisible(character) && character >= ' ' {
            for unit in character.encode_utf16(&mut [0; 2]) {
                printable.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            printable.push(character);
        }
    }
    printable
}

/// Returns whether a character is a control or invisible character. Spaces are neither.
///
/// These are Unicode's general categories Cc, Cf, Zl and Zp, noncharacters, and other characters
/// with the property Default_Ignorable_Code_Point or an empty glyph. U+200C, U+200D, U+034F and the
/// variation selectors are excluded, because languages and emoji need them.
fn is_invisible(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_control();
    }
    let is_before = |&(_, last): &(char, char)| last < character;
    let range = INVISIBLE.get(INVISIBLE.partition_point(is_before));
    range.is_some_and(|(first, _)| *first <= character)
        && !matches!(character, '\u{200c}' | '\u{200d}')
        || u32::from(character) & 0xfffe == 0xfffe
}

/// Ranges of invisible characters beyond ASCII in Unicode 16.0, without the noncharacters at the
/// end of each plane.
#[rustfmt::skip]
const INVISIBLE: &[(char, char)] = &[
    ('\u{80}', '\u{9f}'), ('\u{ad}', '\u{ad}'), ('\u{600}', '\u{605}'), ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'), ('\u{70f}', '\u{70f}'), ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'), ('\u{115f}', '\u{1160}'), ('\u{17b4}', '\u{17b5}'),
    ('\u{180e}', '\u{180e}'), ('\u{200b}', '\u{200f}'), ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'), ('\u{2800}', '\u{2800}'), ('\u{3164}', '\u{3164}'),
    ('\u{fdd0}', '\u{fdef}'), ('\u{feff}', '\u{feff}'), ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'), ('\u{110bd}', '\u{110bd}'), ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'), ('\u{13441}', '\u{13442}'), ('\u{16fe4}', '\u{16fe4}'), ('\u{1bca0}', '\u{1bca3}'), ('\u{1d159}', '\u{1d159}'), ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e00ff}'), ('\u{e01f0}', '\u{e0fff}'),
];

#[cfg(test)]
mod tests;
