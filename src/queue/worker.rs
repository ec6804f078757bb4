//! The worker: takes, hands out, settles, and winds down.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::acker::Acker;
use super::availability::Availability;
use super::budget::Budget;
use super::dead_letter_log::DeadLetterLog;
use super::executor::BatchExecutor;
use super::fetcher::Fetcher;
use super::take_over::TakeOver;
use super::{CrashJournal, Handler, Keys, LeftEntries};
use crate::redis::Connector;

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
    /// Another store, of this id, works on the queue, and did so at start.
    Foreign(String),
}

/// Works on one queue until it is stopped.
pub struct Worker {
    stop: watch::Sender<bool>,
    status: watch::Receiver<Status>,
    fetcher: JoinHandle<()>,
    acker: JoinHandle<()>,
}

impl Worker {
    /// Starts to work: first on what an earlier run of the same store left,
    /// then on the queue. Redis need not be there. `running` and `left` are
    /// the notes of the working directory.
    #[must_use]
    pub fn start(
        settings: Settings,
        handler: Arc<dyn Handler>,
        running: Arc<CrashJournal>,
        left: LeftEntries,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (done, inbox) = mpsc::unbounded_channel();
        let settings = Arc::new(settings);
        let availability = Arc::new(Availability::new());
        let status = availability.subscribe();
        let dead_letters = Arc::new(DeadLetterLog::default());
        let acker = Acker::new(
            Arc::clone(&settings),
            Arc::clone(&availability),
            Arc::clone(&handler),
            Arc::clone(&dead_letters),
        );
        let budget = Budget::new(settings.max_in_flight, MAX_BYTES_IN_FLIGHT);
        let executor = BatchExecutor::new(
            Arc::clone(&settings),
            handler,
            Arc::clone(&running),
            budget,
            done,
        );
        let takeover = TakeOver::new(running, left);
        let fetcher = Fetcher::new(
            settings,
            availability,
            executor,
            takeover,
            dead_letters,
            stopped,
        );
        Self {
            stop,
            status,
            fetcher: tokio::spawn(fetcher.run()),
            acker: tokio::spawn(acker.run(inbox)),
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
        for task in [self.fetcher, self.acker] {
            if let Err(error) = task.await {
                tracing::error!(%error, "a part of the queue worker failed");
            }
        }
    }
}
