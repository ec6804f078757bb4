//! Logins of others, pushed without waiting for their answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use redis::Commands as _;
use serde_json::json;

use crate::options::Flood;

/// At once, at the beginning.
const AT_ONCE: usize = 20_000;
/// After that, so many in every step of this length: 500 a second.
const IN_A_STEP: usize = 10;
const STEP: Duration = Duration::from_millis(20);

/// A flood that goes on until it is dropped.
pub struct Running {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Returns when its first wave has been pushed.
    pub fn start(self, mut redis: redis::Connection) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut number = 0;
        let mut push = move |count: usize| {
            let messages: Vec<_> = (0..count)
                .map(|_| {
                    number += 1;
                    self.login(number)
                })
                .collect();
            let _: () = redis.rpush("platypush/user", messages).unwrap();
        };
        push(AT_ONCE);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                push(IN_A_STEP);
                std::thread::sleep(STEP);
            }
        });
        Running {
            stop,
            thread: Some(thread),
        }
    }

    fn login(self, number: u64) -> String {
        let name = match self {
            Self::One => "flooded".into(),
            Self::Distinct => format!("flooded{number}"),
        };
        json!({"type": "request", "action": "user.authenticate_user", "id": "flood",
            "args": {"username": name, "password": "wrong"}})
        .to_string()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
