//! A queue that serves names in rotation: each name has a queue of its own,
//! and the names take turns, one turn each. However many entries wait under
//! one name, an entry of another name waits for one round at most.
//!
//! One name holds at most half of the turns (rounded up). Attempts on one name
//! wait for each other at the throttle's gate, and would otherwise hold every
//! turn while they do.
//!
//! Every step costs O(log n), in the number of waiting entries.

use std::collections::{BTreeMap, HashMap};

use crate::model::NameHash;

/// Entries that wait for a turn, and the turns that are taken.
pub(super) struct FairQueue<T> {
    names: HashMap<NameHash, Name<T>>,
    /// The names that may get the next turns, in order.
    rotation: BTreeMap<u64, NameHash>,
    /// Orders entries within a name and names within the rotation.
    next: u64,
    waiting: usize,
    waiting_names: usize,
    free_turns: usize,
    max_turns_of_name: usize,
}

/// What waits and what runs under one name.
struct Name<T> {
    waiting: BTreeMap<u64, T>,
    running: usize,
    /// Its place in the rotation, if it is there.
    place: Option<u64>,
}

/// Where an entry waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    name: NameHash,
    number: u64,
}

impl Ticket {
    /// The name that the entry waits under.
    pub(super) const fn name(&self) -> NameHash {
        self.name
    }
}

/// How many entries are served before a new one of some name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ahead {
    /// Of all names, if no other name begins to wait.
    pub(super) total: usize,
    /// Of the same name.
    pub(super) of_name: usize,
}

impl<T> FairQueue<T> {
    /// A queue for this many turns at a time; at least one.
    pub(super) fn new(turns: usize) -> Self {
        let turns = turns.max(1);
        Self {
            names: HashMap::new(),
            rotation: BTreeMap::new(),
            next: 0,
            waiting: 0,
            waiting_names: 0,
            free_turns: turns,
            max_turns_of_name: turns.div_ceil(2),
        }
    }

    /// How many entries wait.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// The most turns that one name has at a time.
    pub(super) const fn max_turns_of_name(&self) -> usize {
        self.max_turns_of_name
    }

    /// What a new entry of a name would wait for. Each entry ahead of it under
    /// its own name means a round of the other names that wait.
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
        let number = self.draw();
        let queue = self.names.entry(name).or_insert_with(|| Name {
            waiting: BTreeMap::new(),
            running: 0,
            place: None,
        });
        self.waiting_names += usize::from(queue.waiting.is_empty());
        queue.waiting.insert(number, entry);
        self.waiting += 1;
        self.queue_up(name);
        Ticket { name, number }
    }

    /// Takes out the entry whose turn it is, if a turn is free. The turn is
    /// over with [`finish`](Self::finish).
    pub(super) fn start(&mut self) -> Option<T> {
        if self.free_turns == 0 {
            return None;
        }
        let (_, name) = self.rotation.pop_first()?;
        let queue = self.names.get_mut(&name)?;
        queue.place = None;
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
        self.forget_if_unused(name);
    }

    /// Removes an entry that waits; `None` where it does not wait any more.
    pub(super) fn cancel(&mut self, ticket: &Ticket) -> Option<T> {
        let queue = self.names.get_mut(&ticket.name)?;
        let entry = queue.waiting.remove(&ticket.number)?;
        self.waiting -= 1;
        if queue.waiting.is_empty() {
            self.waiting_names -= 1;
            if let Some(place) = queue.place.take() {
                self.rotation.remove(&place);
            }
            self.forget_if_unused(ticket.name);
        }
        Some(entry)
    }

    /// Removes all entries that wait. Turns go on.
    pub(super) fn drain(&mut self) -> Vec<T> {
        self.rotation.clear();
        self.waiting = 0;
        self.waiting_names = 0;
        let mut drained = Vec::new();
        self.names.retain(|_, queue| {
            queue.place = None;
            drained.extend(std::mem::take(&mut queue.waiting).into_values());
            queue.running > 0
        });
        drained
    }

    /// Puts a name at the end of the rotation, where it has something to do
    /// there and is not in it.
    fn queue_up(&mut self, name: NameHash) {
        let place = self.draw();
        let Some(queue) = self.names.get_mut(&name) else {
            return;
        };
        if queue.place.is_none()
            && !queue.waiting.is_empty()
            && queue.running < self.max_turns_of_name
        {
            queue.place = Some(place);
            self.rotation.insert(place, name);
        }
    }

    fn forget_if_unused(&mut self, name: NameHash) {
        let unused = |queue: &Name<T>| queue.running == 0 && queue.waiting.is_empty();
        if self.names.get(&name).is_some_and(unused) {
            self.names.remove(&name);
        }
    }

    const fn draw(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

#[cfg(test)]
mod tests;
