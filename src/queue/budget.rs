//! Budget of what may be in flight: messages and their bytes.
//!
//! A message is in flight until it is acknowledged. It takes no capacity while it waits for a turn,
//! where the turns bound it: waiting messages must not keep messages from being fetched that could
//! get a reply at once. Once it is done, it takes capacity again until its reply is sent, which may
//! wait for a permission in Redis.
//!
//! A message is decoded without an await, and dropped once its arguments are bound. So at most one
//! decoded message is in memory at a time.
//!
//! Recovery waits until nothing is in flight before it runs a suspect. For that, messages that wait
//! for a turn count.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A number of messages and of their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Capacity {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

impl Capacity {
    /// Returns whether it is too little for any message.
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
    /// Number of messages in flight, with capacity or without.
    in_flight: usize,
}

/// Counts one message as in flight and takes capacity for it, until it is dropped.
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

    /// Waits for capacity and returns all that is left.
    pub(super) async fn capacity(&self) -> Capacity {
        self.wait(|state| !state.left.is_none()).await
    }

    /// Waits until nothing is in flight, not even messages that wait for a turn.
    pub(super) async fn idle(&self) {
        self.wait(|state| state.in_flight == 0).await;
    }

    /// Only the fetcher waits, so that one notification suffices.
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

    /// Returns the capacity that is left now.
    pub(super) fn left(&self) -> Capacity {
        self.lock().left
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes capacity for a message that was fetched. A single message may exceed what is left,
    /// because its size was not known before.
    pub(super) fn permit(self: &Arc<Self>, bytes: usize) -> InFlightPermit {
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
    /// Takes this much capacity, or all that is left.
    fn take(&mut self, messages: usize, bytes: usize) -> Capacity {
        let taken = Capacity {
            messages: self.left.messages.min(messages),
            bytes: self.left.bytes.min(bytes),
        };
        self.left.messages -= taken.messages;
        self.left.bytes -= taken.bytes;
        taken
    }

    fn release(&mut self, taken: &mut Capacity) {
        self.left.messages += std::mem::take(&mut taken.messages);
        self.left.bytes += std::mem::take(&mut taken.bytes);
    }
}

impl InFlightPermit {
    /// Releases the capacity. The message stays in flight.
    pub(super) fn release_capacity(&mut self) {
        self.budget.lock().release(&mut self.taken);
        self.budget.freed.notify_one();
    }

    /// Takes about this much capacity instead of the present one, or all that is left. A message
    /// that has run waits until Redis accepts its reply: when many do, the fetcher must stop.
    pub(super) fn resize(&mut self, bytes: usize) {
        if self.taken.messages > 0 && self.taken.bytes <= 2 * bytes {
            return;
        }
        let mut state = self.budget.lock();
        state.release(&mut self.taken);
        self.taken = state.take(1, bytes);
        drop(state);
        self.budget.freed.notify_one();
    }

    /// Ends the flight of a message whose reply waits for a permission in Redis. It keeps its
    /// capacity.
    pub(super) fn park(&mut self) {
        self.budget.lock().in_flight -= usize::from(std::mem::take(&mut self.is_in_flight));
        self.budget.freed.notify_one();
    }
}

impl Drop for InFlightPermit {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
        state.release(&mut self.taken);
        state.in_flight -= usize::from(self.is_in_flight);
        drop(state);
        self.budget.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_permit_beyond_the_capacity_left_releases_no_more_than_it_took() {
        let budget = Budget::new(1, 10);
        drop([budget.permit(4), budget.permit(4), budget.permit(4)]);
        assert_eq!(
            budget.capacity().await,
            Capacity {
                messages: 1,
                bytes: 10
            }
        );
    }

    #[tokio::test]
    async fn a_message_that_waits_for_a_turn_takes_no_capacity_and_is_in_flight() {
        let budget = Budget::new(2, 10);
        let mut waiting = budget.permit(4);
        let capacity = |messages, bytes| Capacity { messages, bytes };
        assert_eq!(budget.left(), capacity(1, 6));
        waiting.release_capacity();
        assert_eq!(budget.left(), capacity(2, 10));
        let idle = |budget: &Arc<Budget>| budget.lock().in_flight == 0;
        assert!(!idle(&budget));
        let other = budget.permit(1);
        drop(waiting);
        assert_eq!(budget.left(), capacity(1, 9));
        assert!(!idle(&budget));
        drop(other);
        assert_eq!(budget.left(), capacity(2, 10));
        budget.idle().await;
    }

    /// Replies that waited for a permission in Redis took memory without bound.
    #[tokio::test]
    async fn a_message_that_has_run_takes_capacity_until_it_is_acknowledged() {
        let budget = Budget::new(2, 10);
        let mut done = [4, 4, 4].map(|bytes| {
            let mut waiting = budget.permit(bytes);
            waiting.release_capacity();
            waiting
        });
        for permit in &mut done {
            permit.resize(1);
        }
        assert!(budget.left().is_none());
        drop(done);
        let all = Capacity {
            messages: 2,
            bytes: 10,
        };
        assert_eq!(budget.capacity().await, all);
    }

    /// Recovery waited without end for a suspect whose reply Redis refused.
    #[tokio::test]
    async fn a_parked_message_keeps_its_capacity_and_is_not_waited_for() {
        let budget = Budget::new(2, 10);
        let mut parked = budget.permit(4);
        parked.park();
        budget.idle().await;
        let capacity = |messages, bytes| Capacity { messages, bytes };
        assert_eq!(budget.left(), capacity(1, 6));
        drop(parked);
        budget.idle().await;
        assert_eq!(budget.left(), capacity(2, 10));
    }

    #[tokio::test]
    async fn capacity_returns_when_a_permit_is_dropped() {
        let budget = Budget::new(2, 10);
        let first = budget.permit(4);
        assert_eq!(
            budget.capacity().await,
            Capacity {
                messages: 1,
                bytes: 6
            }
        );
        let second = budget.permit(100);
        let waiting = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.capacity().await }
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
            budget.capacity().await,
            Capacity {
                messages: 2,
                bytes: 10
            }
        );
    }
}
