//! The worker: takes, hands out, settles, and winds down.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::availability::Availability;
use super::budget::{Budget, Claim};
use super::dead_letter_log::DeadLetterLog;
use super::settler::Settler;
use super::taker::Taker;
use super::{Connector, Disposition, Handler, Keys};

/// Most bytes of messages in flight.
const MAX_BYTES_IN_FLIGHT: usize = 64 << 20;

/// What a worker needs to know.
pub struct Settings {
    /// Makes connections.
    pub connector: Connector,
    /// Names of the keys.
    pub keys: Keys,
    /// How long an unread reply is kept.
    pub reply_ttl: Duration,
    /// Most messages in flight.
    pub max_in_flight: usize,
    /// Bytes of the longest message that is taken.
    pub max_message_size: usize,
}

/// Whether requests are being taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Not connected to Redis yet.
    Connecting,
    /// Taking requests.
    Serving,
    /// Redis is away or refuses; why.
    Away(String),
}

/// A processing list while it is worked on.
#[derive(Debug)]
pub(super) struct Batch {
    /// Its name.
    pub(super) list: String,
    /// How many of its entries are not settled yet.
    pub(super) open: AtomicUsize,
    /// Where it stands among all batches of this process.
    pub(super) order: u64,
}

/// A message that was taken: where it is to be settled.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) batch: Arc<Batch>,
    pub(super) position: usize,
    /// Its share of what may be in flight.
    _claim: Claim,
}

/// Starts the work on messages. Dropping the last one ends the settler.
#[derive(Clone)]
pub(super) struct Crew {
    handler: Arc<dyn Handler>,
    budget: Arc<Budget>,
    done: mpsc::UnboundedSender<(Delivery, Disposition)>,
    started: Arc<AtomicU64>,
}

impl Crew {
    pub(super) fn handler(&self) -> &dyn Handler {
        &*self.handler
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Starts the work on the entries of a processing list.
    pub(super) fn start(&self, list: String, entries: Vec<(usize, Vec<u8>)>) {
        let batch = Arc::new(Batch {
            list,
            open: AtomicUsize::new(entries.len()),
            order: self.started.fetch_add(1, Ordering::Relaxed),
        });
        for (position, message) in entries {
            let delivery = Delivery {
                batch: Arc::clone(&batch),
                position,
                _claim: self.budget.claim(message.len()),
            };
            let crew = self.clone();
            tokio::spawn(async move {
                let disposition = crew.handler.handle(&message).await;
                // The settler outlives every crew.
                let _ = crew.done.send((delivery, disposition));
            });
        }
    }
}

/// Works on one queue until it is stopped.
pub struct Worker {
    stop: watch::Sender<bool>,
    status: watch::Receiver<Status>,
    taker: JoinHandle<()>,
    settler: JoinHandle<()>,
}

impl Worker {
    /// Starts to work: first on what an earlier run of the same store left,
    /// then on the queue. Redis need not be there.
    #[must_use]
    pub fn start(settings: Settings, handler: Arc<dyn Handler>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (done, inbox) = mpsc::unbounded_channel();
        let settings = Arc::new(settings);
        let availability = Arc::new(Availability::new());
        let status = availability.subscribe();
        let dead_letters = Arc::new(DeadLetterLog::default());
        let settler = Settler::new(
            Arc::clone(&settings),
            Arc::clone(&availability),
            Arc::clone(&handler),
            Arc::clone(&dead_letters),
        );
        let crew = Crew {
            handler,
            budget: Budget::new(settings.max_in_flight, MAX_BYTES_IN_FLIGHT),
            done,
            started: Arc::default(),
        };
        let taker = Taker::new(settings, availability, crew, dead_letters, stopped);
        Self {
            stop,
            status,
            taker: tokio::spawn(taker.run()),
            settler: tokio::spawn(settler.run(inbox)),
        }
    }

    /// Whether requests are being taken, as it changes.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Stops taking, and resolves when everything taken is settled: answered,
    /// or given back to the head of the queue in order. Dropping the future
    /// leaves what is not settled where it is, for the next start.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        for task in [self.taker, self.settler] {
            if let Err(error) = task.await {
                tracing::error!(%error, "a part of the queue worker failed");
            }
        }
    }
}
