//! Bounded queue of encoded events. A request that publishes an event never waits for Redis.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{error, warn};

use super::Event;
use super::losses::Losses;
use super::publishing::PublisherTask;
use crate::clock::Timestamp;
use crate::config::Destination;
use crate::redis::Connector;

/// Maximum number of events that wait for Redis. Further events are lost.
const QUEUE_CAPACITY: usize = 4_096;
/// Maximum time for publishing the queued events when the daemon stops.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

/// Sending half of the queue.
#[derive(Clone)]
pub struct Publisher {
    queue: mpsc::Sender<Vec<u8>>,
    losses: Arc<Losses>,
}

/// Handle of the task that sends queued events to Redis, on its own connection.
pub struct PublisherHandle {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    losses: Arc<Losses>,
}

impl Publisher {
    /// Spawns the task that publishes to `destinations`. Returns `None` if there are none. Redis
    /// need not be available.
    #[must_use]
    pub fn start(
        connector: Connector,
        destinations: &[Destination],
    ) -> Option<(Self, PublisherHandle)> {
        if destinations.is_empty() {
            return None;
        }
        let (queue, receiver) = mpsc::channel(QUEUE_CAPACITY);
        let (stop, stopped) = watch::channel(false);
        let losses = Arc::new(Losses::default());
        let task = PublisherTask {
            connector,
            destinations: destinations.to_vec(),
            queue: receiver,
            stopped,
            losses: Arc::clone(&losses),
        };
        let handle = PublisherHandle {
            stop,
            task: tokio::spawn(task.run()),
            losses: Arc::clone(&losses),
        };
        Some((Self { queue, losses }, handle))
    }

    /// Queues an event, or counts it as lost if the queue is full. See [`Event::encode`] for the
    /// other parameters.
    pub fn publish(
        &self,
        event: &Event,
        by: Option<&str>,
        requested_by: Option<&str>,
        happened_at: Timestamp,
    ) {
        let message = match event.encode(by, requested_by, happened_at) {
            Ok(message) => message,
            Err(error) => return error!(%error, "an event could not be encoded"),
        };
        if let Err(error) = self.queue.try_send(message) {
            self.losses.add(1, || match error {
                TrySendError::Full(_) => format!("{QUEUE_CAPACITY} events already wait for Redis"),
                TrySendError::Closed(_) => "the daemon is stopping".into(),
            });
        }
    }
}

impl PublisherHandle {
    /// Closes the queue and publishes the queued events within `limit`, at most 500 ms. If Redis
    /// is unavailable, they are lost at once.
    pub async fn stop(mut self, limit: Duration) {
        self.stop.send_replace(true);
        match tokio::time::timeout(limit.min(DRAIN_TIMEOUT), &mut self.task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => error!(%error, "publishing events failed"),
            Err(_) => {
                self.task.abort();
                warn!("not all events were published in time");
            }
        }
        self.losses.log();
    }
}
