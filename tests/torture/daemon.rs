//! The daemon under torture, as a process of its own.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::ledger::Ledger;

/// Longer than anything takes that works.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Where a daemon lives, and how it is started.
pub struct Home {
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

impl Home {
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
            // Actors guess wrongly on purpose; [`Self::set`] switches it on.
            ("PLATYPUSH_USERD_THROTTLE__FAILURES", "0".into()),
            // A second reply must still be there when all is over.
            ("PLATYPUSH_USERD_REPLY_TTL", "3600".into()),
        ];
        Self {
            folder,
            settings: settings.map(|(key, value)| (key.into(), value)).into(),
            log: Arc::default(),
            ledger,
        }
    }

    /// Sets an environment variable for all runs to come.
    pub fn set(&mut self, key: &str, value: &str) {
        self.settings.push((key.into(), value.into()));
    }

    pub fn workdir(&self) -> PathBuf {
        self.folder.path().join("workdir")
    }

    pub fn start(&self) -> Process {
        self.start_with(&[])
    }

    /// Starts a run that aborts when it comes to a point for the `n`-th time.
    pub fn start_armed(&self, point: &str, n: usize) -> Process {
        self.start_with(&[("USERD_CRASH_AT", format!("{point}:{n}"))])
    }

    /// All that any run has logged.
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
                    ledger.ring();
                }
                log.lock().unwrap().push(line);
            }
            ended.store(true, Ordering::SeqCst);
            ledger.ring();
        });
        process
    }
}

impl Process {
    /// Waits until it says that it is ready.
    pub fn wait_ready(&self) {
        let ready = self.ledger.wait(PATIENCE, |_| {
            self.ready.load(Ordering::SeqCst) || self.has_ended()
        });
        if !ready || self.has_ended() {
            self.ledger.disagree("the daemon did not start");
        }
    }

    /// Whether it has ended, however.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Waits for its end; `false` when there were `answers` more answers, or
    /// none for long, before it came.
    pub fn ends_within(&self, answers: u64) -> bool {
        let enough = self.ledger.answers() + answers;
        let rung = self
            .ledger
            .wait(PATIENCE, |answers| self.has_ended() || answers >= enough);
        if !rung {
            self.ledger.disagree("neither an answer nor an end");
        }
        self.has_ended()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.end();
    }

    /// SIGTERM, and how it ended.
    pub fn stop(mut self) -> ExitStatus {
        // It may have ended on its own.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        self.child.wait().unwrap()
    }

    /// How it ended on its own, when all it had to say is in the log.
    pub fn wait(mut self) -> ExitStatus {
        if !self.ledger.wait(PATIENCE, |_| self.has_ended()) {
            self.ledger.disagree("the daemon did not end");
            self.end();
        }
        self.child.wait().unwrap()
    }

    /// SIGKILL, with a successor to come.
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
