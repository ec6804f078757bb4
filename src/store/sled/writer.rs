//! Writer thread: applies operations in order and in groups, makes each group durable, and only
//! then sends the results.
//!
//! A group has at most 256 operations. It is one atomic sled batch, one `flush` and one separate
//! `fdatasync`. sled's flush alone does not protect against a power cut: it calls
//! `sync_file_range`, which flushes neither the disk's cache nor the file's metadata (sled issues
//! 1351 and 1452).
//!
//! # Decisions
//!
//! The writer assigns ids, and checks each operation's precondition again: a password record with
//! its generation, a session, or that no user exists. Times, hashes and tokens are made before.
//!
//! A reader may see a group that is applied and not yet on disk. It waits for that flush before it
//! returns ([`Progress::wait_durable`]).
//!
//! # Failed writes
//!
//! When a write fails, the writer stops without answering the operations of the group, because it
//! is unknown whether they took effect. When a write takes longer than `write_timeout`, the
//! watchdog notices. Both end the process. The next start reads what is on disk, and the requests
//! are still in their processing lists.

pub(super) mod import;

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use tokio::sync::{oneshot, watch};

use super::Bounds;
use super::files::free_bytes;
use super::group::{Group, Writes};
use super::session_cache::SessionCache;
use crate::crash_point::crash_point;
use crate::model::DeliveryId;
use crate::store::operations::{ForgetOutcomes, Job, Pending};
use crate::store::{ImportBatch, Result, StoreError};

/// Maximum number of commands in one group. sled 0.34 was seen to hang with 2,000 transactions
/// between two flushes, but never with 1,000 or fewer.
pub(super) const MAX_GROUP: usize = 256;

/// Idle time after which outcomes are removed without waiting for the next operation.
const IDLE_REMOVAL_DELAY: Duration = Duration::from_millis(200);

/// Minimum free space for a write, several segments. sled cannot continue after a failed write.
pub(super) const RESERVED_MIB: u64 = 64;

/// Command to the writer thread.
enum Command {
    /// Runs an operation in the next group.
    Operation(Box<dyn Job>),
    /// Removes outcomes with the next group or after an idle time. It has no waiting caller.
    ForgetOutcomes(Vec<DeliveryId>),
    /// Imports users, in groups of their own.
    Import(Box<ImportBatch>, oneshot::Sender<Result<()>>),
}

/// Handle of the writer thread.
pub(super) struct Writer {
    /// `None` once the writer must stop.
    commands: Option<crossbeam_channel::Sender<Command>>,
    pub(super) progress: Arc<Progress>,
    thread: Option<thread::JoinHandle<()>>,
}

/// Progress of the writer, for readers and for the watchdog.
pub struct Progress {
    started: Instant,
    /// Start of the current group in milliseconds since `started`, plus one. 0 without a current
    /// group.
    busy_since: AtomicU64,
    /// Number of the last group that readers may have seen.
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

    /// Returns the reason to end the process, if the writer has failed or the current group has
    /// taken longer than `limit`.
    pub fn fatal_error(&self, limit: Duration) -> Option<String> {
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

    /// Waits until every group that a reader may have seen so far is on disk.
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

    fn set_busy(&self, busy: bool) {
        let since = if busy {
            u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
        } else {
            0
        };
        self.busy_since.store(since, Ordering::Release);
    }
}

impl Writer {
    /// Starts the writer thread.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub(super) fn start(disk: Disk) -> std::io::Result<Self> {
        let (commands, queue) = crossbeam_channel::unbounded();
        let progress = Arc::new(Progress::new(disk.commit));
        let shared = Arc::clone(&progress);
        let thread = thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || {
                // Dropped last: closing its files may hang where a write has failed.
                let mut disk = disk;
                let _panic_guard = PanicGuard(&shared);
                if let Err(error) = run(&mut disk, &queue, &shared) {
                    let _ = shared.failure.set(error);
                }
            })?;
        Ok(Self {
            commands: Some(commands),
            progress,
            thread: Some(thread),
        })
    }

    /// Submits an operation. Its caller gets the result once the operation is on disk.
    pub(super) fn submit(&self, job: Box<dyn Job>) -> Result<()> {
        self.send(Command::Operation(job))
    }

    /// Imports users. Resolves once the last part is on disk.
    pub(super) async fn import(&self, batch: ImportBatch) -> Result<()> {
        let (reply, result) = oneshot::channel();
        self.send(Command::Import(Box::new(batch), reply))?;
        result.await.map_err(|_| StoreError::Stopped)?
    }

    /// Removes outcomes eventually.
    pub(super) fn forget_outcomes(&self, deliveries: Vec<DeliveryId>) {
        // If the writer has stopped, the next start removes them.
        let _ = self.send(Command::ForgetOutcomes(deliveries));
    }

    fn send(&self, command: Command) -> Result<()> {
        let commands = self.commands.as_ref().ok_or(StoreError::Stopped)?;
        commands.send(command).map_err(|_| StoreError::Stopped)
    }
}

impl Drop for Writer {
    /// Waits until the writer has run all its commands. (sled's threads may keep the file open
    /// slightly longer.)
    fn drop(&mut self) {
        drop(self.commands.take());
        if let Some(Err(_)) = self.thread.take().map(thread::JoinHandle::join) {
            tracing::error!("the database writer panicked");
        }
    }
}

/// Reports a panic of the thread to the watchdog.
struct PanicGuard<'a>(&'a Progress);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.0.failure.set("the database writer panicked".into());
        }
    }
}

/// Runs commands until all senders are dropped or a write fails.
fn run(
    disk: &mut Disk,
    queue: &crossbeam_channel::Receiver<Command>,
    progress: &Progress,
) -> std::result::Result<(), String> {
    let mut forgotten = Vec::new();
    loop {
        let first = if forgotten.is_empty() {
            queue.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            queue.recv_timeout(IDLE_REMOVAL_DELAY)
        };
        let idle = first.is_err();
        let ended = matches!(first, Err(RecvTimeoutError::Disconnected));
        let mut jobs = Vec::new();
        let mut imports = Vec::new();
        for command in first
            .into_iter()
            .chain(queue.try_iter().take(MAX_GROUP - 1))
        {
            match command {
                Command::Operation(job) => jobs.push(job),
                Command::ForgetOutcomes(deliveries) => forgotten.extend(deliveries),
                Command::Import(batch, reply) => imports.push((batch, reply)),
            }
        }
        if !jobs.is_empty() || idle || forgotten.len() >= MAX_GROUP {
            let batch = forgotten.split_off(forgotten.len().saturating_sub(MAX_GROUP));
            progress.set_busy(true);
            // An error drops the jobs without a result, because it is unknown whether they took
            // effect. The next start reads the disk.
            commit_group(disk, jobs, &batch, progress)?;
            progress.set_busy(false);
        }
        for (batch, reply) in imports {
            let result = import::import(disk, *batch, progress)?;
            // The caller may have stopped waiting. The effect stays.
            let _ = reply.send(result);
        }
        if ended {
            return Ok(());
        }
    }
}

fn commit_group(
    disk: &mut Disk,
    mut jobs: Vec<Box<dyn Job>>,
    forgotten: &[DeliveryId],
    progress: &Progress,
) -> std::result::Result<(), String> {
    if let Err(full) = disk.check_free_space() {
        for job in jobs {
            job.finish(Some(full.clone()));
        }
        return Ok(());
    }
    let tree = disk.tree.clone();
    let mut group = Group::new(&tree, disk.bounds.max_attempted);
    let (forget, _) = Pending::job(
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

/// Makes a group durable, then invalidates cached sessions and wakes readers.
fn write_group(
    disk: &mut Disk,
    writes: Writes,
    progress: &Progress,
) -> std::result::Result<(), String> {
    disk.commit += 1;
    let (batch, stale) = writes.into_batch(disk.commit);
    crash_point("before commit");
    // Before the batch, so that a reader that sees the batch waits for this commit.
    progress.applied.store(disk.commit, Ordering::SeqCst);
    disk.write(batch)?;
    // After the flush, and before readers and callers are answered.
    disk.sessions.invalidate(&stale);
    progress.durable.send_replace(disk.commit);
    Ok(())
}

/// Open database of the writer.
pub(super) struct Disk {
    pub(super) folder: PathBuf,
    pub(super) tree: ::sled::Tree,
    /// sled's data file, for the `fdatasync` that sled omits.
    pub(super) data_file: File,
    /// File with the number of the last commit, outside of sled, so that the next start detects an
    /// older or empty database.
    pub(super) commit_file: File,
    pub(super) commit: u64,
    /// Cache of sessions, which the writer invalidates.
    pub(super) sessions: Arc<SessionCache>,
    pub(super) bounds: Bounds,
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
        // No sync is needed: the file is written after the database, so after a power cut it can
        // only be older, which the check at start allows.
        self.commit_file
            .write_all_at(super::commit_line(self.commit).as_bytes(), 0)
            .map_err(|e| format!("writing the number of the last commit failed: {e}"))
    }

    fn check_free_space(&self) -> Result<()> {
        let needed_mib = self.bounds.reserved_mib;
        let free_mib = free_bytes(&self.folder) >> 20;
        if free_mib >= needed_mib {
            return Ok(());
        }
        Err(StoreError::DiskFull {
            path: self.folder.clone(),
            free_mib,
            needed_mib,
        })
    }
}

#[cfg(test)]
mod tests;
