//! The line between the daemon and Redis, which can be cut so that Redis has
//! done what it was asked and the daemon does not know.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::RedisServer;

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

#[derive(Default)]
struct Cutter {
    next: Mutex<Option<Lose>>,
    cuts: AtomicUsize,
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

/// Passes bytes on for as long as `pass`, which sees all up to now, says so.
fn forward(mut from: &UnixStream, mut to: &UnixStream, mut pass: impl FnMut(&[u8]) -> bool) {
    let mut seen = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut chunk) {
        seen.extend(&chunk[..length]);
        if !pass(&seen) || to.write_all(&chunk[..length]).is_err() {
            return;
        }
    }
}

impl Cutter {
    /// Whether the answer to be lost is of this kind and its text was seen;
    /// no other is lost then.
    fn takes(&self, seen: &[u8], kind: impl Fn(&Lose) -> bool) -> bool {
        let mut next = self.next.lock().unwrap();
        let hit = next.as_ref().is_some_and(|lose| {
            let (Lose::AnswerWith(text) | Lose::AnswerTo(text)) = lose;
            kind(lose) && seen.windows(text.len()).any(|w| w == text.as_bytes())
        });
        if hit {
            *next = None;
        }
        hit
    }
}
