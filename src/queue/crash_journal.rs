//! What is being worked on, noted in a file that outlives the process (not a
//! power cut): after an unclean end it names the requests that may have been
//! the cause.
//!
//! Noted are two batches, while their fast work is under way, and each request
//! whose turn for slow work has come. That is all that ever runs at a time.
//! After an unclean end these are suspects: they are run one at a time, with
//! nothing else in flight, and a death during such a lone run counts.
//!
//! The file has a fixed size and consists of records of 32 bytes: a delivery
//! id (28 bytes, big-endian) and a mark (u32, big-endian), all zero where
//! nothing is noted. The first records are for batches; a row for turns and one
//! for suspects follow.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::DeliveryId;

const RECORD_BYTES: usize = DeliveryId::BYTES + 4;
/// Mark of a record that is in use; for a suspect, the deaths are added…
const IN_USE: u32 = 1;
/// …and this, once the message could be read.
const READ: u32 = 1 << 31;
/// Batches whose fast work is under way at a time: one waits for the disk while
/// the next one is prepared.
pub(super) const BATCHES: usize = 2;
/// Position that stands for all of a batch.
const WHOLE_BATCH: u32 = u32::MAX;

/// The notes of one working directory.
pub struct CrashJournal {
    file: File,
    turns: usize,
    free_batches: Mutex<Vec<usize>>,
    free_turns: Mutex<Vec<usize>>,
}

/// A request that was under way when the process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspect {
    /// Which.
    pub id: DeliveryId,
    /// How often the process has ended while it ran alone.
    pub deaths: u32,
    /// Whether the message could be read when it ran alone.
    pub read: bool,
}

impl Suspect {
    const fn mark(self) -> u32 {
        (IN_USE + self.deaths) | if self.read { READ } else { 0 }
    }
}

/// The run of a suspect with nothing else in flight.
pub(super) struct SoloRun {
    running: Arc<CrashJournal>,
    index: usize,
    suspect: Suspect,
}

impl SoloRun {
    pub(super) const fn new(running: Arc<CrashJournal>, index: usize, suspect: Suspect) -> Self {
        Self {
            running,
            index,
            suspect,
        }
    }

    pub(super) const fn id(&self) -> DeliveryId {
        self.suspect.id
    }

    /// Notes that the message could be read.
    pub(super) fn was_read(mut self) {
        self.suspect.read = true;
        self.running.note_lone_run(self.index, self.suspect);
    }
}

/// What an earlier process left noted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LeftEntries {
    /// Batches whose fast work was under way: boot id and number.
    pub batches: Vec<([u8; 16], u64)>,
    /// Requests whose turn had come, and suspects of earlier ends.
    pub suspects: Vec<Suspect>,
}

/// A note of a batch or turn. It is struck out when dropped.
pub struct JournalEntry {
    running: Arc<CrashJournal>,
    index: usize,
}

impl CrashJournal {
    /// Opens the notes; `turns` is how many turns there are at a time.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn open(path: &Path, turns: usize) -> io::Result<(Arc<Self>, LeftEntries)> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut &file, &mut bytes)?;
        let left = read_notes(&bytes);
        let running = Self {
            file,
            turns,
            free_batches: Mutex::new((0..BATCHES).rev().collect()),
            free_turns: Mutex::new((BATCHES..BATCHES + turns).rev().collect()),
        };
        Ok((Arc::new(running), left))
    }

    /// Notes that the fast work of a batch begins.
    pub fn begin_batch(self: &Arc<Self>, boot: [u8; 16], batch: u64) -> Option<JournalEntry> {
        let id = DeliveryId {
            boot,
            batch,
            position: WHOLE_BATCH,
        };
        self.begin(&self.free_batches, id)
    }

    /// Notes that the turn of a request has come.
    pub fn begin_turn(self: &Arc<Self>, id: DeliveryId) -> Option<JournalEntry> {
        self.begin(&self.free_turns, id)
    }

    fn begin(self: &Arc<Self>, free: &Mutex<Vec<usize>>, id: DeliveryId) -> Option<JournalEntry> {
        let index = free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        self.write(index, Some((id, IN_USE)));
        Some(JournalEntry {
            running: Arc::clone(self),
            index,
        })
    }

    /// Replaces all notes by these suspects. The old notes go last, so that a
    /// process that ends in between finds the suspects twice rather than not
    /// at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn note_suspects(&self, suspects: &[Suspect]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for suspect in suspects {
            bytes.extend(record(suspect.id, suspect.mark()));
        }
        let start = self.first_suspect();
        self.file.write_all_at(&bytes, position(start))?;
        self.file.set_len(position(start + suspects.len()))?;
        self.file.write_all_at(&vec![0; RECORD_BYTES * start], 0)
    }

    /// Notes how often a suspect has been the end of the process, before it
    /// runs alone.
    pub fn note_lone_run(&self, index: usize, suspect: Suspect) {
        self.write(
            self.first_suspect() + index,
            Some((suspect.id, suspect.mark())),
        );
    }

    /// Strikes out a suspect that has done no harm.
    pub fn clear_suspect(&self, index: usize) {
        self.write(self.first_suspect() + index, None);
    }

    const fn first_suspect(&self) -> usize {
        BATCHES + self.turns
    }

    /// A note that cannot be written is no reason to stop serving: at worst a
    /// poisonous request is found later.
    fn write(&self, index: usize, note: Option<(DeliveryId, u32)>) {
        let bytes = note.map_or([0; RECORD_BYTES], |(id, mark)| record(id, mark));
        if let Err(error) = self.file.write_all_at(&bytes, position(index)) {
            tracing::debug!(%error, "what is running could not be noted");
        }
    }
}

impl Drop for JournalEntry {
    fn drop(&mut self) {
        self.running.write(self.index, None);
        let free = if self.index < BATCHES {
            &self.running.free_batches
        } else {
            &self.running.free_turns
        };
        free.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(self.index);
    }
}

fn position(index: usize) -> u64 {
    u64::try_from(index * RECORD_BYTES).unwrap_or(u64::MAX)
}

fn record(id: DeliveryId, mark: u32) -> [u8; RECORD_BYTES] {
    let mut bytes = [0; RECORD_BYTES];
    bytes[..DeliveryId::BYTES].copy_from_slice(&id.to_bytes());
    bytes[DeliveryId::BYTES..].copy_from_slice(&mark.to_be_bytes());
    bytes
}

/// Every note in the file, wherever it stands: the number of turns may have
/// changed since.
fn read_notes(bytes: &[u8]) -> LeftEntries {
    let mut left = LeftEntries::default();
    for record in bytes.chunks_exact(RECORD_BYTES) {
        let Some((id, mark)) = record.split_first_chunk::<{ DeliveryId::BYTES }>() else {
            continue;
        };
        let mark = mark.try_into().map_or(0, u32::from_be_bytes);
        let read = mark & READ != 0;
        let deaths = (mark & !READ).checked_sub(IN_USE);
        let (Some(id), Some(deaths)) = (DeliveryId::from_bytes(id), deaths) else {
            continue;
        };
        if id.position == WHOLE_BATCH {
            left.batches.push((id.boot, id.batch));
        } else if let Some(known) = left.suspects.iter_mut().find(|known| known.id == id) {
            known.deaths = known.deaths.max(deaths);
            known.read |= read;
        } else {
            left.suspects.push(Suspect { id, deaths, read });
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(position: u32) -> DeliveryId {
        DeliveryId {
            boot: [7; 16],
            batch: 3,
            position,
        }
    }

    fn suspect(position: u32, deaths: u32) -> Suspect {
        Suspect {
            id: id(position),
            deaths,
            read: false,
        }
    }

    fn left_in(path: &Path) -> LeftEntries {
        CrashJournal::open(path, 2).unwrap().1
    }

    #[test]
    fn what_runs_is_found_by_the_next_process_and_what_is_done_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("running");
        let (running, left) = CrashJournal::open(&path, 2).unwrap();
        assert_eq!(left, LeftEntries::default());
        let batch = running.begin_batch([7; 16], 3).unwrap();
        let other = running.begin_batch([7; 16], 4).unwrap();
        assert!(running.begin_batch([7; 16], 5).is_none());
        let first = running.begin_turn(id(0)).unwrap();
        let _second = running.begin_turn(id(1)).unwrap();
        assert!(running.begin_turn(id(2)).is_none());
        drop(first);
        let left = left_in(&path);
        assert_eq!(left.batches, [([7; 16], 3), ([7; 16], 4)]);
        assert_eq!(left.suspects, [suspect(1, 0)]);
        drop(batch);
        assert_eq!(left_in(&path).batches, [([7; 16], 4)]);
        drop(other);
        assert!(left_in(&path).batches.is_empty());
    }

    #[test]
    fn deaths_are_kept_until_the_suspect_has_done_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("running");
        let (running, _) = CrashJournal::open(&path, 2).unwrap();
        let _batch = running.begin_batch([7; 16], 3);
        let suspects = [0, 1].map(|n| suspect(n, n));
        running.note_suspects(&suspects).unwrap();
        assert_eq!(left_in(&path).suspects, suspects);
        assert!(left_in(&path).batches.is_empty());
        running.note_lone_run(0, suspect(0, 4));
        assert_eq!(left_in(&path).suspects[0].deaths, 4);
        SoloRun::new(Arc::clone(&running), 0, suspect(0, 4)).was_read();
        assert!(left_in(&path).suspects[0].read);
        assert_eq!(left_in(&path).suspects[0].deaths, 4);
        running.clear_suspect(0);
        assert_eq!(left_in(&path).suspects, suspects[1..]);
        running.note_suspects(&[]).unwrap();
        assert_eq!(left_in(&path), LeftEntries::default());
    }

    #[test]
    fn another_number_of_turns_finds_the_same_notes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("running");
        let (running, _) = CrashJournal::open(&path, 5).unwrap();
        let suspects = [suspect(0, 2)];
        running.note_suspects(&suspects).unwrap();
        assert_eq!(left_in(&path).suspects, suspects);
    }
}
