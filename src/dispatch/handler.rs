//! The dispatcher as the queue's handler, and what becomes of messages that do not run.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use tracing::debug;

use super::Dispatcher;
use crate::model::DeliveryId;
use crate::queue::{self, Delivery, Disposition, Finished, Handler, Reply};
use crate::wire::dead_letter::{self, DeadLetter};
use crate::wire::request::{self, Envelope, RejectedMessage};

#[async_trait]
impl Handler for Dispatcher {
    async fn handle(self: Arc<Self>, delivery: &mut Delivery, message: Vec<u8>) -> Disposition {
        self.handle_message(delivery, message).await
    }

    async fn quarantine(&self, id: &DeliveryId, message: &[u8], decoded: bool) -> Disposition {
        // A request with a recorded outcome is answered from it, which runs nothing.
        if matches!(self.services.store.outcome(id).await, Ok(Some(_))) {
            let delivery = &mut Delivery::new(*id, true);
            return self.handle_message(delivery, message.to_vec()).await;
        }
        let rejected = if decoded {
            request::quarantine(message, &self.policy.limits)
        } else {
            request::quarantine_undecoded(message.len())
        };
        self.reject(rejected, false)
    }

    fn recovered(&self, open: &HashSet<DeliveryId>) {
        let mut earlier = self
            .earlier_outcomes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let orphaned: Vec<_> = earlier.drain(..).filter(|id| !open.contains(id)).collect();
        if !orphaned.is_empty() {
            debug!(count = orphaned.len(), "forgetting orphaned outcomes");
            self.services.store.forget_outcomes(orphaned);
        }
    }

    fn acknowledged(&self, deliveries: Vec<DeliveryId>) {
        self.services.store.forget_outcomes(deliveries);
    }

    fn too_long_prefix(&self) -> String {
        dead_letter::too_long_prefix(self.services.clock.now())
    }

    fn undeliverable_prefix(&self) -> String {
        dead_letter::undeliverable_prefix(self.services.clock.now())
    }

    fn undeliverable(&self, id: &str) -> Option<queue::DeadLetter> {
        self.dead_letter(DeadLetter::undeliverable(id))
    }
}

impl Dispatcher {
    /// Encodes a dead letter.
    fn dead_letter(&self, letter: DeadLetter) -> Option<queue::DeadLetter> {
        let reason = letter.reason.clone();
        let bytes = letter.encode(self.services.clock.now()).ok()?;
        Some(queue::DeadLetter { reason, bytes })
    }

    /// Returns the disposition of a message that does not run.
    pub(super) fn reject(&self, rejected: RejectedMessage, left_outcome: bool) -> Disposition {
        let Some(letter) = self.dead_letter(rejected.dead_letter) else {
            return Disposition::Unresolved;
        };
        let reply = rejected
            .reply_to
            .and_then(|envelope| self.error_reply(&envelope, letter.reason.clone()));
        Disposition::Finished(Finished {
            reply,
            dead_letter: Some(letter),
            left_outcome,
            held: None,
        })
    }

    /// Returns an error reply to a request that is not run, if its id is usable.
    pub(super) fn error_reply(&self, envelope: &Envelope, error: String) -> Option<Reply> {
        let id = envelope.id.as_ref()?;
        let address = self.address(id, envelope.origin.as_deref());
        Some(Reply::new(id.name(), address.failure(error).ok()?))
    }
}
