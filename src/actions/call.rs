//! One call of an action: what the store must leave of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Output;
use crate::audit::Notes;
use crate::credentials::LastCheck;
use crate::error::Error;
use crate::keyring::Keyring;
use crate::model::DeliveryId;
use crate::store::{Outcome, StoreError};

/// One call of an action, of one delivery of a request.
pub struct Call {
    delivery: DeliveryId,
    keyring: Arc<Keyring>,
    /// Encodes a result as the reply will have it.
    encode: fn(&Result<Output, Error>) -> Vec<u8>,
    left_outcome: AtomicBool,
    has_hashed: AtomicBool,
    pub(super) last_check: LastCheck,
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
            last_check: LastCheck::default(),
            notes: Notes::new(wants_event),
        }
    }

    /// Returns what the store leaves with a change: the reply, made by `output` of the change's
    /// result, sealed.
    pub fn outcome<T: 'static>(
        &self,
        output: impl Fn(&T) -> Output + Send + 'static,
    ) -> Option<Outcome<T>> {
        self.outcome_of(move |result| Ok(output(result)))
    }

    /// Returns the same for a change whose answer may be an error, such as a failure that is
    /// counted.
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
