//! Text in quotes.

use std::borrow::Cow;

use super::Dialect;
use super::parser::{Parser, Read};

impl<'a> Parser<'a> {
    /// The text between the `quote` here and the next.
    pub(super) fn quoted(&mut self, quote: u8) -> Read<Cow<'a, str>> {
        self.at += 1;
        let run = self.run_of_text(quote);
        // Most text is one run, which need not be copied.
        if self.eat(quote) {
            return Ok(run.into());
        }
        self.quoted_from(quote, run.to_owned()).map(Cow::Owned)
    }

    /// Text up to what ends it, or has to be looked at.
    fn run_of_text(&mut self, quote: u8) -> &'a str {
        self.take_while(|byte| byte != quote && byte != b'\\' && !is_control(byte))
    }

    /// The rest of a text up to its quote, behind what is known of it.
    fn quoted_from(&mut self, quote: u8, mut text: String) -> Read<String> {
        loop {
            text += self.run_of_text(quote);
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
                    // Python's source may have any but those that end a line.
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

    /// What stands behind a backslash in JSON.
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

    /// The digits of a `\u` of JSON, together with the `\u` behind it where
    /// the two are a surrogate pair.
    fn utf16(&mut self) -> Read<u32> {
        let high = self.hex(4)?;
        if !(0xD800..0xDC00).contains(&high) {
            return Ok(high);
        }
        let behind = self.at;
        if self.eat(b'\\') && self.eat(b'u') {
            let low = self.hex(4)?;
            if (0xDC00..0xE000).contains(&low) {
                return Ok(0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00));
            }
        }
        self.at = behind;
        Ok(high)
    }

    /// What stands behind a backslash in Python.
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
            // The end of a line within text is none.
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
            // Python keeps the backslash of an escape that is none.
            _ => {
                text.push('\\');
                return Ok(());
            }
        };
        self.at += 1;
        text.push(character);
        Ok(())
    }

    /// One to three octal digits.
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

    /// Exactly so many hexadecimal digits, eight at most.
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
