//! Operations on outcomes and on the key of the keyed hashes.
//!
//! # Outcomes
//!
//! A mutation records its reply, sealed, under the delivery id of its request, in the step that
//! writes the change ([`Outcome`](crate::store::Outcome)). A redelivered request that has an
//! outcome is answered from it; one that has none had no effect, and runs. Reads, refusals and
//! logins that change nothing record no outcome: running them again changes nothing.
//!
//! An outcome is removed after its delivery is acknowledged, with the next group of operations.
//! Outcomes that a crash leaves behind are removed once recovery has listed the deliveries that are
//! still open.

use super::Operation;
use crate::model::DeliveryId;
use crate::store::Result;
use crate::store::rows::{Reads, Rows};

/// Changes nothing. It succeeds if the store accepts writes. A password check requires this, because
/// its failure must be counted.
pub struct CanWrite;

impl Operation for CanWrite {
    type Output = ();

    fn reads(&self) -> Reads {
        Reads::default()
    }

    fn apply(&self, _: &mut Rows) -> Result<()> {
        Ok(())
    }
}

/// Removes outcomes.
pub struct ForgetOutcomes {
    /// Deliveries of the outcomes.
    pub deliveries: Vec<DeliveryId>,
}

impl Operation for ForgetOutcomes {
    type Output = ();

    fn reads(&self) -> Reads {
        Reads {
            outcomes: self.deliveries.clone(),
            ..Reads::default()
        }
    }

    fn apply(&self, rows: &mut Rows) -> Result<()> {
        for delivery in &self.deliveries {
            if rows.outcomes.get(delivery)?.is_some() {
                rows.outcomes.remove(*delivery);
            }
        }
        Ok(())
    }
}

/// Sets the sealed key of the keyed hashes.
pub struct SetHashKey {
    /// The sealed key.
    pub sealed: Vec<u8>,
}

impl Operation for SetHashKey {
    type Output = ();

    fn reads(&self) -> Reads {
        Reads::default()
    }

    fn apply(&self, rows: &mut Rows) -> Result<()> {
        rows.hash_key.put((), self.sealed.clone());
        Ok(())
    }
}
