//! A proxy between the daemon and Redis that can lose an answer: Redis has then executed a
//! command, and the daemon does not know.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use tempfile::TempDir;

use super::{PATIENCE, RedisServer};

pub struct Proxy {
    folder: TempDir,
    faults: Arc<Faults>,
}

/// Selects the answer to lose.
#[derive(Clone)]
pub enum Lose {
    /// The first answer that contains this text.
    AnswerWith(String),
    /// The answer to the first command that contains this text.
    AnswerTo(String),
}

/// Maximum length of the texts to match.
const MAX_TEXT: usize = 128;

#[derive(Default)]
struct Faults {
    to_lose: Mutex<Option<Lose>>,
    lost_answers: AtomicUsize,
    /// A connection stalls when a command on it contains this text.
    stall_on: Mutex<Option<String>>,
    stalls: Mutex<usize>,
    stalled: Condvar,
}

impl Proxy {
    pub fn to(redis: &RedisServer) -> Self {
        let proxy = Self {
            folder: tempfile::tempdir().unwrap(),
            faults: Arc::default(),
        };
        let listener = UnixListener::bind(proxy.socket()).unwrap();
        let (faults, redis) = (Arc::clone(&proxy.faults), redis.socket());
        std::thread::spawn(move || {
            for daemon in listener.incoming().map_while(Result::ok) {
                connect(&faults, daemon, &redis);
            }
        });
        proxy
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("proxy.sock")
    }

    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Closes the connection instead of forwarding that answer, once.
    pub fn lose(&self, answer: Lose) {
        *self.faults.to_lose.lock().unwrap() = Some(answer);
    }

    /// Stalls each connection on which a command contains this text, from now on: the proxy drops
    /// that command and all later ones on the connection.
    pub fn stall_on(&self, text: &str) {
        *self.faults.stall_on.lock().unwrap() = Some(text.to_owned());
    }

    /// Stops stalling further connections.
    pub fn stop_stalling(&self) {
        *self.faults.stall_on.lock().unwrap() = None;
    }

    /// Returns how many connections have stalled.
    pub fn stalls(&self) -> usize {
        *self.faults.stalls.lock().unwrap()
    }

    /// Waits until a connection has stalled.
    #[track_caller]
    pub fn wait_for_stall(&self) {
        let stalls = self.faults.stalls.lock().unwrap();
        let stalled = &self.faults.stalled;
        let (_stalls, waited) = stalled
            .wait_timeout_while(stalls, PATIENCE, |stalls| *stalls == 0)
            .unwrap();
        assert!(!waited.timed_out(), "no connection stalled");
    }

    /// Returns how many answers were lost.
    pub fn lost_answers(&self) -> usize {
        self.faults.lost_answers.load(Ordering::SeqCst)
    }
}

fn connect(faults: &Arc<Faults>, daemon: UnixStream, redis: &Path) {
    let Ok(redis) = UnixStream::connect(redis) else {
        return;
    };
    let (daemon, redis) = (Arc::new(daemon), Arc::new(redis));
    let lose_next = Arc::new(AtomicBool::new(false));
    for commands in [true, false] {
        let (faults, lose_next) = (Arc::clone(faults), Arc::clone(&lose_next));
        let (daemon, redis) = (Arc::clone(&daemon), Arc::clone(&redis));
        std::thread::spawn(move || {
            if commands {
                forward(&daemon, &redis, |seen| {
                    if faults.must_stall(seen) {
                        *faults.stalls.lock().unwrap() += 1;
                        faults.stalled.notify_all();
                        discard(&daemon);
                        return false;
                    }
                    if faults.must_lose(seen, |lose| matches!(lose, Lose::AnswerTo(_))) {
                        lose_next.store(true, Ordering::SeqCst);
                    }
                    true
                });
            } else {
                forward(&redis, &daemon, |seen| {
                    let lost = lose_next.load(Ordering::SeqCst)
                        || faults.must_lose(seen, |lose| matches!(lose, Lose::AnswerWith(_)));
                    if lost {
                        faults.lost_answers.fetch_add(1, Ordering::SeqCst);
                    }
                    !lost
                });
            }
            for end in [daemon, redis] {
                let _ = end.shutdown(Shutdown::Both);
            }
        });
    }
}

/// Reads and discards bytes until the other side closes the connection.
fn discard(mut from: &UnixStream) {
    let mut chunk = [0; 1 << 12];
    while let Ok(1..) = from.read(&mut chunk) {}
}

/// Forwards bytes while `pass` returns true.
///
/// `pass` gets each chunk together with the end of the previous one, because a text may span both.
/// It gets no older bytes: a text that was sent before the test selects it must not match.
fn forward(mut from: &UnixStream, mut to: &UnixStream, mut pass: impl FnMut(&[u8]) -> bool) {
    let mut seen = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut chunk) {
        seen.drain(..seen.len().saturating_sub(MAX_TEXT - 1));
        seen.extend(&chunk[..length]);
        if !pass(&seen) || to.write_all(&chunk[..length]).is_err() {
            return;
        }
    }
}

fn contains(seen: &[u8], text: &str) -> bool {
    assert!(text.len() <= MAX_TEXT, "{text}");
    seen.windows(text.len()).any(|w| w == text.as_bytes())
}

impl Faults {
    /// Returns whether the text to stall on is in the bytes read last.
    fn must_stall(&self, seen: &[u8]) -> bool {
        let stall_on = self.stall_on.lock().unwrap();
        stall_on.as_ref().is_some_and(|text| contains(seen, text))
    }

    /// Returns whether the answer to lose is of this kind and its text was seen. Then the
    /// selection is cleared, so that only one answer is lost.
    fn must_lose(&self, seen: &[u8], kind: impl Fn(&Lose) -> bool) -> bool {
        let mut to_lose = self.to_lose.lock().unwrap();
        let hit = to_lose.as_ref().is_some_and(|lose| {
            let (Lose::AnswerWith(text) | Lose::AnswerTo(text)) = lose;
            kind(lose) && contains(seen, text)
        });
        if hit {
            *to_lose = None;
        }
        hit
    }
}
