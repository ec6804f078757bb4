//! Requests as they stand on the queue.

/// `user.authenticate_session` as Platypush writes it: `json.dumps` of its
/// eight keys.
pub fn json(target: &str, session_token: &str, timestamp: f64) -> String {
    format!(
        r#"{{"type": "request", "target": "{target}", "action": "user.authenticate_session", "args": {{"session_token": "{session_token}"}}, "origin": "{target}", "id": "5f0c8a3be1d24796b08d1c37a2e9f465", "token": null, "_timestamp": {timestamp}}}"#
    )
}

/// The same as a Python literal: what `redis.send_message` makes of a dict.
pub fn python_literal(target: &str, session_token: &str, timestamp: f64) -> String {
    json(target, session_token, timestamp)
        .replace('"', "'")
        .replace("null", "None")
}

/// A request of `length` bytes, or a few less, whose one argument is `open`,
/// then `filling` again and again, then `close`.
pub fn filled(length: usize, open: &str, filling: &str, close: &str) -> String {
    let head = format!(
        r#"{{"type": "request", "action": "user.authenticate_session", "args": {{"session_token": {open}"#
    );
    let tail = format!(r#"{close}}}, "id": "5f0c8a3be1d24796b08d1c37a2e9f465"}}"#);
    let times = (length - head.len() - tail.len()) / filling.len();
    head + &filling.repeat(times) + &tail
}
