//! Checks of a request before it runs: token, target and age.
//!
//! The age is checked before the request waits for a turn, so that a request whose sender has given
//! up takes no place in the queue, and again when its turn comes.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::clock::{Iso, Timestamp};
use crate::error::{Error, echo};
use crate::value::Value;
use crate::wire::request::{MessageLimits, Request, Sent};

/// Maximum seconds by which the `_timestamp` of a request may be ahead of the daemon's clock. A
/// timestamp in milliseconds is far more likely than a clock that is a year off.
const MAX_SECONDS_AHEAD: f64 = 365.0 * 24.0 * 60.0 * 60.0;

/// The rules for accepting requests, from the configuration.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The name of this device: the origin of replies.
    pub device_id: String,
    /// Whether requests for other targets are accepted.
    pub accept_any_target: bool,
    /// SHA-256 of the token that requests must have, if any.
    pub token_hash: Option<[u8; 32]>,
    /// Maximum age of a request at its start.
    pub max_request_age: Option<Duration>,
    /// Limits of messages.
    pub limits: MessageLimits,
}

impl Policy {
    /// Checks the token, the target and the form of the timestamp of a request.
    pub(super) fn check(&self, request: &Request<'_>, now: Timestamp) -> Result<(), Error> {
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
        if let Some(target) = &request.target
            && !self.accept_any_target
            && target.as_text() != Some(&self.device_id)
        {
            return Err(Error::ForeignTarget {
                target: target
                    .as_text()
                    .map_or_else(|| target.type_name().to_owned(), echo),
                device_id: self.device_id.clone(),
            });
        }
        check_timestamp(request.sent, now)
    }

    /// Checks that a request that was fetched at `received_at` is not too old to start `now`. Its
    /// age counts from its timestamp, or from `received_at` if it has none.
    pub(super) fn check_age(
        &self,
        sent: Sent,
        received_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Some(max_age) = self.max_request_age else {
            return Ok(());
        };
        let since = match sent {
            Sent::At(since) => since,
            Sent::Unspecified | Sent::Invalid(_) => seconds_of(received_at),
        };
        if seconds_of(now) - since <= max_age.as_secs_f64() {
            return Ok(());
        }
        let from = match sent {
            Sent::At(since) => format!("sent at {}", describe_seconds(since)),
            Sent::Unspecified | Sent::Invalid(_) => format!("taken at {}", Iso(received_at)),
        };
        Err(Error::Expired {
            from,
            now: Iso(now).to_string(),
            max_age: max_age.as_secs(),
        })
    }
}

/// Checks that a timestamp, if there is one, is a number of seconds since the epoch.
fn check_timestamp(sent: Sent, now: Timestamp) -> Result<(), Error> {
    match sent {
        Sent::Invalid(what) => Err(Error::TimestampNoNumber(what)),
        Sent::At(sent) if sent - seconds_of(now) > MAX_SECONDS_AHEAD => {
            Err(Error::TimestampAhead {
                sent: describe_seconds(sent),
                now: Iso(now).to_string(),
            })
        }
        Sent::At(_) | Sent::Unspecified => Ok(()),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds since the epoch have 51 bits, an f64 keeps 53"
)]
fn seconds_of(time: Timestamp) -> f64 {
    time.timestamp_micros() as f64 / 1e6
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a float out of range saturates, and is then no timestamp"
)]
fn describe_seconds(seconds: f64) -> String {
    chrono::DateTime::from_timestamp_micros((seconds * 1e6) as i64)
        .map_or_else(|| "an impossible time".to_owned(), |at| Iso(at).to_string())
}
