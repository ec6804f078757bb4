//! JSON in the form of Python's `json.dumps`: a space after each comma and
//! colon. It is what Platypush itself sends, and what a person reads best.
//!
//! This is the edge where text leaves for nodes: every text, keys included, is written as
//! [`text::neutralize`] has it, so that no reply or event can forget to. Only a reply's id and
//! target are written elsewhere.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};

use crate::text;

/// The bytes of a value.
///
/// # Errors
/// When the value cannot stand in JSON.
pub(crate) fn encode(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(512);
    append(&mut bytes, value)?;
    Ok(bytes)
}

/// Appends the bytes of a value.
///
/// # Errors
/// When the value cannot stand in JSON.
pub(super) fn append(bytes: &mut Vec<u8>, value: &impl Serialize) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(
        bytes,
        PythonStyle::default(),
    ))
}

/// The serializer hands texts over in fragments without backslashes: `${` stands within one, an
/// escape such as `\u0024` begins with one behind a backslash.
#[derive(Default)]
struct PythonStyle {
    is_behind_backslash: bool,
}

impl Formatter for PythonStyle {
    fn begin_string<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.is_behind_backslash = false;
        out.write_all(b"\"")
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if std::mem::take(&mut self.is_behind_backslash) && text::begins_as_escape(fragment) {
            out.write_all(b" ")?;
        }
        out.write_all(text::neutralize(fragment).as_bytes())
    }

    fn write_char_escape<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        self.is_behind_backslash = matches!(escape, CharEscape::ReverseSolidus);
        CompactFormatter.write_char_escape(out, escape)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        separate(out, first)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        separate(out, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}

fn separate<W: ?Sized + Write>(out: &mut W, first: bool) -> io::Result<()> {
    if first { Ok(()) } else { out.write_all(b", ") }
}
