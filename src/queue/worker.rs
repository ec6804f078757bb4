//! The queue worker: starts the fetcher and the acker, and stops them in order.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::acker::Acker;
use super::budget::Budget;
use super::executor::BatchExecutor;
use super::fetcher::Fetcher;
use super::reports::Reports;
use super::{CrashJournal, Handler, Keys, LeftEntries};
use crate::redis::Connector;

/// Maximum number of bytes of messages in flight.
const MAX_BYTES_IN_FLIGHT: usize = 64 << 20;

/// Settings of a worker.
pub struct Settings {
    /// Makes connections.
    pub connector: Connector,
    /// Names of the Redis keys.
    pub keys: Keys,
    /// Time after which an unread reply expires.
    pub reply_ttl: Duration,
    /// Maximum number of messages in flight.
    pub max_in_flight: usize,
    /// Maximum number of bytes of a message.
    pub max_message_size: usize,
}

/// State of the connection to the queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Status {
    /// Not connected to Redis yet.
    #[default]
    Connecting,
    /// Fetching requests.
    Serving,
    /// Redis is unavailable or refuses a command, for this reason.
    Away(String),
    /// The store of this id has owned the queue since before the start.
    Foreign(String),
}

/// Serves one queue until it is stopped.
pub struct Worker {
    stop: watch::Sender<bool>,
    status: watch::Receiver<Status>,
    fetcher: JoinHandle<()>,
    acker: JoinHandle<()>,
}

impl Worker {
    /// Starts the worker. It first recovers what an earlier run of the same store left. Redis may be
    /// unavailable. `left` is what that run left in the crash journal `journal`.
    #[must_use]
    pub fn start(
        settings: Settings,
        handler: Arc<dyn Handler>,
        journal: Arc<CrashJournal>,
        left: LeftEntries,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (completed, inbox) = mpsc::unbounded_channel();
        let settings = Arc::new(settings);
        let reports = Arc::new(Reports::default());
        let status = reports.subscribe();
        let acker = Acker::new(
            Arc::clone(&settings),
            Arc::clone(&reports),
            Arc::clone(&handler),
        );
        let budget = Budget::new(settings.max_in_flight, MAX_BYTES_IN_FLIGHT);
        let executor =
            BatchExecutor::new(Arc::clone(&settings), handler, journal, budget, completed);
        let fetcher = Fetcher::new(settings, reports, executor, left, stopped);
        Self {
            stop,
            status,
            fetcher: tokio::spawn(fetcher.run()),
            acker: tokio::spawn(acker.run(inbox)),
        }
    }

    /// Returns the status, as it changes.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Stops fetching, and resolves when everything that was fetched is acknowledged or requeued, in
    /// order. Dropping the future leaves the rest in the processing lists, for the next start.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        for task in [self.fetcher, self.acker] {
            if let Err(error) = task.await {
                tracing::error!(%error, "a part of the queue worker failed");
            }
        }
    }
}
