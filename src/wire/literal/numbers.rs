//! Parsing of numbers.

use super::Dialect;
use super::parser::{Parser, Read};
use crate::value::Value;

impl<'a> Parser<'a> {
    /// Parses a number with its sign.
    pub(super) fn number(&mut self) -> Read<Value<'a>> {
        let negative = self.sign();
        if self.peek().is_some_and(|byte| byte.is_ascii_alphabetic()) {
            return self.named_number(negative);
        }
        let start = self.at;
        let whole = self.digits();
        let has_point = self.eat(b'.');
        let fraction = if has_point { self.digits() } else { "" };
        let well_formed = match self.dialect {
            Dialect::Json => is_json_integer(whole) && has_point != fraction.is_empty(),
            Dialect::Python => !(whole.is_empty() && fraction.is_empty()),
        };
        if !well_formed {
            return Err(self.fail(NO_NUMBER));
        }
        let has_exponent = self.exponent()?;
        if !has_point && !has_exponent {
            return self.integer(negative, whole);
        }
        let magnitude = self.since(start).parse();
        magnitude
            .map(|magnitude| float(negative, magnitude))
            .map_err(|_| self.fail(NO_NUMBER))
    }

    /// Consumes a sign, if there is one. Returns whether it is a minus.
    fn sign(&mut self) -> bool {
        let negative = self.eat(b'-');
        if self.dialect == Dialect::Python && (negative || self.eat(b'+')) {
            // In Python a sign is an operator, which white space may follow.
            self.skip_whitespace();
        }
        negative
    }

    /// Parses an infinity or NaN after its sign.
    fn named_number(&mut self, negative: bool) -> Read<Value<'a>> {
        let missing = self.fail(NO_NUMBER);
        let python = self.dialect == Dialect::Python;
        match self.word() {
            "Infinity" => Ok(float(negative, f64::INFINITY)),
            "inf" if python => Ok(float(negative, f64::INFINITY)),
            "NaN" | "nan" if python => Ok(float(negative, f64::NAN)),
            _ => Err(missing),
        }
    }

    fn integer(&self, negative: bool, whole: &'a str) -> Read<Value<'a>> {
        let digits = whole.trim_start_matches('0');
        if digits.is_empty() {
            return Ok(Value::Int("0".into()));
        }
        if digits.len() < whole.len() {
            // Octal in Python 2, and invalid in Python 3.
            return Err(self.fail("a number has leading zeros"));
        }
        Ok(Value::Int(if negative {
            ["-", digits].concat().into()
        } else {
            digits.into()
        }))
    }

    /// Consumes an exponent, if there is one. Returns whether there was one.
    fn exponent(&mut self) -> Read<bool> {
        if !self.eat(b'e') && !self.eat(b'E') {
            return Ok(false);
        }
        if !self.eat(b'-') {
            self.eat(b'+');
        }
        if self.digits().is_empty() {
            return Err(self.fail(NO_NUMBER));
        }
        Ok(true)
    }

    fn digits(&mut self) -> &'a str {
        self.take_while(|byte| byte.is_ascii_digit())
    }
}

fn is_json_integer(digits: &str) -> bool {
    digits == "0" || !(digits.is_empty() || digits.starts_with('0'))
}

const fn float(negative: bool, magnitude: f64) -> Value<'static> {
    Value::Float(if negative { -magnitude } else { magnitude })
}

const NO_NUMBER: &str = "a digit is missing";
