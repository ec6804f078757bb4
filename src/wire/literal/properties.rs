//! Property tests of the parser.

use proptest::prelude::*;

use super::*;

/// Generates messages with a few changed bytes, which reach more code than arbitrary bytes.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let messages = [
        r#"{"id": "y1", "args": ["é\ud83d\ude00\n", -1.5e3, [{}], null, NaN]}"#,
        r"{'id': 'y1', 'args': ('é\x41\u00e9\101\q', -1., .5e+3, [(1,), {}], None, nan, True,)}",
        "[datetime.date(2031, 1, 1), datetime.datetime(2031, 1, 1, 0, 0, fold=1, \
         tzinfo=datetime.timezone(datetime.timedelta(days=-1, seconds=68400)))]",
    ];
    let edit = (any::<prop::sample::Index>(), any::<u8>(), 0..3_u8);
    (
        prop::sample::select(messages.to_vec()),
        prop::collection::vec(edit, 1..6),
    )
        .prop_map(|(message, edits)| {
            let mut bytes = message.as_bytes().to_vec();
            for (index, byte, kind) in edits {
                let index = index.index(bytes.len());
                match kind {
                    0 => bytes.insert(index, byte),
                    1 => bytes[index] = byte & 0x7f,
                    _ => drop(bytes.remove(index)),
                }
            }
            bytes
        })
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value as Json;
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        any::<String>().prop_map(Json::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Json::from),
            prop::collection::vec((any::<String>(), inner), 0..8)
                .prop_map(|entries| Json::Object(entries.into_iter().collect())),
        ]
    })
}

fn from_json(json: serde_json::Value) -> Value<'static> {
    use serde_json::Value as Json;
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(value),
        Json::Number(number) if number.is_f64() => Value::Float(number.as_f64().unwrap()),
        Json::Number(number) => Value::Int(number.to_string().into()),
        Json::String(value) => Value::Text(value.into()),
        Json::Array(values) => Value::List(values.into_iter().map(from_json).collect()),
        Json::Object(entries) => Value::Dict(
            entries
                .into_iter()
                .map(|(key, value)| (Value::Text(key.into()), from_json(value)))
                .collect(),
        ),
    }
}

proptest! {
    #[test]
    fn values_are_counted_in_every_container(
        (unit, values) in prop::sample::select(vec![
            ("0", 1), ("\"\"", 1), ("[]", 1), ("[0]", 2), ("{\"\":[1,null]}", 4), ("[[[]],{}]", 4),
        ]),
        times in 1..1_500_usize,
    ) {
        let message = format!("[{}]", vec![unit; times].join(","));
        let count = 1 + times * values;
        let expected = (count > MAX_VALUES).then_some(Flaw::TooManyValues { count });
        prop_assert_eq!(decode(message.as_bytes()).unwrap().flaw, expected);
    }

    #[test]
    fn json_from_serde_decodes_to_the_same_value(json in any_json()) {
        let compact = json.to_string();
        let pretty = format!("{json:#}");
        let expected = Ok(Decoded { value: from_json(json), flaw: None });
        prop_assert!(decode(compact.as_bytes()) == expected);
        prop_assert!(decode(pretty.as_bytes()) == expected);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>()) {
        let _ = decode(&bytes);
    }

    #[test]
    fn arbitrary_text_never_panics(text in r#"[\[\](){}'"\\,:.+\-_0-9a-zA-Zé😀\n ]*"#) {
        let _ = decode(text.as_bytes());
    }

    #[test]
    fn broken_messages_never_panic(bytes in mutated()) {
        let _ = decode(&bytes);
    }
}
