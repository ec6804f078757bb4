//! A fetched message on its way through the daemon.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tokio::sync::mpsc;

use super::budget::InFlightPermit;
use super::crash_journal::SoloRun;
use crate::model::DeliveryId;

/// A processing list while its messages are in flight.
#[derive(Debug, Default)]
pub(super) struct ProcessingList {
    pub(super) name: String,
    /// Number of entries when it was fetched, acknowledged ones included.
    pub(super) entries: usize,
    /// Number of entries that are not acknowledged.
    pub(super) open: AtomicUsize,
    /// Position among all processing lists of this process.
    pub(super) order: u64,
}

/// A fetched message, from the fetch to the acknowledgement. The handler gets it along with the
/// message's bytes.
pub struct Delivery {
    /// Id of the delivery.
    pub id: DeliveryId,
    /// Whether an earlier process may have run the message, so that it may have had its effect.
    pub redelivered: bool,
    /// Bytes of the message in memory; once it was decoded, of the parts that are still needed.
    pub bytes: usize,
    pub(super) list: Arc<ProcessingList>,
    pub(super) permit: Option<InFlightPermit>,
    /// Open while the message is in the fast phase of its batch.
    pub(super) fast_phase: Option<mpsc::Sender<()>>,
    pub(super) solo_run: Option<SoloRun>,
}

/// Messages of one processing list that run together.
pub(super) type Batch = Vec<(Delivery, Vec<u8>)>;

impl Delivery {
    /// Returns a delivery that belongs to no processing list: nothing acknowledges it.
    #[must_use]
    pub fn new(id: DeliveryId, redelivered: bool) -> Self {
        Self {
            id,
            redelivered,
            list: Arc::default(),
            bytes: 0,
            permit: None,
            fast_phase: None,
            solo_run: None,
        }
    }

    /// Records that the message was decoded: whatever it causes from now on, it can get a reply.
    pub fn set_decoded(&mut self) {
        if let Some(solo_run) = self.solo_run.take() {
            solo_run.set_decoded();
        }
    }

    /// Leaves the fast phase, because the message waits for a turn: the next batch need not wait
    /// for it, and its capacity goes to messages that can get a reply at once.
    pub fn leave_fast_phase(&mut self) {
        self.fast_phase = None;
        if let Some(permit) = &mut self.permit {
            permit.release_capacity();
        }
    }

    /// Ends the run of the message. From now on the delivery takes capacity for `bytes`.
    pub(super) fn end_run(&mut self, bytes: usize) {
        self.fast_phase = None;
        self.solo_run = None;
        if let Some(permit) = &mut self.permit {
            permit.resize(bytes);
        }
    }

    /// Records that the reply waits for a permission in Redis: nothing waits for this delivery.
    pub(super) fn park(&mut self) {
        if let Some(permit) = &mut self.permit {
            permit.park();
        }
    }
}
