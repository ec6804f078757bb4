//! Parsing of `datetime.date(…)` and `datetime.datetime(…)`, as Python's `repr` writes them.

use chrono::{FixedOffset, NaiveDate, NaiveDateTime};

use super::parser::{Parser, Read, fail_at};
use crate::value::Value;

impl<'a> Parser<'a> {
    /// Parses the arguments of `datetime.date`.
    pub(super) fn date(&mut self) -> Read<Value<'a>> {
        let start = self.at;
        let mut fields = Vec::new();
        self.arguments(|parser, keyword| match keyword {
            None => {
                fields.push(parser.small_integer()?);
                Ok(())
            }
            Some(_) => Err(parser.fail(BAD_ARGUMENT)),
        })?;
        let date = match *fields {
            [year, month, day] => naive_date(year, month, day),
            _ => None,
        };
        date.map(Value::Date)
            .ok_or_else(|| fail_at(start, "there is no such date"))
    }

    /// Parses the arguments of `datetime.datetime`.
    pub(super) fn datetime(&mut self) -> Read<Value<'a>> {
        let start = self.at;
        let mut fields = Vec::new();
        let mut offset = None;
        self.arguments(|parser, keyword| {
            match keyword {
                None => fields.push(parser.small_integer()?),
                Some("tzinfo") => offset = Some(parser.timezone()?),
                // `fold` selects one of two equal local times when a clock is set back. Neither UTC
                // nor a time with an offset is ambiguous.
                Some("fold") => {
                    parser.small_integer()?;
                }
                Some(_) => return Err(parser.fail(BAD_ARGUMENT)),
            }
            Ok(())
        })?;
        naive_datetime(&fields)
            .map(|time| Value::DateTime(time, offset))
            .ok_or_else(|| fail_at(start, "there is no such time"))
    }

    /// Parses `datetime.timezone.utc` or `datetime.timezone(datetime.timedelta(…))`.
    fn timezone(&mut self) -> Read<FixedOffset> {
        let start = self.at;
        let offset = match self.word() {
            "datetime.timezone.utc" => FixedOffset::east_opt(0),
            "datetime.timezone" => {
                self.skip_whitespace();
                self.expect(b'(', BAD_ARGUMENT)?;
                self.skip_whitespace();
                if self.word() != "datetime.timedelta" {
                    return Err(fail_at(start, BAD_ARGUMENT));
                }
                let offset = self.timedelta()?;
                self.skip_whitespace();
                self.expect(b')', BAD_ARGUMENT)?;
                offset
            }
            _ => None,
        };
        offset.ok_or_else(|| fail_at(start, "there is no such time zone"))
    }

    /// Parses the arguments of `datetime.timedelta`. Returns `None` for a day or more, or a
    /// fraction of a second.
    fn timedelta(&mut self) -> Read<Option<FixedOffset>> {
        let mut fields = [0; 3];
        let mut positions = 0..fields.len();
        self.arguments(|parser, keyword| {
            let position = match keyword {
                None => positions.next(),
                Some("days") => Some(0),
                Some("seconds") => Some(1),
                Some("microseconds") => Some(2),
                Some(_) => None,
            };
            let Some(field) = position.and_then(|position| fields.get_mut(position)) else {
                return Err(parser.fail(BAD_ARGUMENT));
            };
            *field = parser.small_integer()?;
            Ok(())
        })?;
        let [days, seconds, micros] = fields.map(i64::from);
        if micros % 1_000_000 != 0 {
            return Ok(None);
        }
        let seconds = days * 86_400 + seconds + micros / 1_000_000;
        Ok(i32::try_from(seconds).ok().and_then(FixedOffset::east_opt))
    }

    /// Parses the arguments of a call; `argument` parses each value after its keyword, if any.
    fn arguments(
        &mut self,
        mut argument: impl FnMut(&mut Self, Option<&'a str>) -> Read<()>,
    ) -> Read<()> {
        self.skip_whitespace();
        if self.peek() != Some(b'(') {
            return Err(self.fail("an opening parenthesis is missing"));
        }
        let mut keywords_only = false;
        self.items(b')', |parser| {
            let keyword = parser.keyword()?;
            if keyword.is_none() && keywords_only {
                return Err(parser.fail(BAD_ARGUMENT));
            }
            keywords_only = keyword.is_some();
            argument(parser, keyword)
        })?;
        Ok(())
    }

    /// Consumes `name =` if a name begins here, and returns the name.
    fn keyword(&mut self) -> Read<Option<&'a str>> {
        let name = match self.peek() {
            Some(byte) if byte.is_ascii_alphabetic() => self.word(),
            _ => return Ok(None),
        };
        self.skip_whitespace();
        self.expect(b'=', "an equals sign is missing")?;
        self.skip_whitespace();
        Ok(Some(name))
    }

    /// Parses an `i32`: a sum of a few in `i64` cannot overflow.
    fn small_integer(&mut self) -> Read<i32> {
        let start = self.at;
        match self.number()? {
            Value::Int(digits) => digits.parse().ok(),
            _ => None,
        }
        .ok_or_else(|| fail_at(start, BAD_ARGUMENT))
    }
}

fn naive_date(year: i32, month: i32, day: i32) -> Option<NaiveDate> {
    // chrono supports more years than Python.
    if !(1..=9999).contains(&year) {
        return None;
    }
    NaiveDate::from_ymd_opt(year, month.try_into().ok()?, day.try_into().ok()?)
}

/// Returns the time for three to seven fields, from the year to the microsecond.
fn naive_datetime(fields: &[i32]) -> Option<NaiveDateTime> {
    let (&[year, month, day], clock) = fields.split_first_chunk()?;
    let mut parts = [0_u32; 4];
    for (part, &field) in parts.get_mut(..clock.len())?.iter_mut().zip(clock) {
        *part = field.try_into().ok()?;
    }
    let [hour, minute, second, micro] = parts;
    // chrono accepts more microseconds for a leap second.
    if micro >= 1_000_000 {
        return None;
    }
    naive_date(year, month, day)?.and_hms_micro_opt(hour, minute, second, micro)
}

const BAD_ARGUMENT: &str = "an argument is not supported";
