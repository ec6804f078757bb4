//! A queue that serves names in rotation.
//!
//! Each name has its own queue and gets one turn per round. So an entry of a new name waits for one
//! round at most, however many entries wait under other names.
//!
//! One name holds at most half of the turns (rounded up). Attempts under one name wait for each
//! other at the gate of the throttle, and could otherwise hold all turns while they wait.
//!
//! Each operation costs O(log n) in the number of waiting entries; `drain` costs O(n).

use std::collections::{BTreeMap, HashMap};

use crate::model::NameHash;

/// A fair queue of entries, with a bounded number of concurrent turns.
pub(super) struct FairQueue<T> {
    names: HashMap<NameHash, Name<T>>,
    /// The names that may get a turn, by position.
    rotation: BTreeMap<u64, NameHash>,
    /// The last number drawn. Numbers order the entries of a name, and the names in the rotation.
    last_number: u64,
    /// Number of waiting entries.
    pub(super) waiting: usize,
    waiting_names: usize,
    free_turns: usize,
    /// Maximum number of concurrent turns of one name.
    pub(super) max_turns_of_name: usize,
}

/// The waiting entries and the running turns of one name.
struct Name<T> {
    waiting: BTreeMap<u64, T>,
    running: usize,
    /// The position of the name in the rotation, if it is in the rotation.
    position: Option<u64>,
}

/// A handle to a waiting entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    /// The name under which the entry waits.
    pub(super) name: NameHash,
    number: u64,
}

/// Number of entries that are served before a new entry of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ahead {
    /// Entries of all names, if no other name begins to wait.
    pub(super) total: usize,
    /// Entries of the same name.
    pub(super) of_name: usize,
}

impl<T> FairQueue<T> {
    /// Returns a queue with `turns` concurrent turns, at least one.
    pub(super) fn new(turns: usize) -> Self {
        let turns = turns.max(1);
        Self {
            names: HashMap::new(),
            rotation: BTreeMap::new(),
            last_number: 0,
            waiting: 0,
            waiting_names: 0,
            free_turns: turns,
            max_turns_of_name: turns.div_ceil(2),
        }
    }

    /// Returns the number of entries that are served before a new entry of `name`. Each waiting
    /// entry of `name` costs one round of the other waiting names.
    pub(super) fn ahead(&self, name: &NameHash) -> Ahead {
        let of_name = self.names.get(name).map_or(0, |name| name.waiting.len());
        let others = self.waiting_names - usize::from(of_name > 0);
        let rounds = of_name.saturating_add(1);
        Ahead {
            total: others
                .saturating_mul(rounds)
                .saturating_add(of_name)
                .min(self.waiting),
            of_name,
        }
    }

    /// Adds an entry.
    pub(super) fn push(&mut self, name: NameHash, entry: T) -> Ticket {
        let number = self.next_number();
        let queue = self.names.entry(name).or_insert_with(|| Name {
            waiting: BTreeMap::new(),
            running: 0,
            position: None,
        });
        self.waiting_names += usize::from(queue.waiting.is_empty());
        queue.waiting.insert(number, entry);
        self.waiting += 1;
        self.queue_up(name);
        Ticket { name, number }
    }

    /// Removes and returns the next entry, if a turn is free. The turn lasts until
    /// [`finish`](Self::finish).
    pub(super) fn start(&mut self) -> Option<T> {
        if self.free_turns == 0 {
            return None;
        }
        let (_, name) = self.rotation.pop_first()?;
        let queue = self.names.get_mut(&name)?;
        queue.position = None;
        let (_, entry) = queue.waiting.pop_first()?;
        queue.running += 1;
        self.free_turns -= 1;
        self.waiting -= 1;
        self.waiting_names -= usize::from(queue.waiting.is_empty());
        self.queue_up(name);
        Some(entry)
    }

    /// Ends a turn of a name.
    pub(super) fn finish(&mut self, name: NameHash) {
        let Some(queue) = self.names.get_mut(&name) else {
            return;
        };
        queue.running = queue.running.saturating_sub(1);
        self.free_turns += 1;
        self.queue_up(name);
        self.remove_if_unused(name);
    }

    /// Removes and returns a waiting entry, or returns `None` if it no longer waits.
    pub(super) fn cancel(&mut self, ticket: &Ticket) -> Option<T> {
        let queue = self.names.get_mut(&ticket.name)?;
        let entry = queue.waiting.remove(&ticket.number)?;
        self.waiting -= 1;
        if queue.waiting.is_empty() {
            self.waiting_names -= 1;
            if let Some(position) = queue.position.take() {
                self.rotation.remove(&position);
            }
            self.remove_if_unused(ticket.name);
        }
        Some(entry)
    }

    /// Removes and returns all waiting entries. Running turns continue.
    pub(super) fn drain(&mut self) -> Vec<T> {
        self.rotation.clear();
        self.waiting = 0;
        self.waiting_names = 0;
        let mut drained = Vec::new();
        self.names.retain(|_, queue| {
            queue.position = None;
            drained.extend(std::mem::take(&mut queue.waiting).into_values());
            queue.running > 0
        });
        drained
    }

    /// Appends a name to the rotation if it has a waiting entry, may run another turn and is not in
    /// the rotation yet.
    fn queue_up(&mut self, name: NameHash) {
        let position = self.next_number();
        let Some(queue) = self.names.get_mut(&name) else {
            return;
        };
        if queue.position.is_none()
            && !queue.waiting.is_empty()
            && queue.running < self.max_turns_of_name
        {
            queue.position = Some(position);
            self.rotation.insert(position, name);
        }
    }

    fn remove_if_unused(&mut self, name: NameHash) {
        let unused = |queue: &Name<T>| queue.running == 0 && queue.waiting.is_empty();
        if self.names.get(&name).is_some_and(unused) {
            self.names.remove(&name);
        }
    }

    const fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

#[cfg(test)]
mod tests;
