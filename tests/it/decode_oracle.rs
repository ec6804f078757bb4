//! Asks Python what thousands of messages mean, and compares.
//!
//! The cases are new on every run. A failure names their seed: `ORACLE_SEED=…`
//! in the environment makes the same ones again.

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
fn messages_mean_what_they_mean_to_python() {
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

/// How the decoder and Python differ on this case, if they do.
fn disagreement(case: &Case) -> Option<String> {
    let message = hex::decode(&case.message).expect("the script writes hexadecimal");
    let decoded = decode(&message);
    let ours = decoded
        .as_ref()
        .ok()
        .map(|decoded| canonical(&decoded.value));
    let flaw = decoded.as_ref().ok().and_then(|decoded| decoded.flaw);
    let theirs = case.meaning.as_ref().map(last_wins);
    // A message with a lone surrogate, or too many values, is refused whatever it
    // means; and two keys of a dict that Python tells apart may be one here.
    let count = case.values;
    let due = if case.surrogate {
        Some(Flaw::LoneSurrogate)
    } else {
        (count > MAX_VALUES).then_some(Flaw::TooManyValues { count })
    };
    if flaw == due && (due.is_some() || ours == theirs) {
        return None;
    }
    Some(format!(
        "{}: {:?}\n  Python: {}, surrogate: {}, values: {count}\n  we: {}, {flaw:?}",
        case.kind,
        String::from_utf8_lossy(&message),
        shown(theirs),
        case.surrogate,
        decoded.map_or_else(|error| error.to_string(), |_| shown(ours)),
    ))
}

fn shown(meaning: Option<Json>) -> String {
    meaning.map_or_else(
        || "makes no sense".to_owned(),
        |meaning| meaning.to_string(),
    )
}

/// The form in which the script writes a meaning.
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

/// The same, with the dicts in it as `dict` has them.
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

/// A dict without order, in which the last value of a key counts.
fn dict(entries: impl Iterator<Item = (Json, Json)>) -> Json {
    let entries: BTreeMap<String, Json> = entries
        .map(|(key, value)| (key.to_string(), value))
        .collect();
    json!(["dict", entries])
}
