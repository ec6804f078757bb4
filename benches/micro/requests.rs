//! Requests in the encodings that clients use.

/// Returns `user.authenticate_session` as Platypush encodes it: `json.dumps` of eight keys.
pub fn json(target: &str, session_token: &str, timestamp: f64) -> String {
    format!(
        r#"{{"type": "request", "target": "{target}", "action": "user.authenticate_session", "args": {{"session_token": "{session_token}"}}, "origin": "{target}", "id": "5f0c8a3be1d24796b08d1c37a2e9f465", "token": null, "_timestamp": {timestamp}}}"#
    )
}

/// Returns the same request as a Python literal, as `redis.send_message` encodes a dict.
pub fn python_literal(target: &str, session_token: &str, timestamp: f64) -> String {
    json(target, session_token, timestamp)
        .replace('"', "'")
        .replace("null", "None")
}

/// Returns a request of at most `length` bytes whose one argument is `open`, repeated `filling`,
/// and `close`.
pub fn filled(length: usize, open: &str, filling: &str, close: &str) -> String {
    let head = format!(
        r#"{{"type": "request", "action": "user.authenticate_session", "args": {{"session_token": {open}"#
    );
    let tail = format!(r#"{close}}}, "id": "5f0c8a3be1d24796b08d1c37a2e9f465"}}"#);
    let times = (length - head.len() - tail.len()) / filling.len();
    head + &filling.repeat(times) + &tail
}
