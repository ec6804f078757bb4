//! Writing replies.

use serde::Serialize;
use serde_json::Value;

use super::{RequestId, json};
use crate::clock::Timestamp;

/// Platypush's logging level of a response (INFO), and the end of the message.
const LOGGING_LEVEL: &[u8] = b", \"_logging_level\": 20}";

#[derive(Serialize)]
struct Body<'a, T> {
    output: T,
    errors: &'a [String],
}

/// The `output` of a failed action.
#[derive(Serialize)]
struct Failed {
    success: bool,
}

/// To whom a reply goes and from whom it comes.
pub struct Address<'a> {
    /// Id of the request.
    pub id: &'a RequestId,
    /// Who sent the request.
    pub target: Option<&'a str>,
    /// Who answers: our device id.
    pub origin: &'a str,
    /// When.
    pub now: Timestamp,
}

impl Address<'_> {
    /// The reply of an action with an output, and what is to be said beside it.
    ///
    /// # Errors
    /// When the output cannot stand in JSON.
    pub fn success(
        &self,
        output: &impl Serialize,
        errors: &[String],
    ) -> serde_json::Result<Vec<u8>> {
        self.encode(&Body { output, errors })
    }

    /// The reply whose body was recorded by [`body`]. It is written anew: one that an earlier version
    /// recorded may hold text that must not go to a node.
    ///
    /// # Errors
    /// When it is none.
    pub fn recorded(&self, body: &[u8]) -> serde_json::Result<Vec<u8>> {
        let body: Value = serde_json::from_slice(body)?;
        self.encode(&body)
    }

    /// The reply of one that failed.
    ///
    /// # Errors
    /// Never in practice; kept in the type because encoding is fallible.
    pub fn failure(&self, error: String) -> serde_json::Result<Vec<u8>> {
        self.encode(&Body {
            output: Failed { success: false },
            errors: &[error],
        })
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "microseconds since the epoch have 51 bits, an f64 keeps 53"
    )]
    fn encode(&self, response: &impl Serialize) -> serde_json::Result<Vec<u8>> {
        let sent = self.now.timestamp_micros() as f64 / 1e6;
        let mut bytes = Vec::with_capacity(512);
        // Its sender compares the id, and both never enter the context of a hook
        // or procedure: as they came, not neutralized.
        bytes.extend_from_slice(b"{\"id\": ");
        serde_json::to_writer(&mut bytes, self.id)?;
        bytes.extend_from_slice(b", \"type\": \"response\", \"target\": ");
        serde_json::to_writer(&mut bytes, &self.target)?;
        bytes.extend_from_slice(b", \"origin\": ");
        json::append(&mut bytes, &self.origin)?;
        bytes.extend_from_slice(b", \"_timestamp\": ");
        json::append(&mut bytes, &sent)?;
        bytes.extend_from_slice(b", \"response\": ");
        json::append(&mut bytes, response)?;
        bytes.extend_from_slice(LOGGING_LEVEL);
        Ok(bytes)
    }
}

/// The body of a reply on its own, to be recorded: an output and errors, or
/// without an output that of a failure.
///
/// # Errors
/// When the output cannot stand in JSON.
pub fn body(output: Option<&impl Serialize>, errors: &[String]) -> serde_json::Result<Vec<u8>> {
    match output {
        Some(output) => json::encode(&Body { output, errors }),
        None => json::encode(&Body {
            output: Failed { success: false },
            errors,
        }),
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::value::Value;

    #[test]
    fn a_body_that_an_earlier_version_recorded_is_neutralized() {
        let id = RequestId::from_value(Some(&Value::Text("${i}".into())), 9).unwrap();
        let address = Address {
            id: &id,
            target: Some("${t}"),
            origin: "node",
            now: DateTime::from_timestamp(1, 0).unwrap(),
        };
        let body =
            br#"{"output": {"user_id": 1, "name": "\\u0024{n}", "a": 1}, "errors": ["${e}"]}"#;
        assert_eq!(
            String::from_utf8(address.recorded(body).unwrap()).unwrap(),
            r#"{"id": "${i}", "type": "response", "target": "${t}", "origin": "node", "_timestamp": 1.0, "response": {"output": {"user_id": 1, "name": "\\ u0024{n}", "a": 1}, "errors": ["$ {e}"]}, "_logging_level": 20}"#
        );
    }

    #[test]
    fn the_exact_bytes_of_a_reply() {
        let id = RequestId::from_value(Some(&Value::Text("y1".into())), 9).unwrap();
        let address = Address {
            id: &id,
            target: None,
            origin: "node",
            now: DateTime::from_timestamp_micros(1_795_486_177_017_000).unwrap(),
        };
        assert_eq!(
            String::from_utf8(address.success(&[true], &[]).unwrap()).unwrap(),
            r#"{"id": "y1", "type": "response", "target": null, "origin": "node", "_timestamp": 1795486177.017, "response": {"output": [true], "errors": []}, "_logging_level": 20}"#
        );
        let address = Address {
            target: Some("é\n"),
            ..address
        };
        assert_eq!(
            String::from_utf8(address.failure("no".into()).unwrap()).unwrap(),
            r#"{"id": "y1", "type": "response", "target": "é\n", "origin": "node", "_timestamp": 1795486177.017, "response": {"output": {"success": false}, "errors": ["no"]}, "_logging_level": 20}"#
        );
    }
}
