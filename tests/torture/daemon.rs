//! The daemon under test, in its own process.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::ledger::Ledger;

/// Maximum wait: longer than any step takes that succeeds.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(300);

/// Working directory, settings and log of a daemon. It outlives the daemon's processes.
pub struct Installation {
    folder: TempDir,
    settings: Vec<(String, String)>,
    log: Arc<Mutex<Vec<String>>>,
    ledger: Arc<Ledger>,
}

/// One run of the daemon. Dropping it kills it.
pub struct Process {
    child: Child,
    ready: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
    ledger: Arc<Ledger>,
}

impl Installation {
    pub fn new(socket: &Path, queue: &str, ledger: Arc<Ledger>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let workdir = folder.path().join("workdir");
        let settings = [
            ("PLATYPUSH_USERD_WORKDIR", workdir.display().to_string()),
            (
                "PLATYPUSH_USERD_REDIS__URL",
                format!("unix://{}", socket.display()),
            ),
            ("PLATYPUSH_USERD_QUEUE", queue.into()),
            ("PLATYPUSH_USERD_DEVICE_ID", "torture".into()),
            ("PLATYPUSH_USERD_PASSWORD__MEMORY_KIB", "8".into()),
            ("PLATYPUSH_USERD_PASSWORD__ITERATIONS", "1".into()),
            ("PLATYPUSH_USERD_MAX_REQUEST_AGE", "0".into()),
            // Off, because actors send wrong passwords; [`Self::set`] can enable it.
            ("PLATYPUSH_USERD_THROTTLE__FAILURES", "0".into()),
            // A second reply must still exist when the run checks for it.
            ("PLATYPUSH_USERD_REPLY_TTL", "3600".into()),
        ];
        Self {
            folder,
            settings: settings.map(|(key, value)| (key.into(), value)).into(),
            log: Arc::default(),
            ledger,
        }
    }

    /// Sets an environment variable for all later starts.
    pub fn set(&mut self, key: &str, value: &str) {
        self.settings.push((key.into(), value.into()));
    }

    pub fn workdir(&self) -> PathBuf {
        self.folder.path().join("workdir")
    }

    pub fn start(&self) -> Process {
        self.start_with(&[])
    }

    /// Starts a daemon that aborts when it reaches `point` for the `n`-th time.
    pub fn start_armed(&self, point: &str, n: usize) -> Process {
        self.start_with(&[("USERD_CRASH_AT", format!("{point}:{n}"))])
    }

    /// Returns the log of all runs.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    fn start_with(&self, more: &[(&str, String)]) -> Process {
        let mut child = Command::new(env!("CARGO_BIN_EXE_platypush-userd"))
            .arg("serve")
            .current_dir(self.folder.path())
            .env_clear()
            .envs(self.settings.iter().map(|(key, value)| (key, value)))
            .envs(more.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let process = Process {
            child,
            ready: Arc::default(),
            ended: Arc::default(),
            ledger: Arc::clone(&self.ledger),
        };
        let (ready, ended) = (Arc::clone(&process.ready), Arc::clone(&process.ended));
        let (log, ledger) = (Arc::clone(&self.log), Arc::clone(&self.ledger));
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if line.contains("ready workdir") {
                    ready.store(true, Ordering::SeqCst);
                    ledger.notify();
                }
                log.lock().unwrap().push(line);
            }
            ended.store(true, Ordering::SeqCst);
            ledger.notify();
        });
        process
    }
}

impl Process {
    /// Waits until the daemon logs that it is ready.
    pub fn wait_ready(&self) {
        let ready = self.ledger.wait(TEST_TIMEOUT, |_| {
            self.ready.load(Ordering::SeqCst) || self.has_ended()
        });
        if !ready || self.has_ended() {
            self.ledger.disagree("the daemon did not start");
        }
    }

    /// Whether the process has ended, for any reason.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Waits for the end of the process. Returns `false` if the actors get `replies` more replies
    /// first, or on a time-out.
    pub fn ends_within_replies(&self, replies: u64) -> bool {
        let limit = self.ledger.replies() + replies;
        let in_time = self
            .ledger
            .wait(TEST_TIMEOUT, |replies| self.has_ended() || replies >= limit);
        if !in_time {
            self.ledger.disagree("the daemon neither replied nor ended");
        }
        self.has_ended()
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(mut self) {
        self.end();
    }

    /// Sends SIGTERM and returns the exit status.
    pub fn stop(mut self) -> ExitStatus {
        // Fails if the process has already ended.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        self.child.wait().unwrap()
    }

    /// Waits until the process ends by itself and its log is complete; returns the exit status.
    pub fn wait(mut self) -> ExitStatus {
        if !self.ledger.wait(TEST_TIMEOUT, |_| self.has_ended()) {
            self.ledger.disagree("the daemon did not end");
            self.end();
        }
        self.child.wait().unwrap()
    }

    /// Like [`Self::kill`], for a process that the caller will replace.
    pub fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}
