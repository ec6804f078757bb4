//! Imports in the writer: the parts of an import are groups of their own, with nothing in between.

use tokio::sync::oneshot;

use super::{Disk, Progress, write_group};
use crate::store::sled::group::Writes;
use crate::store::sled::import::{self, Importing};
use crate::store::{ImportBatch, Result, StoreError};

/// Import with the channel to its caller.
pub(super) struct PendingImport {
    importing: Importing,
    reply: oneshot::Sender<Result<()>>,
}

impl PendingImport {
    pub(super) fn new(batch: ImportBatch, reply: oneshot::Sender<Result<()>>) -> Self {
        Self {
            importing: batch.into(),
            reply,
        }
    }
}

/// Imports users part by part, and rolls back if a part fails.
pub(super) fn import(
    disk: &mut Disk,
    import: PendingImport,
    progress: &Progress,
) -> std::result::Result<(), String> {
    let PendingImport {
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
    // The caller may have stopped waiting. The effect stays.
    let _ = reply.send(result);
    Ok(())
}

/// Rolls back an incomplete import. It only removes records, for which the reserved disk space
/// suffices. If it fails, the process must end, because a remaining user would share its id with
/// the next one.
fn roll_back(disk: &mut Disk, progress: &Progress) -> std::result::Result<(), String> {
    loop {
        match commit_alone(disk, progress, import::roll_back)? {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => return Err(format!("rolling an import back failed: {error}")),
        }
    }
}

/// Commits a part of an import, unless the disk has too little free space.
fn commit_part<T>(
    disk: &mut Disk,
    progress: &Progress,
    part: impl FnOnce(&::sled::Tree, &mut Writes) -> Result<T>,
) -> std::result::Result<Result<T>, String> {
    match disk.check_free_space() {
        Ok(()) => commit_alone(disk, progress, part),
        Err(full) => Ok(Err(full)),
    }
}

/// Commits writes as a group of their own, unless `part` fails.
fn commit_alone<T>(
    disk: &mut Disk,
    progress: &Progress,
    part: impl FnOnce(&::sled::Tree, &mut Writes) -> Result<T>,
) -> std::result::Result<Result<T>, String> {
    progress.set_busy(true);
    let mut writes = Writes::default();
    let result = part(&disk.tree, &mut writes);
    if result.is_ok() && !writes.is_empty() {
        write_group(disk, writes, progress)?;
    }
    progress.set_busy(false);
    Ok(result)
}
