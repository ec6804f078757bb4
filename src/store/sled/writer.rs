//! The one writer: a thread that takes operations in order, applies them in
//! groups, makes each group durable, and only then lets their answers go.
//!
//! A group is one atomic sled batch, one `flush` and one `fdatasync` of our
//! own. sled's flush alone does not survive a power cut: it calls
//! `sync_file_range`, which leaves the disk's cache and the file's metadata
//! out (sled issues 1351 and 1452).

mod importing;

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use tokio::sync::{oneshot, watch};

use self::importing::Import;
use super::group::{Group, Writes};
use super::session_cache::SessionCache;
use crate::crash_point::crash_point;
use crate::model::DeliveryId;
use crate::store::operations::outcomes::ForgetOutcomes;
use crate::store::operations::{Job, Pending};
use crate::store::{ImportBatch, Result, StoreError};

/// Most operations in one group: sled 0.34 was seen to hang with 2,000
/// transactions between two flushes, never with 1,000 or fewer.
pub(super) const MAX_GROUP: usize = 256;

/// Pause after which outcomes are removed without an operation to go with.
const FORGET_WHEN_IDLE: Duration = Duration::from_millis(200);

/// Room on the disk below which nothing is written. sled cannot go on after a
/// failed write, so it must not come to one; some segments' worth.
pub(super) const RESERVED_MIB: u64 = 64;

/// What comes to the writer.
enum Order {
    /// To be done now; somebody waits for it.
    Operation(Box<dyn Job>),
    /// To be done with the next group, or when there has been nothing to do
    /// for a while: nobody waits for it.
    Forget(Vec<DeliveryId>),
    /// Users to let in, in groups of their own.
    Import(Box<Import>),
}

/// The way to the writer, and what it tells about itself.
pub(super) struct Writer {
    /// Taken when the writer is to end.
    orders: Option<crossbeam_channel::Sender<Order>>,
    progress: Arc<Progress>,
    thread: Option<thread::JoinHandle<()>>,
}

/// What the writer has done so far, for readers and for the watchdog.
pub struct Progress {
    started: Instant,
    /// When the group under way began, in milliseconds since `started`, plus
    /// one; 0 while there is none.
    busy_since: AtomicU64,
    /// Number of the last group that readers may have seen applied.
    applied: AtomicU64,
    /// Number of the last group on disk.
    durable: watch::Sender<u64>,
    failure: OnceLock<String>,
}

impl Progress {
    fn new(commit: u64) -> Self {
        Self {
            started: Instant::now(),
            busy_since: AtomicU64::new(0),
            applied: AtomicU64::new(commit),
            durable: watch::Sender::new(commit),
            failure: OnceLock::new(),
        }
    }

    /// Why the process can only end, if so: the writer has failed, or has
    /// been at one group for longer than `limit`.
    pub fn trouble(&self, limit: Duration) -> Option<String> {
        if let Some(failure) = self.failure.get() {
            return Some(failure.clone());
        }
        let since = self.busy_since.load(Ordering::Acquire).checked_sub(1)?;
        let busy = self
            .started
            .elapsed()
            .saturating_sub(Duration::from_millis(since));
        (busy > limit).then(|| {
            format!(
                "a write to the database has taken {} s: the disk or the database hangs",
                busy.as_secs()
            )
        })
    }

    /// Waits until all that a reader can have seen up to now is on disk.
    pub(super) async fn wait_durable(&self) -> Result<()> {
        let seen = self.applied.load(Ordering::SeqCst);
        if *self.durable.borrow() >= seen {
            return Ok(());
        }
        self.durable
            .subscribe()
            .wait_for(|durable| *durable >= seen)
            .await
            .map(|_| ())
            .map_err(|_| StoreError::Stopped)
    }

    fn busy(&self, busy: bool) {
        let mark = if busy {
            u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
        } else {
            0
        };
        self.busy_since.store(mark, Ordering::Release);
    }
}

impl Writer {
    /// Starts the writer's thread.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(super) fn start(disk: Disk) -> std::io::Result<Self> {
        let (orders, queue) = crossbeam_channel::unbounded();
        let progress = Arc::new(Progress::new(disk.commit));
        let seen = Arc::clone(&progress);
        let thread = thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || run(disk, &queue, &seen))?;
        Ok(Self {
            orders: Some(orders),
            progress,
            thread: Some(thread),
        })
    }

    pub(super) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Hands an operation to the writer; its caller is answered when it is on disk.
    pub(super) fn submit(&self, job: Box<dyn Job>) -> Result<()> {
        self.order(Order::Operation(job))
    }

    /// Has the writer let users in; resolves when the last one is on disk.
    pub(super) async fn import(&self, batch: ImportBatch) -> Result<()> {
        let (reply, result) = oneshot::channel();
        self.order(Order::Import(Box::new(Import::new(batch, reply))))?;
        result.await.map_err(|_| StoreError::Stopped)?
    }

    /// Has outcomes removed some time.
    pub(super) fn forget_outcomes(&self, deliveries: Vec<DeliveryId>) {
        // A writer that has stopped leaves them to the next start.
        let _ = self.order(Order::Forget(deliveries));
    }

    fn order(&self, order: Order) -> Result<()> {
        let orders = self.orders.as_ref().ok_or(StoreError::Stopped)?;
        orders.send(order).map_err(|_| StoreError::Stopped)
    }
}

impl Drop for Writer {
    /// Lets the writer finish what it was given and waits for it. (sled's own
    /// threads may hold the file for a moment longer.)
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(Err(_)) = self.thread.take().map(thread::JoinHandle::join) {
            tracing::error!("the database writer had panicked");
        }
    }
}

fn run(mut disk: Disk, queue: &crossbeam_channel::Receiver<Order>, progress: &Progress) {
    /// However the thread ends while there is work: tell the watchdog.
    struct Obituary<'a>(&'a Progress);
    impl Drop for Obituary<'_> {
        fn drop(&mut self) {
            if thread::panicking() {
                let _ = self.0.failure.set("the database writer panicked".into());
            }
        }
    }
    let _obituary = Obituary(progress);

    let mut forgotten = Vec::new();
    loop {
        let first = if forgotten.is_empty() {
            queue.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            queue.recv_timeout(FORGET_WHEN_IDLE)
        };
        let (idle, ended) = match &first {
            Ok(_) => (false, false),
            Err(RecvTimeoutError::Timeout) => (true, false),
            Err(RecvTimeoutError::Disconnected) => (true, true),
        };
        let mut jobs = Vec::new();
        let mut imports = Vec::new();
        for order in first
            .into_iter()
            .chain(queue.try_iter().take(MAX_GROUP - 1))
        {
            match order {
                Order::Operation(job) => jobs.push(job),
                Order::Forget(deliveries) => forgotten.extend(deliveries),
                Order::Import(import) => imports.push(import),
            }
        }
        if !jobs.is_empty() || idle || forgotten.len() >= MAX_GROUP {
            let batch = forgotten.split_off(forgotten.len().saturating_sub(MAX_GROUP));
            progress.busy(true);
            if let Err(error) = commit_group(&mut disk, jobs, &batch, progress) {
                // The jobs are dropped unanswered: nobody can know now whether
                // they took effect. The next start reads what is on the disk.
                let _ = progress.failure.set(error);
                return;
            }
            progress.busy(false);
        }
        for import in imports {
            if let Err(error) = importing::import(&mut disk, *import, progress) {
                let _ = progress.failure.set(error);
                return;
            }
        }
        if ended {
            return;
        }
    }
}

fn commit_group(
    disk: &mut Disk,
    mut jobs: Vec<Box<dyn Job>>,
    forgotten: &[DeliveryId],
    progress: &Progress,
) -> std::result::Result<(), String> {
    if let Err(full) = disk.check_room() {
        for job in jobs {
            job.finish(Some(full.clone()));
        }
        return Ok(());
    }
    let tree = disk.tree.clone();
    let mut group = Group::new(&tree, disk.max_attempted);
    let (forget, _) = Pending::new(
        ForgetOutcomes {
            deliveries: forgotten.to_vec(),
        },
        None,
    );
    for job in std::iter::once(&mut { forget }).chain(&mut jobs) {
        match group.load(&job.reads()) {
            Ok(()) => job.apply(&mut group.rows),
            Err(error) => job.fail(error),
        }
    }
    let writes = group
        .into_writes()
        .map_err(|error| format!("encoding records failed: {error}"))?;
    if let Some(writes) = writes {
        write_group(disk, writes, progress)?;
    }
    for job in jobs {
        job.finish(None);
    }
    Ok(())
}

/// Makes a group durable and tells of it.
fn write_group(
    disk: &mut Disk,
    writes: Writes,
    progress: &Progress,
) -> std::result::Result<(), String> {
    disk.commit += 1;
    let (batch, stale) = writes.into_batch(disk.commit);
    crash_point("before commit");
    // Before the batch, so that a reader that sees it also sees this.
    progress.applied.store(disk.commit, Ordering::SeqCst);
    disk.write(batch)?;
    // After the flush, and before anybody hears of it.
    disk.sessions.forget(&stale);
    progress.durable.send_replace(disk.commit);
    Ok(())
}

/// The database as the writer holds it.
pub(super) struct Disk {
    pub(super) folder: PathBuf,
    pub(super) tree: ::sled::Tree,
    /// sled's data file, for the `fdatasync` that sled leaves out.
    pub(super) data_file: File,
    /// Holds the number of the last commit outside of sled, so that a
    /// database that comes back older, or empty, is noticed.
    pub(super) commit_file: File,
    pub(super) commit: u64,
    /// What readers know of sessions, kept exact here.
    pub(super) sessions: Arc<SessionCache>,
    /// Room that must be left, in MiB.
    pub(super) reserved_mib: u64,
    /// Most names of nobody whose failures are kept.
    pub(super) max_attempted: u64,
}

impl Disk {
    fn write(&self, batch: ::sled::Batch) -> std::result::Result<(), String> {
        self.tree
            .apply_batch(batch)
            .map_err(|e| format!("writing to the database failed: {e}"))?;
        crash_point("after commit");
        self.tree
            .flush()
            .map_err(|e| format!("flushing the database failed: {e}"))?;
        self.data_file
            .sync_data()
            .map_err(|e| format!("fdatasync of the database failed: {e}"))?;
        crash_point("after flush");
        // Without a sync of its own: written later than the database, it can
        // only be older, which is what the comparison allows.
        self.commit_file
            .write_all_at(super::commit_line(self.commit).as_bytes(), 0)
            .map_err(|e| format!("writing the number of the last commit failed: {e}"))
    }

    fn check_room(&self) -> Result<()> {
        // An unreadable figure is no reason to refuse work: a write that then
        // fails is still noticed.
        let Ok(fs) = rustix::fs::statvfs(&self.folder) else {
            return Ok(());
        };
        let free_mib = fs.f_bavail.saturating_mul(fs.f_frsize) >> 20;
        if free_mib >= self.reserved_mib {
            return Ok(());
        }
        Err(StoreError::DiskFull {
            path: self.folder.clone(),
            free_mib,
            needed_mib: self.reserved_mib,
        })
    }
}

#[cfg(test)]
mod tests;
