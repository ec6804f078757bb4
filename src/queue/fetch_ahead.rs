//! Fetches the next batch while the present one runs.
//!
//! A batch of look-ups runs within the time of one round trip to Redis, so that a daemon that
//! fetches and runs in turn waits half of the time. A batch of few messages gains nothing from it:
//! its replies would wait for the answer to the fetch (docs/explanation/performance.md).
//!
//! Messages that were received run in any case, whatever becomes of the connection that they came
//! on. The process that received them never runs them again.

use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use tokio::task::yield_now;

use super::delivery::Batch;
use super::fetcher::Fetcher;

/// Minimum number of messages in a batch for the next fetch to go ahead of its run, where the queue
/// was emptied.
const AHEAD_FROM: usize = 8;

impl Fetcher {
    /// Runs a batch, and returns the next one if it was fetched meanwhile.
    pub(super) async fn run_and_fetch_ahead(
        &mut self,
        connection: &mut MultiplexedConnection,
        batch: Batch,
    ) -> RedisResult<Option<Batch>> {
        let executor = self.executor.clone();
        let is_large = !self.blocks() || batch.len() >= AHEAD_FROM;
        let (permit, renewed) = self.renew_during(connection, executor.batch_permit()).await;
        let capacity = executor.budget().left();
        let goes_ahead = is_large
            && renewed.is_ok()
            && !capacity.is_none()
            && !self.needs_connection()
            && !self.is_stopped();
        if !goes_ahead {
            executor.run(batch, permit).await;
            return renewed.map(|()| None);
        }
        let (fetched, ()) = tokio::join!(self.fetch(connection, capacity), async {
            // The fetch is sent before the batch runs.
            yield_now().await;
            executor.run(batch, permit).await;
        });
        fetched
    }
}
