//! Tests of what the comparison with Python cannot cover: flaws, limits, errors and extensions.

mod limits;

use std::borrow::Cow;

use chrono::{FixedOffset, NaiveDate};

use super::*;

fn value(message: &str) -> Value<'_> {
    let decoded = decode(message.as_bytes()).unwrap_or_else(|error| panic!("{message}: {error}"));
    assert_eq!(decoded.flaw, None, "{message}");
    decoded.value
}

fn text(text: &str) -> Value<'_> {
    Value::Text(text.into())
}

fn int(digits: &str) -> Value<'_> {
    Value::Int(digits.into())
}

/// Asserts that a message decodes to `expected`. `assert_eq` would not show the values, because the
/// `Debug` of `Value` hides them.
#[track_caller]
fn assert_reads(message: &str, expected: &Value) {
    assert!(value(message) == *expected, "{message}");
}

fn problem(message: &str) -> String {
    decode(message.as_bytes()).unwrap_err().to_string()
}

#[test]
fn a_message_of_a_platypush_procedure_is_decoded() {
    let message = value(
        r#"{'type': 'request', 'action': 'user.authenticate_user', 'id': 'y1', 'args': {'username': 'alice', 'password': 123456, 'code': None, 'return_details': True, 'note': 'it\'s "q" é'}}"#,
    );
    assert_eq!(message.get("id").unwrap().as_text(), Some("y1"));
    let args = message.get("args").unwrap();
    assert!(*args.get("password").unwrap() == int("123456"));
    assert!(*args.get("code").unwrap() == Value::Null);
    assert!(*args.get("return_details").unwrap() == Value::Bool(true));
    assert_eq!(args.get("note").unwrap().as_text(), Some("it's \"q\" é"));
}

#[test]
fn json_numbers() {
    for (message, digits) in [("0", "0"), ("-0", "0"), ("-12", "-12")] {
        assert_reads(message, &int(digits));
    }
    let huge = "9".repeat(100_000);
    assert_reads(&huge, &int(&huge));
    assert_reads("1e999", &Value::Float(f64::INFINITY));
    assert_reads("-Infinity", &Value::Float(f64::NEG_INFINITY));
    assert_reads("1.5E+2", &Value::Float(150.0));
}

#[test]
fn python_words_and_numbers() {
    assert_reads(
        "[True, False, None, true, false, null,]",
        &value("[true, false, null, true, false, null]"),
    );
    assert_reads(
        "(inf, -inf, +Infinity, - 5, +5, 000, 1., .5, 007.5, 1e+16)",
        &value("[Infinity, -Infinity, Infinity, -5, 5, 0, 1.0, 0.5, 7.5, 1e16]"),
    );
    for message in ["nan", "-nan", "NaN", "-NaN", "+ NaN"] {
        assert!(
            matches!(value(message), Value::Float(number) if number.is_nan()),
            "{message}"
        );
    }
}

#[test]
fn tuples_are_lists_and_parentheses_are_not() {
    assert_reads("()", &Value::List(vec![]));
    assert_reads("(1)", &int("1"));
    assert_reads("((1,))", &Value::List(vec![int("1")]));
    assert_reads("(1, 2)", &Value::List(vec![int("1"), int("2")]));
}

#[test]
fn a_dict_keeps_every_entry_in_order() {
    assert_reads(
        "{'a': 1, 2: None, 'a': 3}",
        &Value::Dict(vec![
            (text("a"), int("1")),
            (int("2"), Value::Null),
            (text("a"), int("3")),
        ]),
    );
}

#[test]
fn python_escapes() {
    assert_reads(
        r#"'\\\'\"\a\b\f\n\r\t\v\0\101\1234\777\x41\u00e9\U0001f600\q\é'"#,
        &text("\\'\"\x07\x08\x0c\n\r\t\x0b\0AS4\u{1ff}Aé😀\\q\\é"),
    );
}

#[test]
fn a_backslash_joins_lines_of_python_text() {
    assert_reads("'a\\\nb\\\r\nc\\\rd'", &text("abcd"));
}

#[test]
fn dates_and_times() {
    let date = NaiveDate::from_ymd_opt(2031, 1, 2).unwrap();
    let time = date.and_hms_micro_opt(12, 30, 5, 7).unwrap();
    assert_reads("datetime.date(2031, 1, 2)", &Value::Date(date));
    assert_reads(
        "datetime.datetime(2031, 1, 2)",
        &Value::DateTime(date.and_hms_opt(0, 0, 0).unwrap(), None),
    );
    for (zone, seconds) in [
        ("datetime.timezone.utc", 0),
        ("datetime.timezone(datetime.timedelta(0))", 0),
        (
            "datetime.timezone(datetime.timedelta(days=-1, seconds=68400))",
            -18_000,
        ),
        (
            "datetime.timezone(datetime.timedelta(0, 3600, 2000000))",
            3_602,
        ),
    ] {
        assert_reads(
            &format!("datetime.datetime(2031, 1, 2, 12, 30, 5, 7, fold=1, tzinfo={zone},)"),
            &Value::DateTime(time, FixedOffset::east_opt(seconds)),
        );
    }
}

#[test]
fn impossible_dates_and_times() {
    for message in [
        "datetime.date(2031, 13, 1)",
        "datetime.date(2031, 2, 29)",
        "datetime.date(0, 1, 1)",
        "datetime.date(10000, 1, 1)",
        "datetime.date(99999999999999999999, 1, 1)",
        "datetime.date(2031, 1)",
        "datetime.date(2031, 1, 1, 1)",
        "datetime.date(2031, 1, 1.0)",
        "datetime.date(year=2031, month=1, day=1)",
        "datetime.date",
        "date(2031, 1, 1)",
        "datetime.datetime()",
        "datetime.datetime(2031, 1, 1, 24)",
        "datetime.datetime(2031, 1, 1, -1)",
        "datetime.datetime(2031, 1, 1, 23, 59, 60)",
        "datetime.datetime(2031, 1, 1, 23, 59, 59, 1000000)",
        "datetime.datetime(2031, 1, 1, 0, 0, 0, 0, 0)",
        "datetime.datetime(fold=1, 2031, 1, 1)",
        "datetime.datetime(2031, 1, 1, tzinfo=datetime.timezone)",
        "datetime.datetime(2031, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(1)))",
        "datetime.datetime(2031, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(0, 0, 1)))",
        "datetime.datetime(2031, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(2147483647, 2147483647)))",
        "datetime.datetime(2031, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(0, 0, 0, 0)))",
        "datetime.datetime(2031, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(weeks=0)))",
    ] {
        assert!(decode(message.as_bytes()).is_err(), "{message}");
    }
}

#[test]
fn surrogates() {
    assert_reads(r#""\ud83d\ude00""#, &text("😀"));
    for (message, expected) in [
        (r#""\ud83d""#, "\u{fffd}"),
        (r#""\ud83d\u0041""#, "\u{fffd}A"),
        (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
        (r"'\ud83d\ude00'", "\u{fffd}\u{fffd}"),
        (r"'\U0000d83d'", "\u{fffd}"),
        // Not JSON, because of the parentheses and the tab, so the halves are not a pair.
        (r#"("\ud83d\ude00")"#, "\u{fffd}\u{fffd}"),
        ("\"\\ud83d\\ude00\t\"", "\u{fffd}\u{fffd}\t"),
    ] {
        let decoded = decode(message.as_bytes()).unwrap();
        assert_eq!(decoded.flaw, Some(Flaw::LoneSurrogate), "{message}");
        assert_eq!(decoded.value.as_text(), Some(expected), "{message}");
    }
}

#[test]
fn json_has_no_trailing_comma() {
    // Python allows it; and in Python the halves are not a pair.
    for message in [r#"["\ud83d\ude00",]"#, r#"{"a": "\ud83d\ude00",}"#] {
        let flaw = decode(message.as_bytes()).unwrap().flaw;
        assert_eq!(flaw, Some(Flaw::LoneSurrogate), "{message}");
    }
}

#[test]
fn values_beside_a_flaw_are_kept() {
    let deep = "[".repeat(10_000) + r#"")]}\"'""# + &"]".repeat(10_000);
    for message in [
        r#"{"args": "\ud800", "id": "x"}"#.to_owned(),
        format!(r#"{{"args": {deep}, "id": "x"}}"#),
        format!("{{'args': ({deep}, ')'), 'id': 'x'}}"),
    ] {
        let decoded = decode(message.as_bytes()).unwrap();
        assert!(decoded.flaw.is_some());
        assert_eq!(decoded.value.get("id").unwrap().as_text(), Some("x"));
    }
}

#[test]
fn an_error_shows_the_offset_and_no_text_of_the_message() {
    for (message, error) in [
        ("", "a value is missing at byte 0"),
        ("hunter2", "a value is missing at byte 0"),
        (" {\"password\": hunter2}", "a value is missing at byte 14"),
        ("{'password': hunter2}", "a value is missing at byte 13"),
        ("{'password' 'hunter2'}", "a colon is missing at byte 12"),
        (
            "{'a': 1 'b': 2}",
            "a comma or a closing bracket is missing at byte 8",
        ),
        (
            "{\"a\": 1}}",
            "the message goes on after its value at byte 8",
        ),
        ("'hunter2", "a closing quote is missing at byte 8"),
        (
            "'\\N{DIGIT TWO}'",
            "characters by name are not supported at byte 2",
        ),
        (
            "'\\U00110000'",
            "text has a character beyond Unicode at byte 11",
        ),
        ("'\\xé'", "a hexadecimal digit is missing at byte 3"),
        ("[1, 007]", "a number has leading zeros at byte 7"),
        (
            "[datetime.date(2031, 2, 30)]",
            "there is no such date at byte 14",
        ),
    ] {
        assert_eq!(
            problem(message),
            format!("The message is neither JSON nor a Python literal: {error}")
        );
    }
    assert_eq!(
        decode(b"{\"a\": \"\xff\"}").unwrap_err().to_string(),
        "The message is not UTF-8: bad byte at 7"
    );
}

#[test]
fn the_error_is_that_of_the_dialect_that_got_further() {
    assert_eq!(decode(b"{'a': 1, 'b': }").unwrap_err().at(), 14);
    // The pair is one character in JSON only, and the error is after it.
    assert_eq!(decode(br#"{"a": 1, "b": "\/\N", }"#).unwrap_err().at(), 18);
    assert_eq!(decode(br#"["\ud83d\ude00", 1"#).unwrap_err().at(), 18);
}
