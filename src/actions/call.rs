//! One call of an action: what the store must leave of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Output;
use crate::audit::Notes;
use crate::error::Error;
use crate::keyring::Keyring;
use crate::model::DeliveryId;
use crate::store::Outcome;

/// One call of an action, of one delivery of a request.
pub struct Call {
    delivery: DeliveryId,
    keyring: Arc<Keyring>,
    /// Encodes a result as the reply will have it.
    encode: fn(&Result<Output, Error>) -> Vec<u8>,
    left_outcome: AtomicBool,
    has_hashed: AtomicBool,
    /// For the audit trail, and what happened.
    pub notes: Notes,
}

impl Call {
    /// For a delivery; `encode` is the edge's business, as is whether it
    /// `wants_event`.
    #[must_use]
    pub fn new(
        delivery: DeliveryId,
        keyring: Arc<Keyring>,
        encode: fn(&Result<Output, Error>) -> Vec<u8>,
        wants_event: bool,
    ) -> Self {
        Self {
            delivery,
            keyring,
            encode,
            left_outcome: AtomicBool::new(false),
            has_hashed: AtomicBool::new(false),
            notes: Notes::new(wants_event),
        }
    }

    /// What the store is to leave with a change: the reply, made by `output`
    /// of the change's result, sealed.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn outcome<T: 'static>(
        &self,
        output: impl FnOnce(&T) -> Output + Send + 'static,
    ) -> Result<Option<Outcome<T>>, Error> {
        self.outcome_of(move |result| Ok(output(result)))
    }

    /// The same for a change whose answer may be an error, such as a failure
    /// that is counted.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn outcome_of<T: 'static>(
        &self,
        answer: impl FnOnce(&T) -> Result<Output, Error> + Send + 'static,
    ) -> Result<Option<Outcome<T>>, Error> {
        let sealer = self
            .keyring
            .sealer()
            .map_err(|error| Error::Internal(error.to_string()))?;
        let (context, encode) = (self.delivery.outcome_context(), self.encode);
        self.left_outcome.store(true, Ordering::Relaxed);
        Ok(Some(Outcome {
            delivery: self.delivery,
            record: Box::new(move |result| sealer.seal(&context, &encode(&answer(result)))),
        }))
    }

    /// Says that a password was hashed.
    pub(super) fn hashed(&self) {
        self.has_hashed.store(true, Ordering::Relaxed);
    }

    /// Whether a password was hashed: not where a name was throttled, for
    /// example.
    #[must_use]
    pub fn has_hashed(&self) -> bool {
        self.has_hashed.load(Ordering::Relaxed)
    }

    /// Whether the store may have an outcome of this call.
    #[must_use]
    pub fn left_outcome(&self) -> bool {
        self.left_outcome.load(Ordering::Relaxed)
    }
}
