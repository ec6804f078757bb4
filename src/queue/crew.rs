//! Starts the work on messages, and knows what is started.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::mpsc;

use super::budget::{Budget, Claim};
use super::running::LoneRun;
use super::{Disposition, Handler, Running};
use crate::model::DeliveryId;

/// A processing list while it is worked on.
#[derive(Debug)]
pub(super) struct Batch {
    /// Its name.
    pub(super) list: String,
    /// How many entries it had, settled ones included.
    pub(super) entries: usize,
    /// How many of its entries are not settled yet.
    pub(super) open: AtomicUsize,
    /// Where it stands among all batches of this process.
    pub(super) order: u64,
}

/// A message that was taken: where it is to be settled.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) batch: Arc<Batch>,
    pub(super) id: DeliveryId,
    /// Its share of what may be in flight.
    _claim: Claim,
}

/// The messages of one processing list.
pub(super) struct Messages {
    pub(super) list: String,
    /// How many entries the list has, settled ones included.
    pub(super) entries: usize,
    /// Those that are open, to be started.
    pub(super) open: Vec<(DeliveryId, Vec<u8>)>,
}

/// A message as its handler gets it.
pub struct Begun {
    /// Which delivery it is.
    pub id: DeliveryId,
    /// Whether an earlier process may have worked on it: it may have had its
    /// effect.
    pub redelivered: bool,
    fast: Option<mpsc::Sender<()>>,
    lone: Option<LoneRun>,
}

impl Begun {
    /// A message that is not part of any batch.
    #[must_use]
    pub const fn new(id: DeliveryId, redelivered: bool) -> Self {
        Self {
            id,
            redelivered,
            fast: None,
            lone: None,
        }
    }

    /// Says that the message could be read: whatever it does from now on, it
    /// can be answered.
    pub fn was_read(&mut self) {
        if let Some(lone) = self.lone.take() {
            lone.was_read();
        }
    }

    /// Says that the fast work on the message is over, or has to wait for its
    /// turn: the next batch need not wait for it.
    pub fn leave_fast(&mut self) {
        self.fast = None;
    }
}

/// Starts work. Dropping the last one ends the settler.
#[derive(Clone)]
pub(super) struct Crew {
    handler: Arc<dyn Handler>,
    running: Arc<Running>,
    budget: Arc<Budget>,
    done: mpsc::UnboundedSender<(Delivery, Disposition)>,
    started: Arc<AtomicU64>,
}

impl Crew {
    pub(super) fn new(
        handler: Arc<dyn Handler>,
        running: Arc<Running>,
        budget: Arc<Budget>,
        done: mpsc::UnboundedSender<(Delivery, Disposition)>,
    ) -> Self {
        Self {
            handler,
            running,
            budget,
            done,
            started: Arc::default(),
        }
    }

    pub(super) fn handler(&self) -> &dyn Handler {
        &*self.handler
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Works on messages of a list. Resolves when their fast work is over:
    /// each is done, or waits for its turn. Never more than one batch of fast
    /// work is under way, so that the note of it names all that may have been
    /// the end of the process.
    pub(super) async fn work(&self, messages: Messages, redelivered: bool) {
        let Some((first, _)) = messages.open.first() else {
            return;
        };
        self.running.begin_batch(first.boot, first.batch);
        let batch = Arc::new(Batch {
            list: messages.list,
            entries: messages.entries,
            open: AtomicUsize::new(messages.open.len()),
            order: self.started.fetch_add(1, Ordering::Relaxed),
        });
        let (fast, mut all_left) = mpsc::channel(1);
        for (id, message) in messages.open {
            let begun = Begun {
                id,
                redelivered,
                fast: Some(fast.clone()),
                lone: None,
            };
            self.spawn(Arc::clone(&batch), begun, message);
        }
        drop(fast);
        // Nobody sends; it ends when all have left.
        let _ = all_left.recv().await;
        self.running.end_batch();
    }

    fn spawn(&self, batch: Arc<Batch>, begun: Begun, message: Vec<u8>) {
        let delivery = Delivery {
            batch,
            id: begun.id,
            _claim: self.budget.claim(message.len()),
        };
        let crew = self.clone();
        tokio::spawn(async move {
            let disposition = crew.handler.handle(begun, &message).await;
            // The settler outlives every crew.
            let _ = crew.done.send((delivery, disposition));
        });
    }

    /// Works on one message of a list with nothing else under way. Its own
    /// note is all there is: its neighbours have not started.
    pub(super) fn work_alone(&self, list: String, lone: LoneRun, message: Vec<u8>) {
        let begun = Begun {
            id: lone.id(),
            redelivered: true,
            fast: None,
            lone: Some(lone),
        };
        self.spawn(self.part_of(list), begun, message);
    }

    /// A list of which one entry is settled on its own, whatever others there
    /// are: it is never taken for finished.
    fn part_of(&self, list: String) -> Arc<Batch> {
        Arc::new(Batch {
            list,
            entries: usize::MAX,
            open: AtomicUsize::new(usize::MAX),
            order: self.started.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// Settles a message that is not worked on.
    pub(super) fn settle_unworked(
        &self,
        list: String,
        id: DeliveryId,
        size: usize,
        disposition: Disposition,
    ) {
        let delivery = Delivery {
            batch: self.part_of(list),
            id,
            _claim: self.budget.claim(size),
        };
        let _ = self.done.send((delivery, disposition));
    }
}
