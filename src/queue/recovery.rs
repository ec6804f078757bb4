//! Recovery: runs what was fetched and has no reply, before anything new is fetched.
//!
//! Messages of an earlier process stay in their processing lists, under their delivery ids: should
//! this process die as well, the next one finds them again. Lists run in the order of their runs
//! and batches. The store answers an entry that has an outcome, whatever the age of the request; an
//! entry without one had no effect, and runs (`store/operations/outcomes.rs`).
//!
//! # Suspects
//!
//! The requests that were running when the process died may have caused its death. These suspects
//! run first, one at a time, with nothing else in flight. Only a death during such a solo run
//! counts against a suspect; a stop does not. After five deaths the request is quarantined: it
//! becomes a dead letter, with an error reply if a solo run could decode it. Decoding itself may
//! crash, so the crash journal records that it succeeded.
//!
//! # Lost fetches
//!
//! The batch of a fetch whose answer never came runs as soon as there is a connection. Its messages
//! were never started, so they are not redelivered.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use tracing::{error, warn};

use super::budget::Budget;
use super::crash_journal::{LeftEntries, SoloRun, Suspect};
use super::fetcher::{Fetcher, State};
use super::keys::BatchId;
use super::left_list::{self, LeftList};
use crate::crash_point::crash_point;
use crate::model::DeliveryId;

/// Number of deaths in solo runs after which a request is quarantined.
const MAX_DEATHS: u32 = 5;

/// Suspects whose solo run has not ended, each with its index in the crash journal.
pub(super) type Suspects = VecDeque<(usize, Suspect)>;

/// Processing lists of earlier processes that have not run yet.
pub(super) struct LeftLists {
    waiting: VecDeque<BatchId>,
    /// The list that runs, until all of it was fetched.
    current: Option<LeftList>,
    /// Entries that were open when this process found them.
    open: HashSet<DeliveryId>,
}

impl Fetcher {
    /// Runs the batch of this process' last fetch, if its answer never came and Redis did make it.
    /// Its messages were never started.
    pub(super) async fn recover_lost_fetch(
        &mut self,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<()> {
        if let State::AwaitFetch(batch) = self.state {
            let keys = &self.settings.keys;
            let entries = left_list::entries(connection, keys, batch).await?;
            let list = LeftList::new(&self.executor, keys, entries, false);
            self.state = list.map_or(State::Fetch, State::RunLostBatch);
        }
        if matches!(self.state, State::RunLostBatch(_)) {
            self.run_left_list(connection).await?;
            self.state = State::Fetch;
        }
        Ok(())
    }

    /// Runs all that an earlier process left. Returns early when stopped. After an error, the next
    /// call goes on from the same state.
    pub(super) async fn recover_earlier_run(
        &mut self,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<()> {
        while !self.is_stopped() {
            match &mut self.state {
                State::FindSuspects(left) => {
                    let left = left.clone();
                    let suspects = self.find_suspects(connection, left).await?;
                    self.state = State::RunSuspects(suspects);
                }
                State::RunSuspects(suspects) => match suspects.front().copied() {
                    Some((index, suspect)) => {
                        self.run_suspect(connection, index, suspect).await?;
                    }
                    None => self.state = State::FindLeftLists,
                },
                State::FindLeftLists => {
                    let waiting = left_list::batches(connection, &self.settings.keys).await?;
                    self.state = State::RunLeftLists(LeftLists {
                        waiting,
                        current: None,
                        open: HashSet::new(),
                    });
                }
                State::RunLeftLists(lists) if lists.current.is_some() => {
                    self.run_left_list(connection).await?;
                }
                State::RunLeftLists(lists) => match lists.waiting.front().copied() {
                    Some(batch) => {
                        let keys = &self.settings.keys;
                        let entries = left_list::entries(connection, keys, batch).await?;
                        lists.open.extend(entries.open.iter().map(|(id, _)| *id));
                        lists.waiting.pop_front();
                        lists.current = LeftList::new(&self.executor, keys, entries, true);
                    }
                    None => {
                        self.executor.handler.recovered(&lists.open);
                        self.state = State::Fetch;
                    }
                },
                State::Fetch | State::AwaitFetch(_) | State::RunLostBatch(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Returns the suspects: the requests that had their turn, and all open entries of the batches
    /// that were in their fast phase.
    async fn find_suspects(
        &self,
        connection: &mut MultiplexedConnection,
        left: LeftEntries,
    ) -> RedisResult<Suspects> {
        let mut suspects = left.suspects;
        for batch in left.batches {
            let entries = left_list::entries(connection, &self.settings.keys, batch).await?;
            for (id, _) in entries.open {
                if !suspects.iter().any(|known| known.id == id) {
                    suspects.push(Suspect {
                        id,
                        deaths: 0,
                        decoded: false,
                    });
                }
            }
        }
        if !suspects.is_empty() {
            warn!(
                count = suspects.len(),
                "the last run crashed: running the requests that may have caused it one at a time"
            );
        }
        if let Err(error) = self.executor.journal.record_suspects(&suspects) {
            warn!(%error, "cannot record the suspects of a crash");
        }
        Ok(suspects.into_iter().enumerate().collect())
    }

    /// Begins the solo run of the first suspect, unless it has begun, and waits for its end.
    async fn run_suspect(
        &mut self,
        connection: &mut MultiplexedConnection,
        index: usize,
        suspect: Suspect,
    ) -> RedisResult<()> {
        if !self.is_solo_run {
            let message = left_list::fetch_one(connection, &self.settings.keys, suspect.id).await?;
            if let Some(message) = message {
                crash_point("in recovery");
                self.is_solo_run = true;
                self.begin_solo_run(index, suspect, message).await;
            }
        }
        if self.is_solo_run {
            self.wait_for(connection, Budget::idle).await?;
            if self.is_stopped() {
                // A stop is no death: the earlier count holds.
                self.executor.journal.record_solo_run(index, suspect);
                return Ok(());
            }
            self.is_solo_run = false;
        }
        self.executor.journal.clear_suspect(index);
        if let State::RunSuspects(suspects) = &mut self.state {
            suspects.pop_front();
        }
        Ok(())
    }

    async fn begin_solo_run(&self, index: usize, mut suspect: Suspect, message: Vec<u8>) {
        let deaths = suspect.deaths;
        // Counted before it runs, and cleared if the process survives.
        suspect.deaths += 1;
        let executor = &self.executor;
        executor.journal.record_solo_run(index, suspect);
        if deaths < MAX_DEATHS {
            let solo_run = SoloRun {
                journal: Arc::clone(&executor.journal),
                index,
                suspect,
            };
            executor.run_solo(solo_run, message);
            return;
        }
        error!(
            deaths,
            "a request ended the process each time it ran: it becomes a dead letter"
        );
        let disposition = executor
            .handler
            .quarantine(&suspect.id, &message, suspect.decoded)
            .await;
        let delivery = executor.single_delivery(suspect.id, message.len());
        executor.complete(vec![(delivery, disposition)]);
    }

    /// Runs a left list in parts, as the budget allows: its messages may be what ended the process,
    /// and would do so again if they were all fetched at once. When stopped it returns early, except
    /// for a lost fetch: its messages were never started, and are still run or requeued.
    async fn run_left_list(&mut self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        while let Some(list) = self.state.left_list() {
            let redelivered = list.redelivered;
            let capacity = match self.wait_for(connection, Budget::capacity).await? {
                Some(capacity) => capacity,
                None if redelivered => return Ok(()),
                None => self.executor.budget.left(),
            };
            let Some(list) = self.state.left_list() else {
                return Ok(());
            };
            let batch = list.fetch(connection, &self.executor, capacity).await?;
            if redelivered {
                crash_point("in recovery");
            }
            self.run_batch(connection, batch).await?;
        }
        if let State::RunLeftLists(lists) = &mut self.state {
            lists.current = None;
        }
        Ok(())
    }
}

impl State {
    /// Returns the list that runs in parts, unless all of it was fetched.
    fn left_list(&mut self) -> Option<&mut LeftList> {
        let list = match self {
            Self::RunLostBatch(list) => Some(list),
            Self::RunLeftLists(lists) => lists.current.as_mut(),
            _ => None,
        };
        list.filter(|list| !list.is_finished())
    }
}
