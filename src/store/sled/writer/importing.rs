//! Imports: parts of their own, one after the other, with nothing in between.

use tokio::sync::oneshot;

use super::{Disk, Progress, write_group};
use crate::store::sled::group::Writes;
use crate::store::sled::import::{self, Importing};
use crate::store::{ImportBatch, Result, StoreError};

/// An import and the caller that waits for it.
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

/// Imports users, part after part, and rolls back where one part fails.
pub(super) fn import(
    disk: &mut Disk,
    import: Import,
    progress: &Progress,
) -> std::result::Result<(), String> {
    let Import {
        mut importing,
        reply,
    } = import;
    let mut result = commit_part(disk, progress, |tree, writes| importing.begin(tree, writes))?;
    while let Ok(()) = result {
        if importing.is_interrupted() {
            result = Err(StoreError::Interrupted);
            break;
        }
        match commit_part(disk, progress, |tree, writes| importing.part(tree, writes))? {
            Ok(true) => {}
            Ok(false) => {
                result = commit_part(disk, progress, |tree, writes| importing.end(tree, writes))?;
                break;
            }
            Err(error) => result = Err(error),
        }
    }
    if result.is_err() {
        roll_back(disk, progress)?;
    }
    // The caller may have gone; the effect stands all the same.
    let _ = reply.send(result);
    Ok(())
}

/// Rolls back what was written. It only removes: the reserved room is for this. A user who cannot be
/// removed would share an id with the next one, so that the process has to end.
fn roll_back(disk: &mut Disk, progress: &Progress) -> std::result::Result<(), String> {
    loop {
        match commit_alone(disk, progress, import::roll_back)? {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => return Err(format!("rolling an import back failed: {error}")),
        }
    }
}

fn commit_part<T>(
    disk: &mut Disk,
    progress: &Progress,
    part: impl FnOnce(&::sled::Tree, &mut Writes) -> Result<T>,
) -> std::result::Result<Result<T>, String> {
    match disk.check_room() {
        Ok(()) => commit_alone(disk, progress, part),
        Err(full) => Ok(Err(full)),
    }
}

fn commit_alone<T>(
    disk: &mut Disk,
    progress: &Progress,
    part: impl FnOnce(&::sled::Tree, &mut Writes) -> Result<T>,
) -> std::result::Result<Result<T>, String> {
    progress.busy(true);
    let mut writes = Writes::default();
    let result = part(&disk.tree, &mut writes);
    if result.is_ok() && !writes.is_empty() {
        write_group(disk, writes, progress)?;
    }
    progress.busy(false);
    Ok(result)
}
