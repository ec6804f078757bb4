//! A flood of logins, pushed without waiting for replies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use redis::Commands as _;
use serde_json::json;

use crate::options::Flood;

/// Number of logins pushed at once when the flood starts.
const INITIAL_LOGINS: usize = 20_000;
/// Number of logins pushed in each later interval: 500 a second.
const LOGINS_PER_INTERVAL: usize = 10;
const INTERVAL: Duration = Duration::from_millis(20);

/// A running flood. Dropping it ends the flood.
pub struct RunningFlood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Starts the flood. Returns once the initial logins are pushed.
    pub fn start(self, mut redis: redis::Connection) -> RunningFlood {
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
        push(INITIAL_LOGINS);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                push(LOGINS_PER_INTERVAL);
                std::thread::sleep(INTERVAL);
            }
        });
        RunningFlood {
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

impl Drop for RunningFlood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
