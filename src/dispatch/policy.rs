//! What is judged before a request is run: token, target, age.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::clock::{Iso, Timestamp};
use crate::error::{Error, echo};
use crate::value::Value;
use crate::wire::request::{MessageLimits, Request};

/// What requests are judged by, from the configuration.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Who we are: the origin of replies.
    pub device_id: String,
    /// Whether requests for another target are run too.
    pub accept_any_target: bool,
    /// SHA-256 of the token that requests must bring.
    pub token_hash: Option<[u8; 32]>,
    /// Age from which a request is not started any more.
    pub max_request_age: Option<Duration>,
    /// Bounds of messages.
    pub limits: MessageLimits,
}

impl Policy {
    /// Whether the request is for us, from somebody who may ask.
    pub(super) fn admit(&self, request: &Request<'_>) -> Result<(), Error> {
        if let Some(expected) = &self.token_hash {
            let token = match &request.token {
                Some(Value::Text(token) | Value::Int(token)) => token.as_bytes(),
                _ => return Err(Error::Unauthorized),
            };
            let given: [u8; 32] = Sha256::digest(token).into();
            if !bool::from(given.ct_eq(expected)) {
                return Err(Error::Unauthorized);
            }
        }
        if self.accept_any_target {
            return Ok(());
        }
        match &request.target {
            None => Ok(()),
            Some(Value::Text(target)) if *target == self.device_id => Ok(()),
            Some(target) => Err(Error::ForeignTarget {
                target: target
                    .as_text()
                    .map_or_else(|| target.type_name().to_owned(), echo),
                device_id: self.device_id.clone(),
            }),
        }
    }

    /// Whether a request that starts `now` is still waited for.
    #[expect(
        clippy::cast_precision_loss,
        reason = "microseconds since the epoch have 51 bits, an f64 keeps 53"
    )]
    pub(super) fn check_age(&self, sent: Option<f64>, now: Timestamp) -> Result<(), Error> {
        let (Some(sent), Some(max_age)) = (sent, self.max_request_age) else {
            return Ok(());
        };
        if now.timestamp_micros() as f64 / 1e6 - sent <= max_age.as_secs_f64() {
            return Ok(());
        }
        Err(Error::Expired {
            sent: describe_seconds(sent),
            now: Iso(now).to_string(),
            max_age: max_age.as_secs(),
        })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a float out of range saturates, and is then no timestamp"
)]
fn describe_seconds(seconds: f64) -> String {
    chrono::DateTime::from_timestamp_micros((seconds * 1e6) as i64)
        .map_or_else(|| "an impossible time".to_owned(), |at| Iso(at).to_string())
}
