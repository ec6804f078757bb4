//! Parsing of quoted text.

use std::borrow::Cow;

use super::Dialect;
use super::parser::{Parser, Read};

impl<'a> Parser<'a> {
    /// Parses the text from the opening `quote` here to the closing one.
    pub(super) fn quoted(&mut self, quote: u8) -> Read<Cow<'a, str>> {
        self.at += 1;
        let run = self.plain_run(quote);
        // Most texts are one run, which is borrowed.
        if self.eat(quote) {
            return Ok(run.into());
        }
        self.quoted_from(quote, run.to_owned()).map(Cow::Owned)
    }

    /// Consumes text up to the next quote, backslash or control character.
    fn plain_run(&mut self, quote: u8) -> &'a str {
        self.take_while(|byte| byte != quote && byte != b'\\' && !is_control(byte))
    }

    /// Parses the rest of a text up to its closing quote, and appends it to `text`.
    fn quoted_from(&mut self, quote: u8, mut text: String) -> Read<String> {
        loop {
            text += self.plain_run(quote);
            match self.peek() {
                None => return Err(self.fail("a closing quote is missing")),
                Some(b'\\') => {
                    self.at += 1;
                    match self.dialect {
                        Dialect::Json => self.json_escape(&mut text)?,
                        Dialect::Python => self.python_escape(&mut text)?,
                    }
                }
                Some(control) if is_control(control) => {
                    // A Python literal may contain any control character but a line end or NUL.
                    if self.dialect == Dialect::Json || matches!(control, b'\n' | b'\r' | b'\0') {
                        return Err(self.fail("text has a control character"));
                    }
                    self.at += 1;
                    text.push(char::from(control));
                }
                Some(_) => {
                    self.at += 1;
                    return Ok(text);
                }
            }
        }
    }

    /// Parses a JSON escape after its backslash.
    fn json_escape(&mut self, text: &mut String) -> Read<()> {
        let character = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\x08',
            Some(b'f') => '\x0c',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                let code = self.utf16()?;
                return self.push_code(text, code);
            }
            _ => return Err(self.fail("text has an unknown escape")),
        };
        self.at += 1;
        text.push(character);
        Ok(())
    }

    /// Parses the digits of a JSON `\u`, and the `\u` after it if both form a surrogate pair.
    fn utf16(&mut self) -> Read<u32> {
        let high = self.hex(4)?;
        if !(0xD800..0xDC00).contains(&high) {
            return Ok(high);
        }
        let after_high = self.at;
        if self.eat(b'\\') && self.eat(b'u') {
            let low = self.hex(4)?;
            if (0xDC00..0xE000).contains(&low) {
                return Ok(0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00));
            }
        }
        self.at = after_high;
        Ok(high)
    }

    /// Parses a Python escape after its backslash.
    fn python_escape(&mut self, text: &mut String) -> Read<()> {
        let character = match self.peek() {
            Some(byte @ (b'\\' | b'\'' | b'"')) => char::from(byte),
            Some(b'a') => '\x07',
            Some(b'b') => '\x08',
            Some(b'f') => '\x0c',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'v') => '\x0b',
            // A backslash before a line end continues the text on the next line.
            Some(b'\n') => {
                self.at += 1;
                return Ok(());
            }
            Some(b'\r') => {
                self.at += 1;
                self.eat(b'\n');
                return Ok(());
            }
            Some(b'0'..=b'7') => {
                let code = self.octal();
                return self.push_code(text, code);
            }
            Some(kind @ (b'x' | b'u' | b'U')) => {
                self.at += 1;
                let code = self.hex(match kind {
                    b'x' => 2,
                    b'u' => 4,
                    _ => 8,
                })?;
                return self.push_code(text, code);
            }
            Some(b'N') => return Err(self.fail("characters by name are not supported")),
            // Python keeps the backslash of an unknown escape.
            _ => {
                text.push('\\');
                return Ok(());
            }
        };
        self.at += 1;
        text.push(character);
        Ok(())
    }

    /// Parses one to three octal digits.
    fn octal(&mut self) -> u32 {
        let mut code = 0;
        for _ in 0..3 {
            let Some(digit @ b'0'..=b'7') = self.peek() else {
                break;
            };
            self.at += 1;
            code = code * 8 + u32::from(digit - b'0');
        }
        code
    }

    /// Parses exactly `digits` hexadecimal digits, at most eight.
    fn hex(&mut self, digits: usize) -> Read<u32> {
        let mut code = 0;
        for _ in 0..digits {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.fail("a hexadecimal digit is missing"));
            };
            self.at += 1;
            code = (code << 4) | digit;
        }
        Ok(code)
    }

    fn push_code(&mut self, text: &mut String, code: u32) -> Read<()> {
        match char::from_u32(code) {
            Some(character) => text.push(character),
            None if code > u32::from(char::MAX) => {
                return Err(self.fail("text has a character beyond Unicode"));
            }
            None => {
                self.lone_surrogate = true;
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        Ok(())
    }
}

const fn is_control(byte: u8) -> bool {
    byte < b' '
}
