//! JSON encoding in the style of Python's `json.dumps`, with a space after each comma and colon, as
//! Platypush itself sends it.
//!
//! The encoder applies [`text::neutralize`] to each text, keys included, so that no reply or event
//! can omit it. Only the id and target of a reply are written without this encoder.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};

use crate::text;

/// Encodes a value.
///
/// # Errors
/// When JSON cannot represent the value.
pub(crate) fn encode(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(512);
    append(&mut bytes, value)?;
    Ok(bytes)
}

/// Encodes a value and appends it to `bytes`.
///
/// # Errors
/// When JSON cannot represent the value.
pub(super) fn append(bytes: &mut Vec<u8>, value: &impl Serialize) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(
        bytes,
        PythonStyle::default(),
    ))
}

/// A formatter that neutralizes texts. The serializer passes a text in fragments without
/// backslashes, so `${` is always inside one fragment, while an escape such as `\u0024` is a
/// backslash and the start of the next fragment.
#[derive(Default)]
struct PythonStyle {
    is_after_backslash: bool,
}

impl Formatter for PythonStyle {
    fn begin_string<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.is_after_backslash = false;
        out.write_all(b"\"")
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if std::mem::take(&mut self.is_after_backslash) && text::begins_as_escape(fragment) {
            out.write_all(b" ")?;
        }
        out.write_all(text::neutralize(fragment).as_bytes())
    }

    fn write_char_escape<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        self.is_after_backslash = matches!(escape, CharEscape::ReverseSolidus);
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
