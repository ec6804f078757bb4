//! The line between the daemon and Redis, which can be cut so that Redis has
//! done what it was asked and the daemon does not know.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use tempfile::TempDir;

use super::{PATIENCE, RedisServer};

pub struct Line {
    folder: TempDir,
    cutter: Arc<Cutter>,
}

/// Which answer gets lost.
#[derive(Clone)]
pub enum Lose {
    /// The first one that contains this text.
    AnswerWith(String),
    /// That to the first command that contains this text.
    AnswerTo(String),
}

/// Maximum length of the texts that are looked for.
const LONGEST_TEXT: usize = 128;

#[derive(Default)]
struct Cutter {
    next: Mutex<Option<Lose>>,
    cuts: AtomicUsize,
    /// A connection on which this text is sent goes silent.
    silencing: Mutex<Option<String>>,
    silences: Mutex<usize>,
    silenced: Condvar,
}

impl Line {
    pub fn to(redis: &RedisServer) -> Self {
        let line = Self {
            folder: tempfile::tempdir().unwrap(),
            cutter: Arc::default(),
        };
        let listener = UnixListener::bind(line.socket()).unwrap();
        let (cutter, redis) = (Arc::clone(&line.cutter), redis.socket());
        std::thread::spawn(move || {
            for daemon in listener.incoming().map_while(Result::ok) {
                connect(&cutter, daemon, &redis);
            }
        });
        line
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("line.sock")
    }

    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Cuts the connection in place of that answer, once.
    pub fn lose(&self, answer: Lose) {
        *self.cutter.next.lock().unwrap() = Some(answer);
    }

    /// From now on, each connection goes silent on which a command contains
    /// this text: neither that command nor anything behind it comes through.
    pub fn silence(&self, text: &str) {
        *self.cutter.silencing.lock().unwrap() = Some(text.to_owned());
    }

    /// No other connection goes silent any more.
    pub fn end_silence(&self) {
        *self.cutter.silencing.lock().unwrap() = None;
    }

    /// How many connections went silent.
    pub fn silences(&self) -> usize {
        *self.cutter.silences.lock().unwrap()
    }

    /// Waits until a connection has gone silent.
    #[track_caller]
    pub fn wait_for_silence(&self) {
        let silences = self.cutter.silences.lock().unwrap();
        let silenced = &self.cutter.silenced;
        let (_silences, waited) = silenced
            .wait_timeout_while(silences, PATIENCE, |silences| *silences == 0)
            .unwrap();
        assert!(!waited.timed_out(), "no connection went silent");
    }

    /// How often it was cut.
    pub fn cuts(&self) -> usize {
        self.cutter.cuts.load(Ordering::SeqCst)
    }
}

fn connect(cutter: &Arc<Cutter>, daemon: UnixStream, redis: &Path) {
    let Ok(redis) = UnixStream::connect(redis) else {
        return;
    };
    let (daemon, redis) = (Arc::new(daemon), Arc::new(redis));
    let lose_next = Arc::new(AtomicBool::new(false));
    for commands in [true, false] {
        let (cutter, lose_next) = (Arc::clone(cutter), Arc::clone(&lose_next));
        let (daemon, redis) = (Arc::clone(&daemon), Arc::clone(&redis));
        std::thread::spawn(move || {
            if commands {
                forward(&daemon, &redis, |seen| {
                    if cutter.is_silenced(seen) {
                        *cutter.silences.lock().unwrap() += 1;
                        cutter.silenced.notify_all();
                        swallow(&daemon);
                        return false;
                    }
                    if cutter.takes(seen, |lose| matches!(lose, Lose::AnswerTo(_))) {
                        lose_next.store(true, Ordering::SeqCst);
                    }
                    true
                });
            } else {
                forward(&redis, &daemon, |seen| {
                    let lost = lose_next.load(Ordering::SeqCst)
                        || cutter.takes(seen, |lose| matches!(lose, Lose::AnswerWith(_)));
                    if lost {
                        cutter.cuts.fetch_add(1, Ordering::SeqCst);
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

/// Reads what comes until the other side gives up.
fn swallow(mut from: &UnixStream) {
    let mut chunk = [0; 1 << 12];
    while let Ok(1..) = from.read(&mut chunk) {}
}

/// Passes bytes on while `pass` returns true. It sees each chunk together with
/// the end of the one before, in which a text may have begun, and nothing older:
/// a text that was sent before a test asks for it must not count.
fn forward(mut from: &UnixStream, mut to: &UnixStream, mut pass: impl FnMut(&[u8]) -> bool) {
    let mut seen = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut chunk) {
        seen.drain(..seen.len().saturating_sub(LONGEST_TEXT - 1));
        seen.extend(&chunk[..length]);
        if !pass(&seen) || to.write_all(&chunk[..length]).is_err() {
            return;
        }
    }
}

fn contains(seen: &[u8], text: &str) -> bool {
    assert!(text.len() <= LONGEST_TEXT, "{text}");
    seen.windows(text.len()).any(|w| w == text.as_bytes())
}

impl Cutter {
    /// Whether the text stands in what was read last.
    fn is_silenced(&self, seen: &[u8]) -> bool {
        let silencing = self.silencing.lock().unwrap();
        silencing.as_ref().is_some_and(|text| contains(seen, text))
    }

    /// Whether the answer to be lost is of this kind and its text was seen;
    /// no other is lost then.
    fn takes(&self, seen: &[u8], kind: impl Fn(&Lose) -> bool) -> bool {
        let mut next = self.next.lock().unwrap();
        let hit = next.as_ref().is_some_and(|lose| {
            let (Lose::AnswerWith(text) | Lose::AnswerTo(text)) = lose;
            kind(lose) && contains(seen, text)
        });
        if hit {
            *next = None;
        }
        hit
    }
}
