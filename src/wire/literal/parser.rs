//! The parser's cursor, and the parsing of containers.

use super::{Decoded, Dialect, Flaw, KEPT_KEYS, MAX_DEPTH, MAX_VALUES, Unreadable};
use crate::value::Value;

pub(super) type Read<T> = Result<T, Unreadable>;

/// A parser of one message in one dialect.
///
/// Outside of [`Parser::skip_container`], `at` is always a character boundary: it moves over ASCII
/// bytes, or over runs that end before one.
pub(super) struct Parser<'a> {
    text: &'a str,
    pub(super) at: usize,
    pub(super) dialect: Dialect,
    depth: usize,
    /// The maximum depth so far.
    deepest: usize,
    /// The number of values so far.
    count: usize,
    pub(super) lone_surrogate: bool,
}

impl<'a> Parser<'a> {
    pub(super) const fn new(text: &'a str, dialect: Dialect) -> Self {
        Self {
            text,
            at: 0,
            dialect,
            depth: 0,
            deepest: 0,
            count: 0,
            lone_surrogate: false,
        }
    }

    /// Parses the whole message: one value and nothing after it.
    pub(super) fn message(mut self) -> Read<Decoded<'a>> {
        self.skip_whitespace();
        let value = self.value()?;
        self.skip_whitespace();
        match self.peek() {
            None => Ok(Decoded {
                value,
                flaw: self.flaw(),
            }),
            Some(_) => Err(self.fail("the message goes on after its value")),
        }
    }

    const fn flaw(&self) -> Option<Flaw> {
        if self.lone_surrogate {
            Some(Flaw::LoneSurrogate)
        } else if self.deepest > MAX_DEPTH {
            Some(Flaw::TooDeep {
                depth: self.deepest,
            })
        } else if self.count > MAX_VALUES {
            Some(Flaw::TooManyValues { count: self.count })
        } else {
            None
        }
    }

    /// Returns whether the next value is kept. Values beyond the limit are only parsed and counted,
    /// which bounds the memory of the parser.
    const fn keeps_next(&self) -> bool {
        self.count < MAX_VALUES
    }

    fn value(&mut self) -> Read<Value<'a>> {
        self.count += 1;
        self.value_or_key()
    }

    fn value_or_key(&mut self) -> Read<Value<'a>> {
        let python = self.dialect == Dialect::Python;
        match self.peek() {
            Some(b'{') => self.container(Self::dict),
            Some(b'[') => self.container(Self::list),
            Some(b'(') if python => self.container(Self::tuple),
            Some(quote) if self.is_quote(quote) => self.quoted(quote).map(Value::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'+' | b'.') if python => self.number(),
            Some(byte) if byte.is_ascii_alphabetic() => self.named(),
            _ => Err(self.fail(NO_VALUE)),
        }
    }

    /// Parses a value that is written as a word.
    fn named(&mut self) -> Read<Value<'a>> {
        let start = self.at;
        let python = self.dialect == Dialect::Python;
        match self.word() {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            "null" => Ok(Value::Null),
            "NaN" => Ok(Value::Float(f64::NAN)),
            "Infinity" => Ok(Value::Float(f64::INFINITY)),
            "True" if python => Ok(Value::Bool(true)),
            "False" if python => Ok(Value::Bool(false)),
            "None" if python => Ok(Value::Null),
            "nan" if python => Ok(Value::Float(f64::NAN)),
            "inf" if python => Ok(Value::Float(f64::INFINITY)),
            "datetime.date" if python => self.date(),
            "datetime.datetime" if python => self.datetime(),
            _ => Err(fail_at(start, NO_VALUE)),
        }
    }

    /// Parses the container that begins here, or skips it if it is too deep.
    fn container(&mut self, read: fn(&mut Self) -> Read<Value<'a>>) -> Read<Value<'a>> {
        if self.depth == MAX_DEPTH {
            self.skip_container()?;
            return Ok(Value::Null);
        }
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn list(&mut self) -> Read<Value<'a>> {
        let mut values = Vec::new();
        self.items(b']', |parser| parser.item(&mut values))?;
        Ok(Value::List(values))
    }

    fn tuple(&mut self) -> Read<Value<'a>> {
        let mut values = Vec::new();
        let mut length = 0;
        let comma = self.items(b')', |parser| {
            length += 1;
            if length == 1 {
                // Always kept: without a comma it is not an item but a value in parentheses, and
                // the parentheses were counted in its place.
                values.push(parser.value()?);
                return Ok(());
            }
            parser.item(&mut values)
        })?;
        // The comma makes the tuple: `(1)` is the value 1 in parentheses.
        if length == 1
            && !comma
            && let Some(value) = values.pop()
        {
            self.count -= 1;
            return Ok(value);
        }
        Ok(Value::List(values))
    }

    /// Parses an item of a list or tuple.
    fn item(&mut self, values: &mut Vec<Value<'a>>) -> Read<()> {
        let is_kept = self.keeps_next();
        let value = self.value()?;
        if is_kept {
            values.push(value);
        }
        Ok(())
    }

    fn dict(&mut self) -> Read<Value<'a>> {
        // The outermost dict is the request itself.
        let is_envelope = self.depth == 1;
        let mut entries = Vec::with_capacity(if is_envelope { ENVELOPE_KEYS } else { 0 });
        self.items(b'}', |parser| {
            let key = match (parser.dialect, parser.peek()) {
                (Dialect::Python, _) | (_, Some(b'"')) => parser.value_or_key()?,
                _ => return Err(parser.fail("a key in double quotes is missing")),
            };
            parser.skip_whitespace();
            parser.expect(b':', "a colon is missing")?;
            parser.skip_whitespace();
            let is_kept = parser.keeps_next();
            let value = parser.value()?;
            if is_kept {
                entries.push((key, value));
            } else if is_envelope {
                keep_if_needed(&mut entries, key, value);
            }
            Ok(())
        })?;
        Ok(Value::Dict(entries))
    }

    /// Parses from the bracket here to `close`; `item` parses each item between the commas. Returns
    /// whether there was a trailing comma.
    pub(super) fn items(
        &mut self,
        close: u8,
        mut item: impl FnMut(&mut Self) -> Read<()>,
    ) -> Read<bool> {
        self.at += 1;
        self.skip_whitespace();
        if self.eat(close) {
            return Ok(false);
        }
        loop {
            item(self)?;
            self.skip_whitespace();
            if self.eat(close) {
                return Ok(false);
            }
            self.expect(b',', "a comma or a closing bracket is missing")?;
            self.skip_whitespace();
            if self.dialect == Dialect::Python && self.eat(close) {
                return Ok(true);
            }
        }
    }

    /// Skips the container that begins here, which is nested too deep. It does not recurse, so no
    /// depth can exhaust the stack.
    fn skip_container(&mut self) -> Read<()> {
        let mut closing = Vec::new();
        while let Some(byte) = self.peek() {
            match byte {
                b'{' => closing.push(b'}'),
                b'[' => closing.push(b']'),
                b'(' => closing.push(b')'),
                b'}' | b']' | b')' => {
                    if closing.pop() != Some(byte) {
                        return Err(self.fail("the wrong bracket closes"));
                    }
                    if closing.is_empty() {
                        self.at += 1;
                        return Ok(());
                    }
                }
                _ if self.is_quote(byte) => {
                    self.quoted(byte)?;
                    continue;
                }
                _ => {}
            }
            self.deepest = self.deepest.max(self.depth + closing.len());
            self.at += 1;
        }
        Err(self.fail("a closing bracket is missing"))
    }

    const fn is_quote(&self, byte: u8) -> bool {
        byte == b'"' || (byte == b'\'' && matches!(self.dialect, Dialect::Python))
    }

    /// Consumes a word. Dots belong to it, as in `datetime.date`.
    pub(super) fn word(&mut self) -> &'a str {
        self.take_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.')
    }

    pub(super) fn skip_whitespace(&mut self) {
        let python = self.dialect == Dialect::Python;
        self.take_while(|byte| {
            matches!(byte, b' ' | b'\t' | b'\n' | b'\r') || (python && byte == b'\x0c')
        });
    }

    /// Consumes the bytes up to the first byte that is not `wanted`. To end at a character
    /// boundary, either the consumed bytes or that first byte must be ASCII.
    pub(super) fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a str {
        let rest = &self.text[self.at..];
        let length = rest.bytes().position(|byte| !wanted(byte));
        let taken = &rest[..length.unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    /// Returns the text consumed since the cursor was at `start`.
    pub(super) fn since(&self, start: usize) -> &'a str {
        &self.text[start..self.at]
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, byte: u8, problem: &'static str) -> Read<()> {
        if self.eat(byte) {
            Ok(())
        } else {
            Err(self.fail(problem))
        }
    }

    pub(super) const fn fail(&self, problem: &'static str) -> Unreadable {
        fail_at(self.at, problem)
    }
}

/// Keeps an entry beyond the limit of values if the reply or the dead letter needs its key.
///
/// Such entries replace each other, so at most one for each of the [`KEPT_KEYS`] is at the end.
fn keep_if_needed<'a>(entries: &mut Vec<(Value<'a>, Value<'a>)>, key: Value<'a>, value: Value<'a>) {
    if !key.as_text().is_some_and(|key| KEPT_KEYS.contains(&key)) {
        return;
    }
    let last = entries.len().saturating_sub(KEPT_KEYS.len());
    match entries[last..].iter_mut().rfind(|(other, _)| *other == key) {
        Some((_, earlier)) => *earlier = value,
        None => entries.push((key, value)),
    }
}

pub(super) const fn fail_at(at: usize, problem: &'static str) -> Unreadable {
    Unreadable::Syntax { problem, at }
}

/// Initial capacity for the keys of a request. Platypush sends fewer.
const ENVELOPE_KEYS: usize = 12;

const NO_VALUE: &str = "a value is missing";
