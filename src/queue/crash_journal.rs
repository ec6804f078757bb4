//! A file that names the requests that are running. After a crash it names the requests that may
//! have caused it. It is written without a sync: it has to outlive the process, not a power cut.
//!
//! Recorded are two batches, while they are in their fast phase (one may wait for the disk while
//! the next one is prepared), and each request that has its turn for slow work. Nothing else ever
//! runs. After a crash, recovery runs these suspects one at a time, with nothing else in flight,
//! and counts the deaths of the process during such a solo run.
//!
//! The file has a fixed size and consists of records of 32 bytes: a delivery id (28 bytes,
//! big-endian) and a mark (u32, big-endian), all zero where a record is free. The records of
//! batches come first, then those of turns, then those of suspects.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::keys::BatchId;
use crate::model::DeliveryId;

const RECORD_BYTES: usize = DeliveryId::BYTES + 4;
/// Mark of a record that is in use. For a suspect, the number of deaths is added…
const IN_USE: u32 = 1;
/// …and this bit, once its message was decoded.
const DECODED: u32 = 1 << 31;
/// Maximum number of batches in their fast phase: one waits for the disk while the next one is
/// prepared.
pub(super) const BATCHES: usize = 2;
/// Position that stands for all entries of a batch.
const WHOLE_BATCH: u32 = u32::MAX;

/// The crash journal of one working directory.
pub struct CrashJournal {
    file: File,
    turns: usize,
    free_batches: Mutex<Vec<usize>>,
    free_turns: Mutex<Vec<usize>>,
}

/// A request that was running when the process crashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspect {
    /// Id of its delivery.
    pub id: DeliveryId,
    /// Number of times that the process died during a solo run of it.
    pub deaths: u32,
    /// Whether a solo run could decode the message.
    pub decoded: bool,
}

impl Suspect {
    const fn mark(self) -> u32 {
        (IN_USE + self.deaths) | if self.decoded { DECODED } else { 0 }
    }
}

/// The run of a suspect while nothing else is in flight.
pub(super) struct SoloRun {
    pub(super) journal: Arc<CrashJournal>,
    /// Index of the suspect in the journal.
    pub(super) index: usize,
    pub(super) suspect: Suspect,
}

impl SoloRun {
    /// Records that the message was decoded.
    pub(super) fn set_decoded(mut self) {
        self.suspect.decoded = true;
        self.journal.record_solo_run(self.index, self.suspect);
    }
}

/// The entries that an earlier process left in the journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftEntries {
    /// Batches that were in their fast phase.
    pub batches: Vec<BatchId>,
    /// Requests that had their turn, and suspects of earlier crashes.
    pub suspects: Vec<Suspect>,
}

/// A batch or a turn in the journal, until it is dropped.
pub struct JournalEntry {
    journal: Arc<CrashJournal>,
    index: usize,
}

impl CrashJournal {
    /// Opens the journal; `turns` is the maximum number of turns at a time.
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
        let left = parse(&bytes);
        let journal = Self {
            file,
            turns,
            free_batches: Mutex::new((0..BATCHES).rev().collect()),
            free_turns: Mutex::new((BATCHES..BATCHES + turns).rev().collect()),
        };
        Ok((Arc::new(journal), left))
    }

    /// Records the fast phase of a batch.
    pub fn begin_batch(self: &Arc<Self>, batch: BatchId) -> Option<JournalEntry> {
        self.begin(&self.free_batches, batch.delivery(WHOLE_BATCH))
    }

    /// Records the turn of a request.
    pub fn begin_turn(self: &Arc<Self>, id: DeliveryId) -> Option<JournalEntry> {
        self.begin(&self.free_turns, id)
    }

    fn begin(self: &Arc<Self>, free: &Mutex<Vec<usize>>, id: DeliveryId) -> Option<JournalEntry> {
        let index = free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        self.write(index, Some((id, IN_USE)));
        Some(JournalEntry {
            journal: Arc::clone(self),
            index,
        })
    }

    /// Replaces all records by these suspects. The old records are cleared last, so that a process
    /// that dies in between leaves the suspects twice rather than not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn record_suspects(&self, suspects: &[Suspect]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for suspect in suspects {
            bytes.extend(record(suspect.id, suspect.mark()));
        }
        let start = self.first_suspect();
        self.file.write_all_at(&bytes, offset(start))?;
        self.file.set_len(offset(start + suspects.len()))?;
        self.file.write_all_at(&vec![0; RECORD_BYTES * start], 0)
    }

    /// Records the number of deaths of a suspect, before its solo run.
    pub fn record_solo_run(&self, index: usize, suspect: Suspect) {
        self.write(
            self.first_suspect() + index,
            Some((suspect.id, suspect.mark())),
        );
    }

    /// Clears a suspect whose solo run the process survived.
    pub fn clear_suspect(&self, index: usize) {
        self.write(self.first_suspect() + index, None);
    }

    const fn first_suspect(&self) -> usize {
        BATCHES + self.turns
    }

    /// Writes or clears a record. A failure is no reason to stop serving: at worst a poison request
    /// is found later.
    fn write(&self, index: usize, entry: Option<(DeliveryId, u32)>) {
        let bytes = entry.map_or([0; RECORD_BYTES], |(id, mark)| record(id, mark));
        if let Err(error) = self.file.write_all_at(&bytes, offset(index)) {
            tracing::debug!(%error, "cannot write to the crash journal");
        }
    }
}

impl Drop for JournalEntry {
    fn drop(&mut self) {
        self.journal.write(self.index, None);
        let free = if self.index < BATCHES {
            &self.journal.free_batches
        } else {
            &self.journal.free_turns
        };
        free.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(self.index);
    }
}

fn offset(index: usize) -> u64 {
    u64::try_from(index * RECORD_BYTES).unwrap_or(u64::MAX)
}

fn record(id: DeliveryId, mark: u32) -> [u8; RECORD_BYTES] {
    let mut bytes = [0; RECORD_BYTES];
    bytes[..DeliveryId::BYTES].copy_from_slice(&id.to_bytes());
    bytes[DeliveryId::BYTES..].copy_from_slice(&mark.to_be_bytes());
    bytes
}

/// Parses every record, wherever it stands: the number of turns may have changed since.
fn parse(bytes: &[u8]) -> LeftEntries {
    let mut left = LeftEntries::default();
    for record in bytes.chunks_exact(RECORD_BYTES) {
        let Some((id, mark)) = record.split_first_chunk::<{ DeliveryId::BYTES }>() else {
            continue;
        };
        let mark = mark.try_into().map_or(0, u32::from_be_bytes);
        let decoded = mark & DECODED != 0;
        let deaths = (mark & !DECODED).checked_sub(IN_USE);
        let (Some(id), Some(deaths)) = (DeliveryId::from_bytes(id), deaths) else {
            continue;
        };
        if id.position == WHOLE_BATCH {
            left.batches.push(BatchId::of(&id));
        } else if let Some(known) = left.suspects.iter_mut().find(|known| known.id == id) {
            known.deaths = known.deaths.max(deaths);
            known.decoded |= decoded;
        } else {
            left.suspects.push(Suspect {
                id,
                deaths,
                decoded,
            });
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(position: u32) -> DeliveryId {
        DeliveryId {
            run_id: [7; 16],
            batch: 3,
            position,
        }
    }

    fn batch(number: u64) -> BatchId {
        BatchId {
            run_id: [7; 16],
            number,
        }
    }

    fn suspect(position: u32, deaths: u32) -> Suspect {
        Suspect {
            id: id(position),
            deaths,
            decoded: false,
        }
    }

    fn left_in(path: &Path) -> LeftEntries {
        CrashJournal::open(path, 2).unwrap().1
    }

    #[test]
    fn the_next_process_finds_what_was_running_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("running");
        let (journal, left) = CrashJournal::open(&path, 2).unwrap();
        assert_eq!(left, LeftEntries::default());
        let first_batch = journal.begin_batch(batch(3)).unwrap();
        let second_batch = journal.begin_batch(batch(4)).unwrap();
        assert!(journal.begin_batch(batch(5)).is_none());
        let first = journal.begin_turn(id(0)).unwrap();
        let _second = journal.begin_turn(id(1)).unwrap();
        assert!(journal.begin_turn(id(2)).is_none());
        drop(first);
        let left = left_in(&path);
        assert_eq!(left.batches, [batch(3), batch(4)]);
        assert_eq!(left.suspects, [suspect(1, 0)]);
        drop(first_batch);
        assert_eq!(left_in(&path).batches, [batch(4)]);
        drop(second_batch);
        assert!(left_in(&path).batches.is_empty());
    }

    #[test]
    fn deaths_are_kept_until_the_process_survives_a_solo_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("running");
        let (journal, _) = CrashJournal::open(&path, 2).unwrap();
        let _batch = journal.begin_batch(batch(3));
        let suspects = [0, 1].map(|n| suspect(n, n));
        journal.record_suspects(&suspects).unwrap();
        assert_eq!(left_in(&path).suspects, suspects);
        assert!(left_in(&path).batches.is_empty());
        journal.record_solo_run(0, suspect(0, 4));
        assert_eq!(left_in(&path).suspects[0].deaths, 4);
        let solo_run = SoloRun {
            journal: Arc::clone(&journal),
            index: 0,
            suspect: suspect(0, 4),
        };
        solo_run.set_decoded();
        assert!(left_in(&path).suspects[0].decoded);
        assert_eq!(left_in(&path).suspects[0].deaths, 4);
        journal.clear_suspect(0);
        assert_eq!(left_in(&path).suspects, suspects[1..]);
        journal.record_suspects(&[]).unwrap();
        assert_eq!(left_in(&path), LeftEntries::default());
    }

    #[test]
    fn a_changed_number_of_turns_finds_the_same_suspects() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("running");
        let (journal, _) = CrashJournal::open(&path, 5).unwrap();
        let suspects = [suspect(0, 2)];
        journal.record_suspects(&suspects).unwrap();
        assert_eq!(left_in(&path).suspects, suspects);
    }
}
