//! Starts the work on messages, and knows what is started.

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

use super::budget::{Budget, InFlightPermit};
use super::crash_journal::{BATCHES, SoloRun};
use super::staging::stage_if_long;
use super::{CrashJournal, Disposition, Handler, JournalEntry, Settings};
use crate::model::DeliveryId;

/// Bytes that a message in flight takes besides its own: what is decoded of it, and
/// the future that works on it.
const MESSAGE_OVERHEAD: usize = 1 << 10;

/// Bytes from which reading a message takes so long that others notice.
const LONG: usize = 64 << 10;

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
    /// Its share of what may be in flight; it is with the handler while that
    /// works on the message.
    claim: Option<InFlightPermit>,
}

impl Delivery {
    /// Says that the reply waits for a right: nothing else waits for it.
    pub(super) fn park(&mut self) {
        if let Some(claim) = &mut self.claim {
            claim.park();
        }
    }
}

/// What has become of a message.
pub(super) type Done = (Delivery, Disposition);

/// The work on a message.
type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

/// The messages of one processing list.
pub(super) struct Messages {
    pub(super) batch: Arc<Batch>,
    /// Those that are to be started.
    pub(super) open: Vec<(DeliveryId, Vec<u8>)>,
}

/// Messages that have their share of what may be in flight, to be worked on.
pub(super) struct Claimed {
    entries: Vec<(Delivery, Vec<u8>)>,
    redelivered: bool,
}

impl Claimed {
    /// How many.
    pub(super) const fn count(&self) -> usize {
        self.entries.len()
    }
}

/// A message as its handler gets it.
pub struct DeliveryContext {
    /// Which delivery it is.
    pub id: DeliveryId,
    /// Whether an earlier process may have worked on it: it may have had its
    /// effect.
    pub redelivered: bool,
    /// Bytes of the message, or of what is still held of it.
    bytes: usize,
    claim: Option<InFlightPermit>,
    fast: Option<mpsc::Sender<()>>,
    lone: Option<SoloRun>,
}

impl DeliveryContext {
    /// A message that is not part of any batch.
    #[must_use]
    pub const fn new(id: DeliveryId, redelivered: bool) -> Self {
        Self {
            id,
            redelivered,
            bytes: 0,
            claim: None,
            fast: None,
            lone: None,
        }
    }

    /// The message of a delivery.
    fn of(delivery: &mut Delivery, redelivered: bool, message: &[u8]) -> Self {
        Self {
            bytes: message.len(),
            claim: delivery.claim.take(),
            ..Self::new(delivery.id, redelivered)
        }
    }

    /// Bytes of the message, or of what is still held of it.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Says that of the message only this many bytes are still held: it was read.
    pub const fn holds(&mut self, bytes: usize) {
        self.bytes = bytes;
    }

    /// Says that the message could be read: whatever it does from now on, it
    /// can be answered.
    pub fn was_read(&mut self) {
        if let Some(lone) = self.lone.take() {
            lone.was_read();
        }
    }

    /// Says that the message waits for a turn: the next batch need not wait for
    /// it, and it takes no room from those that could be answered at once.
    pub fn leave_fast(&mut self) {
        self.fast = None;
        if let Some(claim) = &mut self.claim {
            claim.give_back_room();
        }
    }
}

/// The right to work on a batch.
pub(super) struct BatchPermit(
    #[expect(dead_code, reason = "held, not read")] Option<OwnedSemaphorePermit>,
);

/// Starts work. Dropping the last one ends the acker.
#[derive(Clone)]
pub(super) struct BatchExecutor {
    settings: Arc<Settings>,
    handler: Arc<dyn Handler>,
    running: Arc<CrashJournal>,
    budget: Arc<Budget>,
    places: Arc<Semaphore>,
    done: mpsc::UnboundedSender<Vec<Done>>,
    started: Arc<AtomicU64>,
}

impl BatchExecutor {
    pub(super) fn new(
        settings: Arc<Settings>,
        handler: Arc<dyn Handler>,
        running: Arc<CrashJournal>,
        budget: Arc<Budget>,
        done: mpsc::UnboundedSender<Vec<Done>>,
    ) -> Self {
        Self {
            settings,
            handler,
            running,
            budget,
            places: Arc::new(Semaphore::new(BATCHES)),
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

    /// Takes room for messages of a list.
    pub(super) fn claim(&self, messages: Messages, redelivered: bool) -> Claimed {
        let claim = |(id, message): (DeliveryId, Vec<u8>)| {
            let delivery = Delivery {
                batch: Arc::clone(&messages.batch),
                id,
                claim: Some(self.budget.claim(message.len() + MESSAGE_OVERHEAD)),
            };
            (delivery, message)
        };
        Claimed {
            entries: messages.open.into_iter().map(claim).collect(),
            redelivered,
        }
    }

    /// Waits until a batch more may be worked on. There are never more than a
    /// few of which the fast work is under way, so that the notes of them name
    /// all that may have been the end of the process.
    pub(super) async fn place(&self) -> BatchPermit {
        // Never closed: without a place nothing would be noted, which is all.
        BatchPermit(Arc::clone(&self.places).acquire_owned().await.ok())
    }

    /// Works on messages of a list as far as it goes without waiting, which for
    /// look-ups is to the end. What waits for the disk, or for its turn, goes on
    /// by itself.
    pub(super) async fn work(&self, claimed: Claimed, place: BatchPermit) {
        let Some((first, _)) = claimed.entries.first() else {
            return;
        };
        let note = self.running.begin_batch(first.id.boot, first.id.batch);
        let (fast, all_left) = mpsc::channel(1);
        let mut done = Vec::with_capacity(claimed.entries.len());
        let waiting = FuturesUnordered::new();
        for (mut delivery, message) in claimed.entries {
            let mut context = DeliveryContext::of(&mut delivery, claimed.redelivered, &message);
            context.fast = Some(fast.clone());
            let is_long = message.len() >= LONG;
            let mut work = self.start(delivery, context, message);
            match poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await {
                Poll::Ready(finished) => done.push(finished),
                Poll::Pending => waiting.push(work),
            }
            if is_long {
                // Reading it took a while: what is done goes before the next one.
                self.settle(std::mem::take(&mut done));
                yield_now().await;
            }
        }
        drop(fast);
        if !waiting.is_empty() {
            let executor = self.clone();
            let held = (note, place);
            tokio::spawn(async move { executor.finish(waiting, all_left, held).await });
        }
        self.settle(done);
        // Whoever waits for these goes before the next take.
        yield_now().await;
    }

    /// Works on what had to wait. `held` is let go when the fast work among it
    /// is over: each is done, or waits for its turn.
    async fn finish(
        &self,
        mut waiting: FuturesUnordered<Work>,
        mut all_left: mpsc::Receiver<()>,
        held: (Option<JournalEntry>, BatchPermit),
    ) {
        // Nobody sends; it ends when all have left.
        let mut all_left = pin!(all_left.recv());
        while !waiting.is_empty() {
            tokio::select! {
                biased;
                Some(finished) = waiting.next() => {
                    // Those that waited for the same flush go together.
                    let others = std::iter::from_fn(|| waiting.next().now_or_never().flatten());
                    self.settle(std::iter::once(finished).chain(others).collect());
                }
                _ = &mut all_left => break,
            }
        }
        drop(held);
        for work in waiting {
            self.spawn(work);
        }
    }

    fn start(
        &self,
        mut delivery: Delivery,
        mut context: DeliveryContext,
        message: Vec<u8>,
    ) -> Work {
        let handler = Arc::clone(&self.handler);
        let settings = Arc::clone(&self.settings);
        Box::pin(async move {
            // The handler has nets of its own. Behind them there is this, because
            // the work of others goes on in the same task.
            let work = AssertUnwindSafe(handler.handle(&mut context, message));
            let disposition = work.catch_unwind().await.unwrap_or(Disposition::Unresolved);
            delivery.claim = context.claim.take();
            drop(context);
            // Its message is gone. Long replies are bounded by other means.
            if let Some(claim) = &mut delivery.claim {
                claim.hold(MESSAGE_OVERHEAD);
            }
            let disposition = stage_if_long(&settings, &delivery.id, disposition).await;
            (delivery, disposition)
        })
    }

    fn spawn(&self, work: Work) {
        let executor = self.clone();
        tokio::spawn(async move { executor.settle(vec![work.await]) });
    }

    fn settle(&self, done: Vec<Done>) {
        if !done.is_empty() {
            // The acker outlives every executor.
            let _ = self.done.send(done);
        }
    }

    /// Works on one message of a list with nothing else under way. Its own
    /// note is all there is: its neighbours have not started.
    pub(super) fn work_alone(&self, list: String, lone: SoloRun, message: Vec<u8>) {
        let mut delivery = Delivery {
            batch: self.part_of(list),
            id: lone.id(),
            claim: Some(self.budget.claim(message.len() + MESSAGE_OVERHEAD)),
        };
        let mut context = DeliveryContext::of(&mut delivery, true, &message);
        context.lone = Some(lone);
        self.spawn(self.start(delivery, context, message));
    }

    /// A list of which one entry is settled on its own, whatever others there
    /// are: it is never taken for finished.
    fn part_of(&self, list: String) -> Arc<Batch> {
        self.batch(list, usize::MAX, usize::MAX)
    }

    /// A processing list with so many entries, of which so many are open.
    pub(super) fn batch(&self, list: String, entries: usize, open: usize) -> Arc<Batch> {
        Arc::new(Batch {
            list,
            entries,
            open: AtomicUsize::new(open),
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
            claim: Some(self.budget.claim(size)),
        };
        self.settle(vec![(delivery, disposition)]);
    }
}
