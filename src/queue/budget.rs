//! How much may be in flight: messages and their bytes.
//!
//! A message is in flight until it is settled. It holds no room while it waits
//! for a turn, where it is bounded by other means: what waits must not keep what
//! could be answered at once from being taken.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Capacity {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

impl Capacity {
    /// Whether there is room for nothing.
    pub(super) const fn is_none(self) -> bool {
        self.messages == 0 || self.bytes == 0
    }
}

/// Counts what is in flight.
#[derive(Debug)]
pub(super) struct Budget {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    left: Capacity,
    /// Messages in flight, with room or without.
    in_flight: usize,
}

/// A message in flight; dropping it makes room.
#[derive(Debug)]
pub(super) struct InFlightPermit {
    budget: Arc<Budget>,
    taken: Capacity,
    is_in_flight: bool,
}

impl Budget {
    pub(super) fn new(messages: usize, bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                left: Capacity { messages, bytes },
                in_flight: 0,
            }),
            freed: Notify::new(),
        })
    }

    /// Waits until there is room for a message, and tells how much.
    pub(super) async fn room(&self) -> Capacity {
        self.wait(|state| !state.left.is_none()).await
    }

    /// Waits until nothing is in flight, not even what waits for a turn.
    pub(super) async fn idle(&self) {
        self.wait(|state| state.in_flight == 0).await;
    }

    /// One waits at a time: the fetcher.
    async fn wait(&self, enough: impl Fn(&State) -> bool) -> Capacity {
        loop {
            let freed = self.freed.notified();
            {
                let state = self.lock();
                if enough(&state) {
                    return state.left;
                }
            }
            freed.await;
        }
    }

    /// What there is room for now.
    pub(super) fn left(&self) -> Capacity {
        self.lock().left
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes room for a message that is here already: a single one may exceed
    /// what is left, because it could not be left behind.
    pub(super) fn claim(self: &Arc<Self>, bytes: usize) -> InFlightPermit {
        let mut state = self.lock();
        state.in_flight += 1;
        InFlightPermit {
            budget: Arc::clone(self),
            taken: state.take(1, bytes),
            is_in_flight: true,
        }
    }
}

impl State {
    /// Takes as much room as there is, up to this.
    fn take(&mut self, messages: usize, bytes: usize) -> Capacity {
        let taken = Capacity {
            messages: self.left.messages.min(messages),
            bytes: self.left.bytes.min(bytes),
        };
        self.left.messages -= taken.messages;
        self.left.bytes -= taken.bytes;
        taken
    }

    fn give_back(&mut self, taken: &mut Capacity) {
        self.left.messages += std::mem::take(&mut taken.messages);
        self.left.bytes += std::mem::take(&mut taken.bytes);
    }
}

impl InFlightPermit {
    /// Gives the room back. The message stays in flight.
    pub(super) fn give_back_room(&mut self) {
        self.budget.lock().give_back(&mut self.taken);
        self.budget.freed.notify_one();
    }

    /// Holds about this much room from now on, as far as there is any, whatever it
    /// held before. What is done with waits until Redis takes its reply: when many do,
    /// no more is taken.
    pub(super) fn hold(&mut self, bytes: usize) {
        if self.taken.messages > 0 && self.taken.bytes <= 2 * bytes {
            return;
        }
        let mut state = self.budget.lock();
        state.give_back(&mut self.taken);
        self.taken = state.take(1, bytes);
        drop(state);
        self.budget.freed.notify_one();
    }
}

impl InFlightPermit {
    /// The message is done with, and its reply waits for a right: it holds its
    /// room, and is in flight no more.
    pub(super) fn park(&mut self) {
        self.budget.lock().in_flight -= usize::from(std::mem::take(&mut self.is_in_flight));
        self.budget.freed.notify_one();
    }
}

impl Drop for InFlightPermit {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
        state.give_back(&mut self.taken);
        state.in_flight -= usize::from(self.is_in_flight);
        drop(state);
        self.budget.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_claim_beyond_what_is_left_gives_back_no_more_than_it_took() {
        let budget = Budget::new(1, 10);
        drop([budget.claim(4), budget.claim(4), budget.claim(4)]);
        assert_eq!(
            budget.room().await,
            Capacity {
                messages: 1,
                bytes: 10
            }
        );
    }

    #[tokio::test]
    async fn what_waits_for_a_turn_takes_no_room_and_is_in_flight() {
        let budget = Budget::new(2, 10);
        let mut waiting = budget.claim(4);
        let room = |messages, bytes| Capacity { messages, bytes };
        assert_eq!(budget.left(), room(1, 6));
        waiting.give_back_room();
        assert_eq!(budget.left(), room(2, 10));
        let idle = |budget: &Arc<Budget>| budget.lock().in_flight == 0;
        assert!(!idle(&budget));
        let other = budget.claim(1);
        drop(waiting);
        assert_eq!(budget.left(), room(1, 9));
        assert!(!idle(&budget));
        drop(other);
        assert_eq!(budget.left(), room(2, 10));
        budget.idle().await;
    }

    /// Replies that waited for a right in Redis took memory without bound.
    #[tokio::test]
    async fn what_is_done_holds_room_until_it_is_settled() {
        let budget = Budget::new(2, 10);
        let mut done = [4, 4, 4].map(|bytes| {
            let mut waiting = budget.claim(bytes);
            waiting.give_back_room();
            waiting
        });
        for claim in &mut done {
            claim.hold(1);
        }
        assert!(budget.left().is_none());
        drop(done);
        let all = Capacity {
            messages: 2,
            bytes: 10,
        };
        assert_eq!(budget.room().await, all);
    }

    /// A suspect whose reply was refused was waited for without end.
    #[tokio::test]
    async fn what_is_parked_holds_its_room_and_is_not_waited_for() {
        let budget = Budget::new(2, 10);
        let mut parked = budget.claim(4);
        parked.park();
        budget.idle().await;
        let room = |messages, bytes| Capacity { messages, bytes };
        assert_eq!(budget.left(), room(1, 6));
        drop(parked);
        budget.idle().await;
        assert_eq!(budget.left(), room(2, 10));
    }

    #[tokio::test]
    async fn what_is_claimed_comes_back() {
        let budget = Budget::new(2, 10);
        let first = budget.claim(4);
        assert_eq!(
            budget.room().await,
            Capacity {
                messages: 1,
                bytes: 6
            }
        );
        let second = budget.claim(100);
        let waiting = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.room().await }
        });
        drop(second);
        assert_eq!(
            waiting.await.unwrap(),
            Capacity {
                messages: 1,
                bytes: 6
            }
        );
        drop(first);
        assert_eq!(
            budget.room().await,
            Capacity {
                messages: 2,
                bytes: 10
            }
        );
    }
}
