//! Encodes the result of a request as the bytes of its reply.

use serde::ser::Error as _;
use tracing::error;

use crate::actions::Output;
use crate::error::Error;
use crate::queue::{Disposition, Finished, Reply, UnreadShare};
use crate::store::StoreError;
use crate::wire::RequestId;
use crate::wire::reply::{self, Address};

/// Returns the disposition of a request with an encoded reply.
pub(super) fn finish(
    id: &RequestId,
    encoded: serde_json::Result<Vec<u8>>,
    share: Option<UnreadShare>,
    left_outcome: bool,
    held: Option<Box<dyn Send>>,
) -> Disposition {
    match encoded {
        Ok(bytes) => Disposition::Finished(Finished {
            reply: Some(Reply::new(id.name(), bytes).counted(share)),
            dead_letter: None,
            left_outcome,
            held,
        }),
        Err(error) => {
            error!(id = ?id.name(), %error, "a reply could not be encoded");
            Disposition::Unresolved
        }
    }
}

/// Encodes the reply for a result.
pub(super) fn encode_reply(
    address: &Address<'_>,
    result: &Result<Output, Error>,
) -> serde_json::Result<Vec<u8>> {
    match result {
        Ok(output) => address.success(output, &errors_of(output)),
        Err(error) => address.failure(public_text(error, address.id)),
    }
}

/// Encodes the body of a reply for its recorded outcome. Internal errors are never recorded, so the
/// text of an error needs no redaction here.
pub(super) fn encode_body(result: &Result<Output, Error>) -> Vec<u8> {
    let body = match result {
        Ok(output) => reply::body(Some(output), &errors_of(output)),
        Err(error) => reply::body(None::<&Output>, &[error.to_string()]),
    };
    body.unwrap_or_default()
}

fn errors_of(output: &Output) -> Vec<String> {
    Vec::from_iter(output.error().map(ToString::to_string))
}

/// Encodes the reply on a blocking thread, because a list of all users takes long to encode and to
/// drop.
pub(super) async fn encode_on_blocking_thread(
    address: &Address<'_>,
    result: Result<Output, Error>,
) -> serde_json::Result<Vec<u8>> {
    let (id, target) = (address.id.clone(), address.target.map(str::to_owned));
    let (origin, now) = (address.origin.to_owned(), address.now);
    let encode = move || {
        let address = Address {
            id: &id,
            target: target.as_deref(),
            origin: &origin,
            now,
        };
        encode_reply(&address, &result)
    };
    let encoded = tokio::task::spawn_blocking(encode).await;
    encoded.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        // The runtime shuts down: the next run handles the request.
        Err(error) => Err(serde_json::Error::custom(error)),
    })
}

/// Returns the text of an error for the client. The text of an internal error goes to the log only.
fn public_text(error: &Error, id: &RequestId) -> String {
    match error {
        Error::Internal(_) | Error::Store(StoreError::Engine(_)) => format!(
            "Internal error: the log of platypush-userd tells more about request {}",
            id.name()
        ),
        error => error.to_string(),
    }
}
