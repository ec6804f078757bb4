//! Users who are let in: in groups of their own, one after the other, with
//! nothing in between.

use tokio::sync::oneshot;

use super::{Disk, Progress, write_group};
use crate::store::sled::group::{Group, Importing};
use crate::store::{ImportBatch, Result, StoreError};

/// Users to let in.
pub(super) struct Import {
    importing: Importing,
    reply: oneshot::Sender<Result<()>>,
}

impl Import {
    pub(super) fn new(batch: ImportBatch, reply: oneshot::Sender<Result<()>>) -> Self {
        Self {
            importing: batch.into(),
            reply,
        }
    }
}

/// Lets users in, part after part, and takes them back where one fails.
pub(super) fn import(
    disk: &mut Disk,
    import: Import,
    progress: &Progress,
) -> std::result::Result<(), String> {
    let Import {
        mut importing,
        reply,
    } = import;
    let mut result = commit_part(disk, progress, |group| importing.begin(group))?;
    while let Ok(()) = result {
        if importing.is_interrupted() {
            result = Err(StoreError::Interrupted);
            break;
        }
        match commit_part(disk, progress, |group| importing.part(group))? {
            Ok(true) => {}
            Ok(false) => {
                result = commit_part(disk, progress, |group| importing.end(group))?;
                break;
            }
            Err(error) => result = Err(error),
        }
    }
    if result.is_err() {
        take_back(disk, progress)?;
    }
    // The asker may have gone; the effect stands all the same.
    let _ = reply.send(result);
    Ok(())
}

/// It only removes: the reserved room is for this. Who cannot be taken back
/// would share a number with the next one, so that the process has to end.
fn take_back(disk: &mut Disk, progress: &Progress) -> std::result::Result<(), String> {
    loop {
        match group_of_its_own(disk, progress, |group| group.take_back())? {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => return Err(format!("taking users back failed: {error}")),
        }
    }
}

fn commit_part<T>(
    disk: &mut Disk,
    progress: &Progress,
    part: impl FnOnce(&mut Group<'_>) -> Result<T>,
) -> std::result::Result<Result<T>, String> {
    match disk.check_room() {
        Ok(()) => group_of_its_own(disk, progress, part),
        Err(full) => Ok(Err(full)),
    }
}

fn group_of_its_own<T>(
    disk: &mut Disk,
    progress: &Progress,
    operation: impl FnOnce(&mut Group<'_>) -> Result<T>,
) -> std::result::Result<Result<T>, String> {
    progress.busy(true);
    let tree = disk.tree.clone();
    let mut group = Group::new(&tree, disk.max_attempted);
    let result = operation(&mut group);
    if result.is_ok() {
        write_group(disk, group, progress)?;
    }
    progress.busy(false);
    Ok(result)
}
