//! What is judged before a request is run: token, target, age.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::clock::{Iso, Timestamp};
use crate::error::{Error, echo};
use crate::value::Value;
use crate::wire::request::{MessageLimits, Request, Sent};

/// How far ahead of our clock a request may say it was sent. A clock that is
/// more than a year wrong is far less likely than milliseconds.
const MAX_SECONDS_AHEAD: f64 = 365.0 * 24.0 * 60.0 * 60.0;

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
    /// Whether the request is for us, from somebody who may ask, and says when it
    /// was sent in a form that its age can be told by.
    pub(super) fn admit(&self, request: &Request<'_>, now: Timestamp) -> Result<(), Error> {
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
        match &request.target {
            Some(target) if !self.is_ours(target) => {
                return Err(Error::ForeignTarget {
                    target: target
                        .as_text()
                        .map_or_else(|| target.type_name().to_owned(), echo),
                    device_id: self.device_id.clone(),
                });
            }
            _ => {}
        }
        check_timestamp(request.sent, now)
    }

    fn is_ours(&self, target: &Value<'_>) -> bool {
        self.accept_any_target || target.as_text() == Some(&self.device_id)
    }

    /// Whether a request that was taken at `taken` and starts `now` is still
    /// waited for.
    pub(super) fn check_age(
        &self,
        sent: Sent,
        taken: Timestamp,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Some(max_age) = self.max_request_age else {
            return Ok(());
        };
        let since = match sent {
            Sent::At(since) => since,
            Sent::Unsaid | Sent::Unreadable(_) => seconds_of(taken),
        };
        if seconds_of(now) - since <= max_age.as_secs_f64() {
            return Ok(());
        }
        let from = match sent {
            Sent::At(since) => format!("sent at {}", describe_seconds(since)),
            Sent::Unsaid | Sent::Unreadable(_) => format!("taken at {}", Iso(taken)),
        };
        Err(Error::Expired {
            from,
            now: Iso(now).to_string(),
            max_age: max_age.as_secs(),
        })
    }
}

/// Whether a request says when it was sent in seconds since the epoch, or says
/// nothing.
fn check_timestamp(sent: Sent, now: Timestamp) -> Result<(), Error> {
    match sent {
        Sent::Unreadable(what) => Err(Error::TimestampNoNumber(what)),
        Sent::At(sent) if sent - seconds_of(now) > MAX_SECONDS_AHEAD => {
            Err(Error::TimestampAhead {
                sent: describe_seconds(sent),
                now: Iso(now).to_string(),
            })
        }
        Sent::At(_) | Sent::Unsaid => Ok(()),
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
