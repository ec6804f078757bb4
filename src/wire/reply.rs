//! Encoding of replies.

use serde::Serialize;
use serde_json::Value;

use super::{RequestId, json};
use crate::clock::Timestamp;

/// The end of a reply: the logging level of a Platypush response (INFO).
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

/// The header of a reply.
pub struct Address<'a> {
    /// Id of the request.
    pub id: &'a RequestId,
    /// The sender of the request.
    pub target: Option<&'a str>,
    /// The sender of the reply: the daemon's device id.
    pub origin: &'a str,
    /// Time of the reply.
    pub now: Timestamp,
}

impl Address<'_> {
    /// Encodes the reply of an action with an output, and any errors beside the output.
    ///
    /// # Errors
    /// When JSON cannot represent the output.
    pub fn success(
        &self,
        output: &impl Serialize,
        errors: &[String],
    ) -> serde_json::Result<Vec<u8>> {
        self.encode(&Body { output, errors })
    }

    /// Encodes the reply for a body that [`body`] made. The body is decoded and encoded again,
    /// because one that an earlier version recorded may contain text that is not neutralized.
    ///
    /// # Errors
    /// When `body` is not JSON.
    pub fn recorded(&self, body: &[u8]) -> serde_json::Result<Vec<u8>> {
        let body: Value = serde_json::from_slice(body)?;
        self.encode(&body)
    }

    /// Encodes the reply of a request that failed.
    ///
    /// # Errors
    /// Never in practice: JSON can represent any text.
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
        // Not neutralized: the client compares the id with its own, and neither id nor target
        // enters the context of a hook or procedure.
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

/// Encodes the body of a reply alone, for a recorded outcome. Without an output it is the body of a
/// failure.
///
/// # Errors
/// When JSON cannot represent the output.
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
    fn a_recorded_body_is_neutralized() {
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
    fn replies_are_encoded_exactly() {
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
