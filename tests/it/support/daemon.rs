//! The real binary as a process of its own.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::RedisServer;

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Daemon {
    folder: Arc<TempDir>,
    settings: Vec<(String, String)>,
    child: Child,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

impl Daemon {
    /// The binary under test.
    pub fn binary() -> &'static str {
        env!("CARGO_BIN_EXE_platypush-userd")
    }

    /// A daemon on `redis` with cheap password hashes and these configuration
    /// keys, as environment variables without their prefix.
    pub fn start(redis: &RedisServer, settings: &[(&str, &str)]) -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), redis, settings)
    }

    /// The same in a folder that is there already.
    pub fn start_in(folder: Arc<TempDir>, redis: &RedisServer, settings: &[(&str, &str)]) -> Self {
        let mut all = vec![
            ("WORKDIR".to_owned(), workdir(&folder).display().to_string()),
            ("REDIS__URL".to_owned(), redis.url()),
            ("DEVICE_ID".to_owned(), "test-node".to_owned()),
            ("PASSWORD__MEMORY_KIB".to_owned(), "8".to_owned()),
            ("PASSWORD__ITERATIONS".to_owned(), "1".to_owned()),
            ("LOG__LEVEL".to_owned(), "debug".to_owned()),
        ];
        all.extend(settings.iter().map(|(k, v)| ((*k).into(), (*v).into())));
        let (child, log) = spawn(Self::command(folder.path(), &all));
        let daemon = Self {
            folder,
            settings: all,
            child,
            log,
        };
        daemon.wait_for_log("ready");
        daemon
    }

    /// The command that runs a daemon with these settings (later ones win),
    /// for tests that run it under something else.
    pub fn command(folder: &Path, settings: &[(String, String)]) -> Command {
        let mut command = Command::new(Self::binary());
        command.arg("serve").current_dir(folder).env_clear();
        for (key, value) in settings {
            command.env(format!("PLATYPUSH_USERD_{key}"), value);
        }
        command
    }

    pub fn settings(&self) -> &[(String, String)] {
        &self.settings
    }

    pub fn folder(&self) -> Arc<TempDir> {
        Arc::clone(&self.folder)
    }

    pub fn workdir(&self) -> PathBuf {
        workdir(&self.folder)
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// SIGTERM, and the exit status.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again in the same folder with the same settings.
    pub fn restart(&mut self) {
        let (child, log) = spawn(Self::command(self.folder.path(), &self.settings));
        self.child = child;
        self.log = log;
        self.wait_for_log("ready");
    }

    /// Waits until a line of the log contains `text`.
    pub fn wait_for_log(&self, text: &str) {
        let lines = self.log.lines.lock().unwrap();
        let (lines, timed_out) = self
            .log
            .grown
            .wait_timeout_while(lines, PATIENCE, |lines| {
                !lines.iter().any(|line| line.contains(text))
                    && lines.last().is_none_or(|line| line != END)
            })
            .unwrap();
        assert!(
            !timed_out.timed_out() && lines.iter().any(|line| line.contains(text)),
            "no line with {text:?} in the log:\n{}",
            lines.join("\n")
        );
    }

    /// The whole log up to now; all of it after the process has ended.
    pub fn log(&self) -> String {
        self.log.lines.lock().unwrap().join("\n")
    }
}

/// Stands in the log when the process has closed it.
const END: &str = "(end of log)";

fn workdir(folder: &TempDir) -> PathBuf {
    folder.path().join("workdir")
}

fn spawn(mut command: Command) -> (Child, Arc<Log>) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let log = Arc::new(Log::default());
    let writer = Arc::clone(&log);
    std::thread::spawn(move || {
        let end = std::iter::once(END.to_owned());
        for line in lines.map_while(Result::ok).chain(end) {
            writer.lines.lock().unwrap().push(line);
            writer.grown.notify_all();
        }
    });
    (child, log)
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
