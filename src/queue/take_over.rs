//! Taking over what an earlier process of this store left.
//!
//! Entries stay in their lists, under their delivery ids: whoever comes after
//! a process that dies here finds them again. What the earlier process was
//! working on when it ended may have been the cause: those suspects run first,
//! one at a time, with nothing else in flight. Only a death during such a lone
//! run counts against them.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use tracing::{error, warn};

use super::crash_journal::{CrashJournal, LeftEntries, SoloRun, Suspect};
use super::fetcher::Fetcher;
use super::recovery::{self, LeftList};
use crate::crash_point::crash_point;
use crate::model::DeliveryId;

/// Deaths in lone runs after which a request is not run any more.
const MAX_DEATHS: u32 = 5;

/// How far taking over has come; it goes on after a lost connection.
pub(super) struct TakeOver {
    running: Arc<CrashJournal>,
    left: LeftEntries,
    suspects: Option<VecDeque<(usize, Suspect)>>,
    /// Whether the first of them is under way. A connection that breaks does
    /// not end its run.
    started: bool,
    lists: Option<VecDeque<([u8; 16], u64)>>,
    open: HashSet<DeliveryId>,
    /// Whether all that was left has been started.
    pub(super) done: bool,
}

impl TakeOver {
    pub(super) fn new(running: Arc<CrashJournal>, left: LeftEntries) -> Self {
        Self {
            running,
            left,
            suspects: None,
            started: false,
            lists: None,
            open: HashSet::new(),
            done: false,
        }
    }
}

impl Fetcher {
    /// Starts all that was left. Returns early, to be called again, after an
    /// error or when stopped.
    pub(super) async fn take_over(
        &mut self,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<()> {
        if self.takeover.done {
            return Ok(());
        }
        self.find_suspects(connection).await?;
        self.run_suspects(connection).await?;
        self.run_left_lists(connection).await?;
        if !self.is_stopped() {
            self.executor.handler().taken_over(&self.takeover.open);
            self.takeover.done = true;
        }
        Ok(())
    }

    /// Notes as suspects what was being worked on: the requests whose turn
    /// had come and all of the batch whose fast work was under way.
    async fn find_suspects(&mut self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        if self.takeover.suspects.is_some() {
            return Ok(());
        }
        let mut suspects = self.takeover.left.suspects.clone();
        for batch in &self.takeover.left.batches {
            let entries = recovery::entries(connection, &self.settings.keys, *batch).await?;
            for (id, _) in entries.open {
                if !suspects.iter().any(|known| known.id == id) {
                    suspects.push(Suspect {
                        id,
                        deaths: 0,
                        read: false,
                    });
                }
            }
        }
        if !suspects.is_empty() {
            warn!(
                count = suspects.len(),
                "the last run ended uncleanly: running what it was working on one at a time"
            );
        }
        if let Err(error) = self.takeover.running.note_suspects(&suspects) {
            warn!(%error, "what is suspected could not be noted");
        }
        self.takeover.suspects = Some(suspects.into_iter().enumerate().collect());
        Ok(())
    }

    async fn run_suspects(&mut self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        while let Some((index, suspect)) = self.next_suspect() {
            if !self.takeover.started {
                let keys = &self.settings.keys;
                let message = recovery::open_entry(connection, keys, suspect.id).await?;
                if let Some(message) = message {
                    crash_point("in recovery");
                    self.takeover.started = true;
                    self.run_alone(index, suspect, message).await;
                }
            }
            if self.takeover.started {
                self.wait_until_idle(connection).await?;
                if self.is_stopped() {
                    // A stop is no death: the count before it stands.
                    self.takeover.running.note_lone_run(index, suspect);
                    return Ok(());
                }
                self.takeover.started = false;
            }
            self.takeover.running.clear_suspect(index);
            if let Some(suspects) = &mut self.takeover.suspects {
                suspects.pop_front();
            }
        }
        Ok(())
    }

    fn next_suspect(&self) -> Option<(usize, Suspect)> {
        let suspects = self.takeover.suspects.as_ref()?;
        suspects.front().copied().filter(|_| !self.is_stopped())
    }

    async fn run_alone(&self, index: usize, mut suspect: Suspect, message: Vec<u8>) {
        let (deaths, unread) = (suspect.deaths, !suspect.read);
        // Counted before it runs, and struck out when it has done no harm.
        suspect.deaths += 1;
        self.takeover.running.note_lone_run(index, suspect);
        let keys = &self.settings.keys;
        let list = keys.batch(suspect.id.boot, suspect.id.batch);
        if deaths < MAX_DEATHS {
            let lone = SoloRun::new(Arc::clone(&self.takeover.running), index, suspect);
            self.executor.work_alone(list, lone, message);
            return;
        }
        error!(
            deaths,
            "a request ended the process each time it ran: it becomes a dead letter"
        );
        let handler = self.executor.handler();
        let disposition = handler.quarantine(&suspect.id, &message, unread).await;
        self.executor
            .settle_unworked(list, suspect.id, message.len(), disposition);
    }

    async fn run_left_lists(&mut self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        if self.takeover.lists.is_none() {
            let lists = recovery::lists(connection, &self.settings.keys).await?;
            self.takeover.lists = Some(lists.into());
        }
        loop {
            self.run_left_list(connection).await?;
            let Some(batch) = self.next_list() else {
                return Ok(());
            };
            let entries = recovery::entries(connection, &self.settings.keys, batch).await?;
            let open = entries.open.iter().map(|(id, _)| *id);
            self.takeover.open.extend(open);
            if let Some(lists) = &mut self.takeover.lists {
                lists.pop_front();
            }
            self.left_list = LeftList::new(&self.executor, &self.settings.keys, entries, true);
        }
    }

    /// Runs the list that was left, part by part, as far as there is room in the
    /// budget. Its messages may be what ended the process: read all at once they
    /// would do so again. Returns early when stopped, unless they were never
    /// started: those are still answered or given back.
    pub(super) async fn run_left_list(
        &mut self,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<()> {
        while let Some(list) = &self.left_list {
            let was_started = list.redelivered;
            let room = match self.wait_for_room(connection).await? {
                Some(room) => room,
                None if was_started => return Ok(()),
                None => self.executor.budget().left(),
            };
            let Some(list) = &mut self.left_list else {
                return Ok(());
            };
            let messages = list.read(connection, room).await?;
            let redelivered = list.redelivered;
            if list.is_read() {
                self.left_list = None;
            }
            if redelivered {
                crash_point("in recovery");
            }
            self.work(connection, messages, redelivered).await?;
        }
        Ok(())
    }

    fn next_list(&self) -> Option<([u8; 16], u64)> {
        let lists = self.takeover.lists.as_ref()?;
        lists.front().copied().filter(|_| !self.is_stopped())
    }
}
