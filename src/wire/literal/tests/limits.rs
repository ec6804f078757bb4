//! Tests of the limits of a message: depth, number of values, memory and time.

use std::time::{Duration, Instant};

use super::*;

#[test]
fn the_maximum_depth_is_accepted() {
    for (open, close) in [("[", "]"), ("(", ",)"), (r#"{"":"#, "}"), ("{'':", "}")] {
        let flaw = |depth: usize| {
            let depth = depth - 1;
            let message = [&open.repeat(depth), "[]", &close.repeat(depth)].concat();
            decode(message.as_bytes()).unwrap().flaw
        };
        assert_eq!(flaw(MAX_DEPTH), None, "{open}");
        for depth in [MAX_DEPTH + 1, 500_000] {
            assert_eq!(flaw(depth), Some(Flaw::TooDeep { depth }), "{open}");
        }
    }
}

/// Regression test: such a value became null, or counted as one value too many.
#[test]
fn the_last_accepted_value_may_be_in_parentheses() {
    let message = ["[", &"0,".repeat(MAX_VALUES - 2), "((('x')))]"].concat();
    let Value::List(items) = value(&message) else {
        panic!("no list");
    };
    assert_eq!(items.len(), MAX_VALUES - 1);
    assert_eq!(items.last().unwrap().as_text(), Some("x"));
}

#[test]
fn the_maximum_number_of_values_is_accepted() {
    for (open, item, close) in [
        ("[", "0,", "0]"),
        ("(", "None,", "(0),)"),
        ("{", "\"\":\"\",", "\"\":0}"),
        ("{", "'':'',", "(0,):0}"),
        ("[[],{},", "0,", "datetime.date(2031, 1, 1)]"),
    ] {
        let decoded = |items: usize| {
            let message = [open, &item.repeat(items), close].concat();
            let decoded = decode(message.as_bytes()).unwrap();
            (memory(&decoded.value), decoded.flaw)
        };
        let others = values(&value(&[open, close].concat()));
        assert_eq!(decoded(MAX_VALUES - others).1, None, "{open}{item}");
        // The last value is kept, too.
        let message = [open, &item.repeat(MAX_VALUES - others), close].concat();
        assert_eq!(values(&value(&message)), MAX_VALUES, "{open}{item}");
        for count in [MAX_VALUES + 1, 150_000] {
            let (memory, flaw) = decoded(count - others);
            assert_eq!(flaw, Some(Flaw::TooManyValues { count }), "{open}{item}");
            assert!(memory < 150_000, "{open}{item}: {memory} bytes");
        }
    }
}

/// The error reply and the dead letter need it.
#[test]
fn an_id_after_too_many_values_is_kept() {
    let list = ["[", &"0,".repeat(5_000), "0]"].concat();
    let keys: String = (0..5_000).map(|n| format!("\"{n}\":0,")).collect();
    let ids = "\"id\":\"early\",".repeat(50_000);
    for message in [
        format!(r#"{{"args":{{"a":{list}}},"id":"x","type":"request"}}"#),
        format!(r#"{{{keys}"id":"x","type":"request"}}"#),
        format!(r#"{{{keys}{ids}"id":"x","type":"request"}}"#),
        format!(r#"{{"type":"request",{ids}"id":"x"}}"#),
    ] {
        let Decoded { value, flaw } = decode(message.as_bytes()).unwrap();
        assert!(matches!(flaw, Some(Flaw::TooManyValues { .. })), "{flaw:?}");
        assert_eq!(value.get("id").and_then(Value::as_text), Some("x"));
        assert_eq!(value.get("type").and_then(Value::as_text), Some("request"));
        assert!(memory(&value) < 150_000);
    }
}

/// Returns the number of values in a value, without the keys of dicts.
fn values(value: &Value<'_>) -> usize {
    1 + match value {
        Value::List(items) => items.iter().map(values).sum(),
        Value::Dict(entries) => entries
            .iter()
            .map(|(key, value)| values(key) - 1 + values(value))
            .sum(),
        _ => 0,
    }
}

/// Returns the bytes that a value takes besides the message that it borrows from.
fn memory(value: &Value<'_>) -> usize {
    let of_text = |text: &Cow<'_, str>| match text {
        Cow::Owned(text) => text.capacity(),
        Cow::Borrowed(_) => 0,
    };
    match value {
        Value::Int(text) | Value::Text(text) => of_text(text),
        Value::List(items) => {
            items.capacity() * size_of::<Value<'_>>() + items.iter().map(memory).sum::<usize>()
        }
        Value::Dict(entries) => {
            entries.capacity() * 2 * size_of::<Value<'_>>()
                + entries
                    .iter()
                    .map(|(key, value)| memory(key) + memory(value))
                    .sum::<usize>()
        }
        _ => 0,
    }
}

/// Only text with escapes is copied.
#[test]
fn the_memory_of_a_message_is_bounded_by_a_small_multiple_of_its_size() {
    for unit in [
        "[",
        "[],",
        "{'':",
        "{},",
        "0,",
        "-1,",
        "'\\n',",
        "'':'',",
        "'\\x41",
        "\\u0041",
        "[[0],",
        "'',",
        "{0:0},",
        "(0,),",
        "{'a':[0,0],'b':(0,)},",
    ] {
        for (head, tail) in [
            ("[", "]"),
            ("{'a':[", "]}"),
            ("'", "'"),
            ("[[[[", "]]]]"),
            ("{", "}"),
        ] {
            for tail in [tail.to_owned(), format!("{}{tail}", closing(unit))] {
                let message = [head, &unit.repeat((1 << 17) / unit.len()), &tail].concat();
                if let Ok(decoded) = decode(message.as_bytes()) {
                    let memory = memory(&decoded.value);
                    assert!(
                        memory <= 2 * message.len() + 150_000,
                        "{head}{unit}: {memory} bytes"
                    );
                }
            }
        }
    }
}

/// Returns the closing brackets for a message of repeated units.
fn closing(unit: &str) -> String {
    let closing: String = unit
        .chars()
        .rev()
        .filter_map(|open| match open {
            '[' => Some(']'),
            '{' => Some('}'),
            '(' => Some(')'),
            _ => None,
        })
        .collect();
    closing.repeat((1 << 17) / unit.len())
}

#[test]
fn deep_unbalanced_messages_are_refused() {
    let open = "[".repeat(500_000);
    for tail in [
        "",
        "(",
        "}",
        "\"",
        "1",
        &"]".repeat(499_999),
        &"]".repeat(500_001),
    ] {
        assert!(decode((open.clone() + tail).as_bytes()).is_err());
    }
}

/// A message of 250 kB takes well under a second, or some seconds on a busy machine. With quadratic
/// time it would take many minutes.
#[test]
fn the_time_of_a_message_is_linear() {
    for unit in [
        "[",
        "{'':",
        "(",
        "[]",
        "\"",
        "'",
        "\\",
        "\"\\ud800",
        "'',",
        "1",
        "1.",
        "-",
        " ",
        "1e",
        "datetime.date(",
        "nan",
        "[[],",
        "\"\":",
        "0",
        "é",
        "'\\\n",
        "\"id\":0,",
        "\"id\":\"\\u0041\",",
        "'args':{},",
        "{0:",
    ] {
        for head in ["", "[", "{", "'", "\"", "[[", "datetime.datetime("] {
            let message = head.to_owned() + &unit.repeat(250_000 / unit.len());
            let start = Instant::now();
            let _ = decode(message.as_bytes());
            let took = start.elapsed();
            assert!(took < Duration::from_secs(60), "{head}{unit}: {took:?}");
        }
    }
}
