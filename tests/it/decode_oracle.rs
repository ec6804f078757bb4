//! Compares how the daemon and Python decode thousands of random messages.
//!
//! The cases are new on every run. A failure names their seed; the environment variable
//! `ORACLE_SEED=…` reproduces them.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use platypush_userd::value::Value;
use platypush_userd::wire::literal::{Flaw, MAX_VALUES, decode};
use serde::Deserialize;
use serde_json::{Value as Json, json};

#[derive(Deserialize)]
struct Seed {
    seed: u64,
}

/// See `tests/oracle/cases.py`.
#[derive(Deserialize)]
struct Case {
    kind: String,
    message: String,
    meaning: Option<Json>,
    surrogate: bool,
    values: usize,
}

#[test]
fn messages_decode_as_in_python() {
    let python = Command::new("python3")
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/oracle/cases.py"
        ))
        .stderr(Stdio::inherit())
        .output()
        .expect("python3 starts");
    assert!(python.status.success(), "the script failed");
    let output = String::from_utf8(python.stdout).expect("the script writes ASCII");
    let mut lines = output.lines();
    let Seed { seed } = parse(lines.next().expect("the script names its seed"));

    let cases: Vec<Case> = lines.map(parse).collect();
    assert_eq!(cases.len(), 10_000);
    let mut failures: Vec<String> = cases.iter().filter_map(disagreement).collect();
    failures.sort_by_key(String::len);
    assert!(
        failures.is_empty(),
        "{} of {} messages are read differently (ORACLE_SEED={seed}), the shortest:\n{}",
        failures.len(),
        cases.len(),
        failures[..failures.len().min(3)].join("\n")
    );
}

fn parse<'a, T: Deserialize<'a>>(line: &'a str) -> T {
    serde_json::from_str(line).expect("the script writes JSON lines")
}

/// Returns how the decoder and Python differ on this case, or `None` if they agree.
fn disagreement(case: &Case) -> Option<String> {
    let message = hex::decode(&case.message).expect("the script writes hexadecimal");
    let decoded = decode(&message);
    let ours = decoded
        .as_ref()
        .ok()
        .map(|decoded| canonical(&decoded.value));
    let flaw = decoded.as_ref().ok().and_then(|decoded| decoded.flaw);
    let theirs = case.meaning.as_ref().map(last_wins);
    // A message with a lone surrogate or too many values is refused whatever its content. Two
    // keys of a dict that are distinct in Python may be equal in the canonical form.
    let count = case.values;
    let expected_flaw = if case.surrogate {
        Some(Flaw::LoneSurrogate)
    } else {
        (count > MAX_VALUES).then_some(Flaw::TooManyValues { count })
    };
    if flaw == expected_flaw && (expected_flaw.is_some() || ours == theirs) {
        return None;
    }
    Some(format!(
        "{}: {:?}\n  Python: {}, surrogate: {}, values: {count}\n  daemon: {}, {flaw:?}",
        case.kind,
        String::from_utf8_lossy(&message),
        shown(theirs),
        case.surrogate,
        decoded.map_or_else(|error| error.to_string(), |_| shown(ours)),
    ))
}

fn shown(meaning: Option<Json>) -> String {
    meaning.map_or_else(|| "invalid".to_owned(), |meaning| meaning.to_string())
}

/// Returns the canonical form of a value, as the script writes it.
fn canonical(value: &Value) -> Json {
    match value {
        Value::Null => json!(["null"]),
        Value::Bool(value) => json!(["bool", value]),
        Value::Int(digits) => json!(["int", digits]),
        Value::Float(number) if number.is_nan() => json!(["float", "nan"]),
        Value::Float(number) => json!(["float", format!("{:016x}", number.to_bits())]),
        Value::Text(text) => json!(["text", hex::encode(text.as_bytes())]),
        Value::List(values) => {
            json!(["list", values.iter().map(canonical).collect::<Vec<_>>()])
        }
        Value::Dict(entries) => dict(
            entries
                .iter()
                .map(|(key, value)| (canonical(key), canonical(value))),
        ),
        Value::Date(date) => json!(["date", date.to_string()]),
        Value::DateTime(time, offset) => json!([
            "datetime",
            time.format("%Y-%m-%dT%H:%M:%S%.6f").to_string(),
            offset.map(|offset| offset.local_minus_utc()),
        ]),
    }
}

/// Returns a canonical form in which each dict is built by [`dict`].
fn last_wins(meaning: &Json) -> Json {
    let Json::Array(parts) = meaning else {
        return meaning.clone();
    };
    match &parts[..] {
        [tag, Json::Array(entries)] if tag == "dict" => dict(
            entries
                .iter()
                .map(|entry| (last_wins(&entry[0]), last_wins(&entry[1]))),
        ),
        parts => Json::Array(parts.iter().map(last_wins).collect()),
    }
}

/// Returns a dict without order. The last value of a duplicate key wins.
fn dict(entries: impl Iterator<Item = (Json, Json)>) -> Json {
    let entries: BTreeMap<String, Json> = entries
        .map(|(key, value)| (key.to_string(), value))
        .collect();
    json!(["dict", entries])
}
