//! Text that clients and foreign databases chose: what may leave the daemon, what may become a
//! name, and how a terminal shows it.
//!
//! Platypush (1.3.39) evaluates `${…}` in every text of the context of a hook or procedure as
//! Python, and reads a text that is JSON as what it says, more than once where procedures are
//! nested (`Request.expand_value_from_context`, called by `_update_context` for each text). So
//! neither `${` nor a JSON escape, which may become it, goes to a node.

use std::borrow::Cow;
use std::fmt;

/// Returns the text with a space inside each `${` and behind the backslash of each `\uXXXX`, so
/// that Platypush neither evaluates it nor decodes it into what it evaluates.
///
/// A space only ever separates: none of the two can form anew, whatever stands beside it. Without
/// `\uXXXX` in a text, no level of JSON decoding makes a dollar sign, a brace or another escape.
#[must_use]
pub fn neutralize(text: &str) -> Cow<'_, str> {
    // Each text of each reply comes by here: hardly any goes on.
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

/// Where the first `${` or `\uXXXX` begins.
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

/// Whether a text makes a JSON escape of the backslash before it: `uXXXX`.
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

/// Why a text cannot become the name of a user or API token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// It contains `${`.
    Evaluated,
    /// It contains `\uXXXX`.
    Decoded,
    /// It contains a control or invisible character.
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
                "{}, a control or invisible character",
                CodePoint(*character)
            ),
        }
    }
}

/// Checks that a text can become the name of a user or API token.
///
/// # Errors
/// With the first reason why it cannot.
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

/// Whether a name shows nothing at all: white space, and what only changes other characters.
#[must_use]
pub fn is_blank(name: &str) -> bool {
    name.chars().all(|character| {
        character.is_whitespace()
            || matches!(character, '\u{34f}' | '\u{180b}'..='\u{180f}' | '\u{200c}' | '\u{200d}'
                | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
    })
}

/// Returns the name that a foreign one gets here: [`neutralize`]d, with `[U+202E]` in place of each
/// invisible character. A name that [`check_name`] accepts stays as it is.
#[must_use]
pub fn usable_name(name: &str) -> Cow<'_, str> {
    if check_name(name).is_ok() {
        return Cow::Borrowed(name);
    }
    let mut visible = String::with_capacity(name.len());
    for character in name.chars() {
        if is_invisible(character) {
            visible.push_str(&format!("[{}]", CodePoint(character)));
        } else {
            visible.push(character);
        }
    }
    Cow::Owned(neutralize(&visible).into_owned())
}

/// Whether the `origin` of a request may stand in an event: ASCII letters, digits and `. _ - : @ /`.
#[must_use]
pub fn is_plain_origin(origin: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:@/".contains(&byte);
    origin.bytes().all(is_plain)
}

/// Returns the text as a terminal may show it: control and invisible characters as `\n` or
/// `\u{202e}`, so that none of them moves the cursor or hides what stands there.
#[must_use]
pub fn printable(text: &str) -> String {
    escape(text, is_invisible)
}

/// Returns the text as it may stand in a table: [`printable`], and white space at the start or after
/// white space as `\u{20}`. Else a line could be made to break where a new row seems to begin.
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

/// Returns JSON with the control and invisible characters in its texts as `\uXXXX`. (Those below
/// U+0020 are escaped in any JSON; where they are not, they are white space between values.)
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

struct CodePoint(char);

impl fmt::Display for CodePoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "U+{:04X}", u32::from(self.0))
    }
}

/// Whether a character is a control character or shows nothing, and is no white space: Unicode's
/// general categories Cc, Cf, Zl and Zp, noncharacters, and what else has the property
/// Default_Ignorable_Code_Point or an empty glyph. U+200C, U+200D, U+034F and the variation selectors
/// are not counted: languages and emoji need them.
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

/// The ranges of them beyond ASCII in Unicode 16.0, but for the noncharacters at the end of each
/// plane.
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
