//! Guarantees of the writer to readers and to the watchdog, and its failures.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use chrono::DateTime;
use tempfile::TempDir;

use super::*;
use crate::model::{PasswordRecord, User};
use crate::store::Precondition;
use crate::store::operations::Operation;
use crate::store::operations::{CanWrite, CreateUser};
use crate::store::rows::{Reads, Rows};
use crate::store::sled::{lookup::Lookup as _, open};

type Answer = oneshot::Receiver<Result<User>>;

/// Polls a future once.
fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

fn disk() -> (TempDir, Disk) {
    let folder = tempfile::tempdir().unwrap();
    let disk = open::open(folder.path(), Bounds::default()).unwrap();
    (folder, disk)
}

/// Returns a job that creates the first user, or conflicts if a user exists.
fn job() -> (Box<dyn Job>, Answer) {
    let create = CreateUser {
        username: "first".into(),
        created_at: DateTime::UNIX_EPOCH,
        password: PasswordRecord::new("record".into()),
        precondition: Precondition::NoUsers,
    };
    Pending::job(create, None)
}

/// Submits a job to the writer and waits for its result.
fn commit(writer: &Writer) -> Result<User> {
    let (job, answer) = job();
    writer.submit(job)?;
    wait(answer).unwrap_or(Err(StoreError::Stopped))
}

struct PanickingOperation;

impl Operation for PanickingOperation {
    type Output = ();

    fn reads(&self) -> Reads {
        Reads::default()
    }

    fn apply(&self, _: &mut Rows) -> Result<()> {
        panic!("on purpose")
    }
}

#[test]
fn a_reader_waits_only_for_groups_that_it_may_have_seen() {
    let progress = Progress::new(5);
    assert!(poll(pin!(progress.wait_durable())).is_ready());

    progress.applied.store(6, Ordering::SeqCst);
    let mut up_to_6 = pin!(progress.wait_durable());
    assert!(poll(up_to_6.as_mut()).is_pending());
    progress.applied.store(7, Ordering::SeqCst);
    let mut up_to_7 = pin!(progress.wait_durable());
    assert!(poll(up_to_7.as_mut()).is_pending());

    progress.durable.send_replace(6);
    assert!(matches!(poll(up_to_6), Poll::Ready(Ok(()))));
    assert!(poll(up_to_7.as_mut()).is_pending(), "7 is not on disk");
    progress.durable.send_replace(7);
    assert!(matches!(poll(up_to_7), Poll::Ready(Ok(()))));
}

#[test]
fn a_group_is_one_commit_and_later_operations_see_earlier_ones() {
    let (folder, mut disk) = disk();
    let progress = Progress::new(disk.commit);
    let (jobs, answers): (Vec<_>, Vec<_>) = (0..3).map(|_| job()).unzip();
    commit_group(&mut disk, jobs, &[], &progress).unwrap();
    let is_created: Vec<_> = answers
        .into_iter()
        .map(|mut answer| answer.try_recv().unwrap().is_ok())
        .collect();
    assert_eq!(is_created, [true, false, false]);
    assert_eq!(disk.commit, 1);
    assert_eq!(progress.applied.load(Ordering::SeqCst), 1);
    assert_eq!(*progress.durable.borrow(), 1);
    let line = std::fs::read_to_string(folder.path().join("commit")).unwrap();
    assert_eq!(line, "00000000000000000001\n");
}

#[test]
fn a_group_that_changes_nothing_is_not_written() {
    let (_folder, mut disk) = disk();
    let progress = Progress::new(disk.commit);
    commit_group(&mut disk, vec![job().0], &[], &progress).unwrap();
    // From here on, a write would fail.
    disk.data_file = File::open("/dev/null").unwrap();
    let (again, mut answer) = job();
    commit_group(&mut disk, vec![again], &[], &progress).unwrap();
    assert!(matches!(
        answer.try_recv().unwrap(),
        Err(StoreError::Conflict)
    ));
    assert_eq!((disk.commit, *progress.durable.borrow()), (1, 1));
}

#[test]
fn a_group_that_cannot_be_synced_is_neither_answered_nor_visible() {
    let (_folder, mut disk) = disk();
    // fdatasync fails with EINVAL on this device.
    disk.data_file = File::open("/dev/null").unwrap();
    let mut writer = Writer::start(disk).unwrap();
    let stopped = commit(&writer);
    assert!(matches!(stopped, Err(StoreError::Stopped)));
    // The thread sets the failure last.
    writer.thread.take().unwrap().join().unwrap();

    let progress = Arc::clone(&writer.progress);
    assert!(poll(pin!(progress.wait_durable())).is_pending());
    let error = progress.fatal_error(Duration::MAX).unwrap();
    assert!(error.contains("fdatasync"), "{error}");
    let later = commit(&writer);
    assert!(matches!(later, Err(StoreError::Stopped)));
}

#[test]
fn a_commit_number_that_cannot_be_written_fails_the_group() {
    let (_folder, mut disk) = disk();
    disk.commit_file = File::open("/dev/null").unwrap();
    let progress = Progress::new(disk.commit);
    let (job, mut answer) = job();
    let error = commit_group(&mut disk, vec![job], &[], &progress).unwrap_err();
    assert!(error.contains("last commit"), "{error}");
    assert!(answer.try_recv().is_err(), "dropped unanswered");
    assert_eq!(*progress.durable.borrow(), 0);
}

#[test]
fn a_full_disk_fails_the_operation_and_the_writer_continues() {
    let (_folder, mut disk) = disk();
    let progress = Progress::new(disk.commit);
    let reserved_mib = std::mem::replace(&mut disk.bounds.reserved_mib, u64::MAX);
    let (refused, mut answer) = job();
    commit_group(&mut disk, vec![refused], &[], &progress).unwrap();
    let error = answer.try_recv().unwrap().unwrap_err();
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
    assert_eq!(disk.tree.counters().unwrap().users, 0);
    // `CanWrite` fails too, although it writes nothing.
    let (can_write, mut result) = Pending::job(CanWrite, None);
    commit_group(&mut disk, vec![can_write], &[], &progress).unwrap();
    assert!(result.try_recv().unwrap().is_err());

    disk.bounds.reserved_mib = reserved_mib;
    let (job, mut answer) = job();
    commit_group(&mut disk, vec![job], &[], &progress).unwrap();
    assert_eq!(answer.try_recv().unwrap().unwrap().id, 1);
}

#[test]
fn an_operation_that_panics_is_fatal_and_gets_no_answer() {
    let (_folder, disk) = disk();
    let mut writer = Writer::start(disk).unwrap();
    let (job, answer) = Pending::job(PanickingOperation, None);
    writer.submit(job).unwrap();
    assert!(wait(answer).is_err());
    // The thread sets the failure last.
    writer.thread.take().unwrap().join().unwrap_err();
    let error = writer.progress.fatal_error(Duration::MAX);
    assert_eq!(error.as_deref(), Some("the database writer panicked"));
}

#[test]
fn a_group_that_takes_too_long_is_fatal() {
    let progress = Progress::new(0);
    assert_eq!(progress.fatal_error(Duration::ZERO), None);
    progress.set_busy(true);
    assert_eq!(progress.fatal_error(Duration::MAX), None);
    let error = progress.fatal_error(Duration::ZERO).unwrap();
    assert!(error.contains("hangs"), "{error}");
    progress.set_busy(false);
    assert_eq!(progress.fatal_error(Duration::ZERO), None);
}

#[test]
fn an_operation_takes_effect_although_its_caller_stopped_waiting() {
    let (_folder, disk) = disk();
    let writer = Writer::start(disk).unwrap();
    let (job, answer) = job();
    writer.submit(job).unwrap();
    drop(answer);
    let again = commit(&writer);
    assert!(matches!(again, Err(StoreError::Conflict)));
}
