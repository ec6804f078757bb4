//! Runs fetched messages and passes their dispositions to the acker.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::yield_now;

use super::budget::Budget;
use super::crash_journal::{BATCHES, SoloRun};
use super::delivery::{Batch, Delivery, ProcessingList};
use super::keys::BatchId;
use super::staging::stage_if_long;
use super::{CrashJournal, Disposition, Handler, JournalEntry, Settings};
use crate::model::DeliveryId;

/// Bytes that a message in flight takes besides its own: its decoded form and the future that runs
/// it.
const MESSAGE_OVERHEAD: usize = 1 << 10;

/// Bytes from which decoding a message delays others noticeably.
const LONG: usize = 64 << 10;

/// A delivery whose run ended, and its disposition.
pub(super) type Completed = (Delivery, Disposition);

/// The run of a message.
type Run = Pin<Box<dyn Future<Output = Completed> + Send>>;

/// Allows its holder to run the fast phase of a batch.
pub(super) type BatchPermit = Option<OwnedSemaphorePermit>;

/// Runs messages. Dropping the last clone ends the acker.
#[derive(Clone)]
pub(super) struct BatchExecutor {
    settings: Arc<Settings>,
    pub(super) handler: Arc<dyn Handler>,
    pub(super) journal: Arc<CrashJournal>,
    pub(super) budget: Arc<Budget>,
    batch_permits: Arc<Semaphore>,
    completed: mpsc::UnboundedSender<Vec<Completed>>,
    /// Number of processing lists so far.
    lists: Arc<AtomicU64>,
}

impl BatchExecutor {
    pub(super) fn new(
        settings: Arc<Settings>,
        handler: Arc<dyn Handler>,
        journal: Arc<CrashJournal>,
        budget: Arc<Budget>,
        completed: mpsc::UnboundedSender<Vec<Completed>>,
    ) -> Self {
        Self {
            settings,
            handler,
            journal,
            budget,
            batch_permits: Arc::new(Semaphore::new(BATCHES)),
            completed,
            lists: Arc::default(),
        }
    }

    /// Returns a processing list with this number of entries, of which `open` are not acknowledged.
    pub(super) fn list(&self, name: String, entries: usize, open: usize) -> Arc<ProcessingList> {
        Arc::new(ProcessingList {
            name,
            entries,
            open: AtomicUsize::new(open),
            order: self.lists.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// Makes a batch of fetched messages, which are in flight from now on.
    pub(super) fn batch(
        &self,
        list: &Arc<ProcessingList>,
        messages: impl IntoIterator<Item = (DeliveryId, Vec<u8>)>,
        redelivered: bool,
    ) -> Batch {
        let admit = |(id, message): (DeliveryId, Vec<u8>)| {
            let list = Arc::clone(list);
            let delivery = self.delivery(list, id, redelivered, message.len());
            (delivery, message)
        };
        messages.into_iter().map(admit).collect()
    }

    fn delivery(
        &self,
        list: Arc<ProcessingList>,
        id: DeliveryId,
        redelivered: bool,
        bytes: usize,
    ) -> Delivery {
        Delivery {
            list,
            bytes,
            permit: Some(self.budget.permit(bytes + MESSAGE_OVERHEAD)),
            ..Delivery::new(id, redelivered)
        }
    }

    /// Returns the delivery of a message that an earlier process left and that is acknowledged on
    /// its own. The number of other entries is unknown: the list never counts as complete.
    pub(super) fn single_delivery(&self, id: DeliveryId, bytes: usize) -> Delivery {
        let name = self.settings.keys.processing_list(BatchId::of(&id));
        let list = self.list(name, usize::MAX, usize::MAX);
        self.delivery(list, id, true, bytes)
    }

    /// Waits until one more batch may run. Few batches are in their fast phase at a time, so that
    /// the crash journal names every request that may have ended the process.
    pub(super) async fn batch_permit(&self) -> BatchPermit {
        // The semaphore is never closed. Without a permit the batch would only run unrecorded.
        let permits = Arc::clone(&self.batch_permits);
        permits.acquire_owned().await.ok()
    }

    /// Runs the fast phase of a batch: every message until it waits for the first time, which for
    /// look-ups is their end. Messages that wait for the disk or for a turn go on in a task.
    pub(super) async fn run(&self, batch: Batch, permit: BatchPermit) {
        let Some((first, _)) = batch.first() else {
            return;
        };
        let entry = self.journal.begin_batch(BatchId::of(&first.id));
        let (fast_phase, all_left) = mpsc::channel(1);
        let mut completed = Vec::with_capacity(batch.len());
        let waiting = FuturesUnordered::new();
        for (mut delivery, message) in batch {
            delivery.fast_phase = Some(fast_phase.clone());
            let is_long = message.len() >= LONG;
            let mut run = self.start(delivery, message);
            match poll_fn(|context| Poll::Ready(run.as_mut().poll(context))).await {
                Poll::Ready(result) => completed.push(result),
                Poll::Pending => waiting.push(run),
            }
            if is_long {
                // Decoding took a while: replies that are ready go out before the next message runs.
                self.complete(std::mem::take(&mut completed));
                yield_now().await;
            }
        }
        drop(fast_phase);
        if !waiting.is_empty() {
            let executor = self.clone();
            let held = (entry, permit);
            tokio::spawn(async move { executor.finish(waiting, all_left, held).await });
        }
        self.complete(completed);
        // The acker sends these replies before the next fetch.
        yield_now().await;
    }

    /// Runs the messages that had to wait. Drops `held` at the end of the fast phase: by then each
    /// message has ended or waits for a turn.
    async fn finish(
        &self,
        mut waiting: FuturesUnordered<Run>,
        mut all_left: mpsc::Receiver<()>,
        held: (Option<JournalEntry>, BatchPermit),
    ) {
        // Nothing is ever sent: `recv` ends when every delivery has dropped its sender.
        let mut all_left = pin!(all_left.recv());
        while !waiting.is_empty() {
            tokio::select! {
                biased;
                Some(result) = waiting.next() => {
                    // Messages that waited for the same flush are acknowledged together.
                    let others = std::iter::from_fn(|| waiting.next().now_or_never().flatten());
                    self.complete(std::iter::once(result).chain(others).collect());
                }
                _ = &mut all_left => break,
            }
        }
        drop(held);
        for run in waiting {
            self.spawn(run);
        }
    }

    fn start(&self, mut delivery: Delivery, message: Vec<u8>) -> Run {
        let handler = Arc::clone(&self.handler);
        let settings = Arc::clone(&self.settings);
        Box::pin(async move {
            // The handler catches panics of its parts. This catches the rest, because other
            // messages run in the same task.
            let run = AssertUnwindSafe(handler.handle(&mut delivery, message));
            let mut disposition = run.catch_unwind().await.unwrap_or(Disposition::Unresolved);
            // The message's bytes are gone. Other limits bound long replies.
            delivery.end_run(MESSAGE_OVERHEAD);
            stage_if_long(&settings, &delivery.id, &mut disposition).await;
            (delivery, disposition)
        })
    }

    fn spawn(&self, run: Run) {
        let executor = self.clone();
        tokio::spawn(async move { executor.complete(vec![run.await]) });
    }

    /// Passes completed deliveries to the acker.
    pub(super) fn complete(&self, completed: Vec<Completed>) {
        if !completed.is_empty() {
            // The acker outlives every executor.
            let _ = self.completed.send(completed);
        }
    }

    /// Runs one message of a processing list while nothing else is in flight. The solo run is its
    /// only entry in the journal.
    pub(super) fn run_solo(&self, solo_run: SoloRun, message: Vec<u8>) {
        let mut delivery = self.single_delivery(solo_run.suspect.id, message.len());
        delivery.solo_run = Some(solo_run);
        self.spawn(self.start(delivery, message));
    }
}
