//! The queue in front of Redis: whoever has an event puts it there and never
//! waits.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{error, warn};

use super::Event;
use super::losses::Losses;
use super::publishing::Task;
use crate::clock::Timestamp;
use crate::config::Destination;
use crate::redis::Connector;

/// Most events that wait for Redis. One more is lost.
const MOST_WAITING: usize = 4_096;
/// How long those that wait may take at the end.
const FAREWELL: Duration = Duration::from_millis(500);

/// Takes events.
#[derive(Clone)]
pub struct Publisher {
    queue: mpsc::Sender<Vec<u8>>,
    losses: Arc<Losses>,
}

/// Publishes them, in a task and on a connection of its own.
pub struct Publishing {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    losses: Arc<Losses>,
}

impl Publisher {
    /// Starts to publish to all of these; `None` where there are none. Redis
    /// need not be there.
    #[must_use]
    pub fn start(connector: Connector, destinations: &[Destination]) -> Option<(Self, Publishing)> {
        if destinations.is_empty() {
            return None;
        }
        let (queue, waiting) = mpsc::channel(MOST_WAITING);
        let (stop, stopped) = watch::channel(false);
        let losses = Arc::new(Losses::default());
        let task = Task::new(
            connector,
            destinations.to_vec(),
            waiting,
            stopped,
            Arc::clone(&losses),
        );
        let publishing = Publishing {
            stop,
            task: tokio::spawn(task.run()),
            losses: Arc::clone(&losses),
        };
        Some((Self { queue, losses }, publishing))
    }

    /// Has an event published, if Redis keeps up. See [`Event::encode`] for
    /// what comes with it.
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
        match self.queue.try_send(message) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self
                .losses
                .add(1, || format!("{MOST_WAITING} wait for Redis already")),
            Err(TrySendError::Closed(_)) => self.losses.add(1, || "the daemon stops".into()),
        }
    }
}

impl Publishing {
    /// Takes no more events, and publishes those that wait: within `limit`,
    /// and never for longer than a moment. Where Redis is away, they are lost
    /// at once.
    pub async fn stop(mut self, limit: Duration) {
        self.stop.send_replace(true);
        match tokio::time::timeout(limit.min(FAREWELL), &mut self.task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => error!(%error, "publishing events failed"),
            Err(_) => {
                self.task.abort();
                warn!("not all events were published in time");
            }
        }
        self.losses.tell();
    }
}
