//! Parsing of times in arguments: seconds since the epoch or ISO 8601, in UTC unless there is an
//! offset.

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Timelike as _, Utc};

use crate::clock::{Timestamp, is_in_iso_years};
use crate::error::{Error, echo};
use crate::value::Value;

/// Returns the time that a value represents.
pub(super) fn from_value(name: &str, value: Value<'_>) -> Result<Timestamp, Error> {
    Ok(match value {
        Value::Text(text) => parse_iso(&text).ok_or_else(|| invalid_iso(&text))?,
        Value::Int(digits) => digits
            .parse()
            .ok()
            .and_then(from_seconds)
            .ok_or_else(|| out_of_range(name))?,
        Value::Float(seconds) => from_seconds(seconds).ok_or_else(|| out_of_range(name))?,
        Value::Date(date) => {
            utc(date.and_time(NaiveTime::MIN), None).ok_or_else(|| out_of_range(name))?
        }
        Value::DateTime(local, offset) => utc(local, offset).ok_or_else(|| out_of_range(name))?,
        other => {
            return Err(Error::Arguments(format!(
                "'{name}' must be a number of seconds since the epoch or an ISO 8601 text, not {}",
                other.type_name()
            )));
        }
    })
}

fn out_of_range(name: &str) -> Error {
    Error::Arguments(format!(
        "'{name}' must be a finite number of seconds since the epoch between the years 1 and 9999"
    ))
}

/// Returns an error with the text of Python's `datetime.fromisoformat`.
fn invalid_iso(text: &str) -> Error {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut quoted = String::new();
    for c in echo(text).chars() {
        match c {
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c == quote => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.extend(c.escape_default()),
            c => quoted.push(c),
        }
    }
    Error::Arguments(format!("Invalid isoformat string: {quote}{quoted}{quote}"))
}

/// Returns `time` if its year has at most four digits, which a reply can represent.
fn in_range(time: DateTime<Utc>) -> Option<Timestamp> {
    Some(time).filter(|time| is_in_iso_years(*time))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a float that is out of range saturates and is then out of the years' range too"
)]
fn from_seconds(seconds: f64) -> Option<Timestamp> {
    if !seconds.is_finite() {
        return None;
    }
    in_range(DateTime::from_timestamp_micros(
        (seconds * 1e6).round() as i64
    )?)
}

fn utc(local: NaiveDateTime, offset: Option<FixedOffset>) -> Option<Timestamp> {
    let utc = match offset {
        Some(offset) => local.checked_sub_offset(offset)?,
        None => local,
    };
    in_range(utc.and_utc())
}

/// Parses ISO 8601 as Python's `fromisoformat` does, except for week dates: a date, or a date,
/// separator, time and offset, in basic or extended form.
fn parse_iso(text: &str) -> Option<Timestamp> {
    let date_end = text.find(['T', 't', ' ']).unwrap_or(text.len());
    let (date, rest) = text.split_at(date_end);
    let date = parse_date(date)?;
    let Some(time) = rest.get(1..) else {
        return utc(date.and_time(NaiveTime::MIN), None);
    };
    let (time, offset) = match time.find(['Z', 'z', '+', '-']) {
        Some(at) => (&time[..at], Some(parse_offset(&time[at..])?)),
        None => (time, None),
    };
    utc(date.and_time(parse_time(time)?), offset)
}

fn parse_date(text: &str) -> Option<NaiveDate> {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (year, month, day) = match *text.split('-').collect::<Vec<_>>() {
        [compact] if compact.len() == 8 && digits(compact) => {
            (&compact[..4], &compact[4..6], &compact[6..])
        }
        [year, month, day] if (year.len(), month.len(), day.len()) == (4, 2, 2) => {
            (year, month, day)
        }
        _ => return None,
    };
    if ![year, month, day].into_iter().all(digits) {
        return None;
    }
    NaiveDate::from_ymd_opt(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?)
}

/// Parses `HH[:MM[:SS[.f…]]]`, with or without colons.
fn parse_time(text: &str) -> Option<NaiveTime> {
    let (clock, fraction) = match text.split_once(['.', ',']) {
        Some((clock, fraction)) => (clock, Some(fraction)),
        None => (text, None),
    };
    let fields = two_digit_fields(clock)?;
    let field = |index: usize| fields.get(index).copied().unwrap_or(0);
    let micros = match fraction {
        None => 0,
        Some(fraction) if fields.len() == 3 => parse_fraction(fraction)?,
        Some(_) => return None,
    };
    NaiveTime::from_hms_micro_opt(field(0), field(1), field(2), micros)
        .filter(|time| time.second() < 60)
}

/// Parses a fraction of a second as microseconds. Further digits are cut off, as in Python.
fn parse_fraction(digits: &str) -> Option<u32> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    format!("{digits:0<6}")[..6].parse().ok()
}

/// Parses `Z`, or a sign and `HH[:MM[:SS]]`.
fn parse_offset(text: &str) -> Option<FixedOffset> {
    if text.eq_ignore_ascii_case("z") {
        return FixedOffset::east_opt(0);
    }
    let fields = two_digit_fields(text.get(1..)?)?;
    let field = |index: usize| fields.get(index).copied().unwrap_or(0);
    if field(1) > 59 || field(2) > 59 {
        return None;
    }
    let seconds = i32::try_from(field(0) * 3600 + field(1) * 60 + field(2)).ok()?;
    FixedOffset::east_opt(if text.starts_with('-') {
        -seconds
    } else {
        seconds
    })
}

/// Parses one to three fields of two digits, all or none separated by colons.
fn two_digit_fields(text: &str) -> Option<Vec<u32>> {
    let separated;
    let fields: Vec<&str> = if text.contains(':') {
        text.split(':').collect()
    } else if text.is_ascii() {
        separated = text.as_bytes().chunks(2);
        separated
            .map(|pair| std::str::from_utf8(pair).unwrap_or_default())
            .collect()
    } else {
        return None;
    };
    if !(1..=3).contains(&fields.len()) {
        return None;
    }
    fields
        .into_iter()
        .map(|field| {
            let digits = field.len() == 2 && field.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| field.parse().ok()).flatten()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Iso;

    fn iso(text: &str) -> Option<String> {
        parse_iso(text).map(|t| Iso(t).to_string())
    }

    #[test]
    fn iso_8601_is_utc_without_an_offset() {
        for (text, expected) in [
            ("2031-01-02", "2031-01-02T00:00:00.000000"),
            ("20310102", "2031-01-02T00:00:00.000000"),
            ("2031-01-02T03", "2031-01-02T03:00:00.000000"),
            ("2031-01-02T03:04", "2031-01-02T03:04:00.000000"),
            ("2031-01-02 03:04:05", "2031-01-02T03:04:05.000000"),
            ("20310102T030405", "2031-01-02T03:04:05.000000"),
            ("2031-01-02T03:04:05.6", "2031-01-02T03:04:05.600000"),
            (
                "2031-01-02T03:04:05,123456789",
                "2031-01-02T03:04:05.123456",
            ),
            ("2031-01-02T03:04:05Z", "2031-01-02T03:04:05.000000"),
            ("2031-01-02T03:04:05+02:00", "2031-01-02T01:04:05.000000"),
            ("2031-01-02T03:04:05-0230", "2031-01-02T05:34:05.000000"),
            ("2031-01-02T03:04:05+02", "2031-01-02T01:04:05.000000"),
            ("0001-01-01", "0001-01-01T00:00:00.000000"),
            ("9999-12-31T23:59:59", "9999-12-31T23:59:59.000000"),
        ] {
            assert_eq!(iso(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_text_than_iso_8601_is_refused() {
        for text in [
            "garbage",
            "2031",
            "2031-13-01",
            "2031-02-30",
            "2031-1-1",
            "2031-01-02T",
            "2031-01-02T24:00",
            "2031-01-02T03:60",
            "2031-01-02T03:04:60",
            "2031-01-02T3:04",
            "2031-01-02T03:04:05.",
            "2031-01-02T03:04.5",
            "2031-01-02T03:04+",
            "2031-01-02T03:04+02:99",
            "+031-01-02",
            "2031-01-02TZ",
            "0001-01-01T00:00:00+01:00",
            "1893456000",
            "２031-01-02",
            "2031-01-02Té",
        ] {
            assert_eq!(iso(text), None, "{text}");
        }
    }

    #[test]
    fn the_error_quotes_text_as_python_does() {
        assert_eq!(
            invalid_iso("garbage").to_string(),
            "Invalid isoformat string: 'garbage'"
        );
        assert_eq!(
            invalid_iso("it's\n").to_string(),
            "Invalid isoformat string: \"it's\\n\""
        );
    }
}
