//! How much may be in flight: messages and their bytes.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// What there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

impl Room {
    /// Whether there is room for nothing.
    pub(super) const fn is_none(self) -> bool {
        self.messages == 0 || self.bytes == 0
    }
}

/// Counts what is in flight.
#[derive(Debug)]
pub(super) struct Budget {
    all: Room,
    left: Mutex<Room>,
    freed: Notify,
}

/// A message in flight; dropping it makes room.
#[derive(Debug)]
pub(super) struct Claim {
    budget: Arc<Budget>,
    taken: Room,
}

impl Budget {
    pub(super) fn new(messages: usize, bytes: usize) -> Arc<Self> {
        let all = Room { messages, bytes };
        Arc::new(Self {
            all,
            left: Mutex::new(all),
            freed: Notify::new(),
        })
    }

    /// Waits until there is room for a message, and tells how much.
    pub(super) async fn room(&self) -> Room {
        self.wait(|left| !left.is_none()).await
    }

    /// Waits until nothing is in flight.
    pub(super) async fn idle(&self) {
        self.wait(|left| *left == self.all).await;
    }

    /// One waits at a time: the taker.
    async fn wait(&self, enough: impl Fn(&Room) -> bool) -> Room {
        loop {
            let freed = self.freed.notified();
            let left = self.left();
            if enough(&left) {
                return left;
            }
            freed.await;
        }
    }

    /// What there is room for now.
    pub(super) fn left(&self) -> Room {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes room for a message that is here already: a single one may exceed
    /// what is left, because it could not be left behind.
    pub(super) fn claim(self: &Arc<Self>, bytes: usize) -> Claim {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = Room {
            messages: left.messages.min(1),
            bytes: left.bytes.min(bytes),
        };
        left.messages -= taken.messages;
        left.bytes -= taken.bytes;
        Claim {
            budget: Arc::clone(self),
            taken,
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut left = self
            .budget
            .left
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        left.messages += self.taken.messages;
        left.bytes += self.taken.bytes;
        drop(left);
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
            Room {
                messages: 1,
                bytes: 10
            }
        );
    }

    #[tokio::test]
    async fn what_is_claimed_comes_back() {
        let budget = Budget::new(2, 10);
        let first = budget.claim(4);
        assert_eq!(
            budget.room().await,
            Room {
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
            Room {
                messages: 1,
                bytes: 6
            }
        );
        drop(first);
        assert_eq!(
            budget.room().await,
            Room {
                messages: 2,
                bytes: 10
            }
        );
    }
}
