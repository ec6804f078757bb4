//! Fuzzes the decoder. No message may cause a panic, exhaust the stack, take more than linear time
//! or decode to more values than allowed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use platypush_userd::value::Value;
use platypush_userd::wire::literal::{MAX_DEPTH, MAX_VALUES, decode};

fuzz_target!(|message: &[u8]| {
    if let Ok(decoded) = decode(message) {
        let (values, depth) = size(&decoded.value);
        // The keys of a dict are not counted by the decoder, nor are the few values that it keeps
        // for the reply.
        assert!(values <= 2 * (MAX_VALUES + 5), "{values} values");
        assert!(depth <= MAX_DEPTH, "{depth} levels");
    }
});

fn size(value: &Value<'_>) -> (usize, usize) {
    let items: Vec<_> = match value {
        Value::List(items) => items.iter().map(size).collect(),
        Value::Dict(entries) => entries
            .iter()
            .flat_map(|(key, value)| [size(key), size(value)])
            .collect(),
        _ => return (1, 0),
    };
    let values = items.iter().map(|(values, _)| values).sum::<usize>();
    let depth = items.iter().map(|(_, depth)| depth).max();
    (1 + values, 1 + depth.unwrap_or(&0))
}
