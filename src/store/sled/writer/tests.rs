//! What the writer promises to readers, to the watchdog and when it fails.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use chrono::DateTime;
use tempfile::TempDir;

use super::*;
use crate::model::{PasswordRecord, User};
use crate::store::operations::Operation;
use crate::store::operations::outcomes::CanWrite;
use crate::store::operations::users::CreateUser;
use crate::store::rows::{Reads, Rows};
use crate::store::sled::{lookup::Lookup as _, open};
use crate::store::{NewUser, Precondition};

type Answer = oneshot::Receiver<Result<User>>;

/// One look at a future.
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
    let disk = open::open(folder.path()).unwrap();
    (folder, disk)
}

/// Makes the first user, or finds that there is one.
fn job() -> (Box<dyn Job>, Answer) {
    let user = NewUser {
        username: "first".into(),
        created_at: DateTime::UNIX_EPOCH,
        password: PasswordRecord::new("record".into()),
    };
    let precondition = Precondition::NoUsers;
    Pending::new(CreateUser { user, precondition }, None)
}

/// Hands a job to the writer, and waits for its answer.
fn commit(writer: &Writer) -> Result<User> {
    let (job, answer) = job();
    writer.submit(job)?;
    wait(answer).unwrap_or(Err(StoreError::Stopped))
}

struct Panics;

impl Operation for Panics {
    type Output = ();

    fn reads(&self) -> Reads {
        Reads::default()
    }

    fn apply(&self, _: &mut Rows) -> Result<()> {
        panic!("on purpose")
    }
}

#[test]
fn a_reader_waits_for_what_it_may_have_seen_and_no_longer() {
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
    let made: Vec<_> = answers
        .into_iter()
        .map(|mut answer| answer.try_recv().unwrap().is_ok())
        .collect();
    assert_eq!(made, [true, false, false]);
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
    // A write would fail from here on.
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
fn a_group_that_cannot_be_synced_is_neither_answered_nor_shown() {
    let (_folder, mut disk) = disk();
    // fdatasync of a device that has none: EINVAL.
    disk.data_file = File::open("/dev/null").unwrap();
    let mut writer = Writer::start(disk).unwrap();
    let stopped = commit(&writer);
    assert!(matches!(stopped, Err(StoreError::Stopped)));
    // The thread tells why last of all.
    writer.thread.take().unwrap().join().unwrap();

    let progress = Arc::clone(writer.progress());
    assert!(poll(pin!(progress.wait_durable())).is_pending());
    let trouble = progress.trouble(Duration::MAX).unwrap();
    assert!(trouble.contains("fdatasync"), "{trouble}");
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
fn a_full_disk_is_an_answer_and_the_writer_goes_on() {
    let (_folder, mut disk) = disk();
    let progress = Progress::new(disk.commit);
    let room = std::mem::replace(&mut disk.reserved_mib, u64::MAX);
    let (refused, mut answer) = job();
    commit_group(&mut disk, vec![refused], &[], &progress).unwrap();
    let error = answer.try_recv().unwrap().unwrap_err();
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
    assert_eq!(disk.tree.user_count().unwrap(), 0);
    // Also for what would write nothing: it asks whether there is room.
    let (nothing_to_do, mut nothing) = Pending::new(CanWrite, None);
    commit_group(&mut disk, vec![nothing_to_do], &[], &progress).unwrap();
    assert!(nothing.try_recv().unwrap().is_err());

    disk.reserved_mib = room;
    let (job, mut answer) = job();
    commit_group(&mut disk, vec![job], &[], &progress).unwrap();
    assert_eq!(answer.try_recv().unwrap().unwrap().id, 1);
}

#[test]
fn an_operation_that_panics_is_trouble_and_never_answered() {
    let (_folder, disk) = disk();
    let mut writer = Writer::start(disk).unwrap();
    let (job, answer) = Pending::new(Panics, None);
    writer.submit(job).unwrap();
    assert!(wait(answer).is_err());
    // The thread tells why last of all.
    writer.thread.take().unwrap().join().unwrap_err();
    let trouble = writer.progress().trouble(Duration::MAX);
    assert_eq!(trouble.as_deref(), Some("the database writer panicked"));
}

#[test]
fn a_group_that_takes_too_long_is_trouble() {
    let progress = Progress::new(0);
    assert_eq!(progress.trouble(Duration::ZERO), None);
    progress.busy(true);
    assert_eq!(progress.trouble(Duration::MAX), None);
    let trouble = progress.trouble(Duration::ZERO).unwrap();
    assert!(trouble.contains("hangs"), "{trouble}");
    progress.busy(false);
    assert_eq!(progress.trouble(Duration::ZERO), None);
}

#[test]
fn an_asker_that_has_gone_does_not_take_its_effect_along() {
    let (_folder, disk) = disk();
    let writer = Writer::start(disk).unwrap();
    let (job, answer) = job();
    writer.submit(job).unwrap();
    drop(answer);
    let again = commit(&writer);
    assert!(matches!(again, Err(StoreError::Conflict)));
}
