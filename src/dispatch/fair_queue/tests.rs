use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

const fn name(byte: u8) -> NameHash {
    NameHash([byte; 16])
}

/// Returns a queue with `entries`. The byte of an entry is its name.
fn filled(turns: usize, entries: &[(u8, u32)]) -> FairQueue<(u8, u32)> {
    let mut queue = FairQueue::new(turns);
    for entry in entries {
        queue.push(name(entry.0), *entry);
    }
    queue
}

/// Returns all entries in the order in which a single turn serves them.
fn serve_all(mut queue: FairQueue<(u8, u32)>) -> Vec<(u8, u32)> {
    std::iter::from_fn(|| {
        let entry = queue.start()?;
        queue.finish(name(entry.0));
        Some(entry)
    })
    .collect()
}

#[test]
fn names_rotate_and_the_entries_of_a_name_stay_in_order() {
    let queue = filled(1, &[(1, 0), (1, 1), (1, 2), (1, 3), (2, 0), (3, 0), (2, 1)]);
    let order = serve_all(queue);
    let expected = [(1, 0), (2, 0), (3, 0), (1, 1), (2, 1), (1, 2), (1, 3)];
    assert_eq!(order, expected);
}

#[test]
fn one_name_leaves_half_of_the_turns_to_others() {
    let mut queue = filled(4, &[(1, 0), (1, 1), (1, 2), (1, 3)]);
    assert_eq!(queue.start(), Some((1, 0)));
    assert_eq!(queue.start(), Some((1, 1)));
    assert_eq!(queue.start(), None);
    queue.push(name(2), (2, 0));
    assert_eq!(queue.start(), Some((2, 0)));
    queue.finish(name(1));
    assert_eq!(queue.start(), Some((1, 2)));
    assert_eq!(queue.start(), None);
}

#[test]
fn a_new_name_waits_for_one_round() {
    let mut queue = filled(1, &[]);
    for number in 0..1_000 {
        queue.push(name(1), (1, number));
    }
    queue.push(name(2), (2, 0));
    let ahead = |total, of_name| Ahead { total, of_name };
    assert_eq!(queue.ahead(&name(3)), ahead(2, 0));
    // One entry of name 1 precedes each of the two entries of name 2.
    assert_eq!(queue.ahead(&name(2)), ahead(3, 1));
    assert_eq!(queue.ahead(&name(1)), ahead(1_001, 1_000));
}

#[test]
fn drain_returns_all_waiting_entries() {
    let mut queue = filled(2, &[(1, 0), (1, 1), (2, 0), (2, 1), (3, 0)]);
    let running: Vec<_> = std::iter::from_fn(|| queue.start()).collect();
    assert_eq!(running, [(1, 0), (2, 0)]);
    let mut drained = queue.drain();
    drained.sort_unstable();
    assert_eq!(drained, [(1, 1), (2, 1), (3, 0)]);
    assert_eq!(queue.waiting, 0);
    for (byte, _) in running {
        queue.finish(name(byte));
    }
    assert!(queue.names.is_empty() && queue.free_turns == 2);
    assert_eq!(queue.start(), None);
}

/// An operation on a queue.
#[derive(Debug, Clone)]
enum Step {
    Push(u8),
    Start,
    /// Ends the running turn at this index, modulo the number of running turns.
    Finish(usize),
    /// Cancels the entry of the ticket at this index, modulo the number of tickets.
    Cancel(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..5).prop_map(Step::Push),
        3 => Just(Step::Start),
        3 => any::<usize>().prop_map(Step::Finish),
        1 => any::<usize>().prop_map(Step::Cancel),
    ]
}

/// A naive model of the queue: the waiting entries of all names in the order of their arrival, and
/// the names in the order of their turns.
struct Model {
    turns: usize,
    waiting: Vec<(u8, u32)>,
    running: Vec<u8>,
    rotation: Vec<u8>,
}

impl Model {
    fn running(&self, byte: u8) -> usize {
        self.running.iter().filter(|it| **it == byte).count()
    }

    fn waits(&self, byte: u8) -> bool {
        self.waiting.iter().any(|(it, _)| *it == byte)
    }

    /// Removes names that cannot run from the rotation, and appends `last` if it can.
    fn rotate(&mut self, last: u8) {
        let may_run =
            |model: &Self, byte| model.waits(byte) && model.running(byte) < model.turns.div_ceil(2);
        let rotation = std::mem::take(&mut self.rotation);
        self.rotation = rotation
            .into_iter()
            .filter(|it| may_run(self, *it))
            .collect();
        if may_run(self, last) && !self.rotation.contains(&last) {
            self.rotation.push(last);
        }
    }

    fn start(&mut self) -> Option<(u8, u32)> {
        if self.running.len() == self.turns || self.rotation.is_empty() {
            return None;
        }
        let byte = self.rotation.remove(0);
        let index = self.waiting.iter().position(|(it, _)| *it == byte)?;
        let entry = self.waiting.remove(index);
        self.running.push(byte);
        self.rotate(byte);
        Some(entry)
    }
}

proptest! {
    /// Names rotate, entries of a name are served first in, first out, and one name gets at most
    /// half of the turns. No entry is lost or served twice, with any cancellations in between.
    #[test]
    fn the_queue_behaves_as_the_model(
        turns in 1usize..5,
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let mut queue = FairQueue::new(turns);
        let mut model = Model {
            turns,
            waiting: Vec::new(),
            running: Vec::new(),
            rotation: Vec::new(),
        };
        let mut tickets: Vec<(Ticket, (u8, u32))> = Vec::new();
        let mut seen = HashSet::new();
        for (number, step) in (0..).zip(steps) {
            match step {
                Step::Push(byte) => {
                    let entry = (byte, number);
                    tickets.push((queue.push(name(byte), entry), entry));
                    model.waiting.push(entry);
                    model.rotate(byte);
                }
                Step::Start => {
                    let started = queue.start();
                    prop_assert_eq!(started, model.start());
                    if let Some(entry) = started {
                        prop_assert!(seen.insert(entry), "served twice");
                    }
                }
                Step::Finish(index) if !model.running.is_empty() => {
                    let byte = model.running.remove(index % model.running.len());
                    queue.finish(name(byte));
                    model.rotate(byte);
                }
                Step::Cancel(index) if !tickets.is_empty() => {
                    let (ticket, entry) = tickets.swap_remove(index % tickets.len());
                    let waits = model.waiting.iter().position(|it| *it == entry);
                    prop_assert_eq!(queue.cancel(&ticket), waits.map(|_| entry));
                    if let Some(index) = waits {
                        model.waiting.remove(index);
                        seen.insert(entry);
                        model.rotate(entry.0);
                    }
                }
                Step::Finish(_) | Step::Cancel(_) => {}
            }
            prop_assert_eq!(queue.waiting, model.waiting.len());
            let names: HashSet<_> = model.waiting.iter().map(|(byte, _)| byte).collect();
            prop_assert_eq!(queue.waiting_names, names.len());
        }
        // Finally each entry was served or cancelled once.
        while queue.waiting > 0 || !model.running.is_empty() {
            while let Some(entry) = queue.start() {
                prop_assert_eq!(Some(entry), model.start());
                prop_assert!(seen.insert(entry), "served twice");
            }
            if let Some(byte) = model.running.pop() {
                queue.finish(name(byte));
                model.rotate(byte);
            }
        }
        for (_, entry) in tickets {
            prop_assert!(seen.contains(&entry), "lost: {entry:?}");
        }
        // A name without waiting entries and running turns takes no memory.
        prop_assert!(queue.names.is_empty() && queue.rotation.is_empty());
        prop_assert_eq!(queue.free_turns, turns);
    }
}
