//! The context of one call of an action.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Output;
use crate::audit::Notes;
use crate::credentials::LastCheck;
use crate::error::Error;
use crate::keyring::Keyring;
use crate::model::DeliveryId;
use crate::store::{Outcome, StoreError};

/// One call of an action, for one delivery of a request.
pub struct Call {
    delivery: DeliveryId,
    keyring: Arc<Keyring>,
    /// Encodes a result as the body of the reply.
    encode: fn(&Result<Output, Error>) -> Vec<u8>,
    left_outcome: AtomicBool,
    has_hashed: AtomicBool,
    pub(super) last_check: LastCheck,
    /// Notes for the audit trail, and the event of the call.
    pub notes: Notes,
}

impl Call {
    /// Returns a call for a delivery. `encode` encodes a result as the body of the reply, and
    /// `wants_event` tells whether events are published.
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
            last_check: LastCheck::default(),
            notes: Notes::new(wants_event),
        }
    }

    /// Returns the outcome that the store records with a change: the sealed reply, which `output`
    /// makes of the change's result.
    pub fn outcome<T: 'static>(
        &self,
        output: impl Fn(&T) -> Output + Send + 'static,
    ) -> Option<Outcome<T>> {
        self.outcome_of(move |result| Ok(output(result)))
    }

    /// Returns the outcome of a change whose reply may be an error, such as the count of a failed
    /// attempt.
    pub fn outcome_of<T: 'static>(
        &self,
        answer: impl Fn(&T) -> Result<Output, Error> + Send + 'static,
    ) -> Option<Outcome<T>> {
        let (keyring, context) = (Arc::clone(&self.keyring), self.delivery.outcome_context());
        let encode = self.encode;
        self.left_outcome.store(true, Ordering::Relaxed);
        Some(Outcome {
            delivery: self.delivery,
            record: Box::new(move |result| {
                let sealer = keyring
                    .sealer()
                    .map_err(|error| StoreError::Engine(error.to_string()))?;
                Ok(sealer.seal(&context, &encode(&answer(result))))
            }),
        })
    }

    /// Records that a password was hashed.
    pub(super) fn mark_hashed(&self) {
        self.has_hashed.store(true, Ordering::Relaxed);
    }

    /// Returns whether a password was hashed. A throttled login, for example, hashes none.
    #[must_use]
    pub fn has_hashed(&self) -> bool {
        self.has_hashed.load(Ordering::Relaxed)
    }

    /// Returns whether the store may have recorded an outcome of this call.
    #[must_use]
    pub fn left_outcome(&self) -> bool {
        self.left_outcome.load(Ordering::Relaxed)
    }
}
