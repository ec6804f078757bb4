//! The daemon as a child process: the real binary.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{PATIENCE, RedisServer};

pub struct Daemon {
    folder: Arc<TempDir>,
    settings: Vec<(String, String)>,
    child: Child,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    changed: Condvar,
}

impl Daemon {
    /// Path of the binary under test.
    pub fn binary() -> &'static str {
        env!("CARGO_BIN_EXE_platypush-userd")
    }

    /// Starts a daemon on `redis` and waits until it is ready.
    ///
    /// Password hashes are cheap, the throttle is off, and the time limits are long. `settings`
    /// are further configuration keys: names of environment variables without their prefix.
    pub fn start(redis: &RedisServer, settings: &[(&str, &str)]) -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), redis, settings)
    }

    /// Same as [`start`](Self::start), in an existing folder.
    pub fn start_in(folder: Arc<TempDir>, redis: &RedisServer, settings: &[(&str, &str)]) -> Self {
        let daemon = Self::launch(folder, redis, settings, |command| with_sighup(&command));
        daemon.wait_for_log("ready");
        daemon
    }

    /// Starts a daemon without waiting until it is ready, also for a start that must fail.
    ///
    /// `change` is applied last to the command: it adds variables to the environment or runs the
    /// command under another program.
    pub fn launch(
        folder: Arc<TempDir>,
        redis: &RedisServer,
        settings: &[(&str, &str)],
        change: impl FnOnce(Command) -> Command,
    ) -> Self {
        let mut all = vec![
            ("WORKDIR".to_owned(), workdir(&folder).display().to_string()),
            ("REDIS__URL".to_owned(), redis.url()),
            ("DEVICE_ID".to_owned(), "test-node".to_owned()),
            ("PASSWORD__MEMORY_KIB".to_owned(), "8".to_owned()),
            ("PASSWORD__ITERATIONS".to_owned(), "1".to_owned()),
            // Off, so that no test depends on how often it logs in. The
            // setting `("THROTTLE__FAILURES", "5")` switches it on.
            ("THROTTLE__FAILURES".to_owned(), "0".to_owned()),
            // Long enough for a slow machine: only tests of the "Too busy"
            // refusal lower it.
            ("MAX_LOGIN_WAIT".to_owned(), "3600".to_owned()),
            ("LOG__LEVEL".to_owned(), "debug".to_owned()),
            // On a busy machine a shutdown may take longer than 10 s, a write
            // longer than 30 s, and a test longer than a minute to read its
            // replies.
            ("SHUTDOWN_TIMEOUT".to_owned(), "120".to_owned()),
            ("WRITE_TIMEOUT".to_owned(), "120".to_owned()),
            ("REPLY_TTL".to_owned(), "3600".to_owned()),
        ];
        all.extend(settings.iter().map(|(k, v)| ((*k).into(), (*v).into())));
        let (child, log) = spawn(change(Self::command(folder.path(), &all)));
        Self {
            folder,
            settings: all,
            child,
            log,
        }
    }

    /// Returns the command that runs a daemon with these settings. Later settings win.
    fn command(folder: &Path, settings: &[(String, String)]) -> Command {
        let mut command = Command::new(Self::binary());
        command
            .arg("serve")
            .current_dir(folder)
            .env_clear()
            .stdout(Stdio::null());
        for (key, value) in settings {
            command.env(format!("PLATYPUSH_USERD_{key}"), value);
        }
        command
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

    /// Sends SIGTERM, waits for the end of the process and returns its exit status.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits for the end of the process and returns its exit status.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        self.wait_for_log(END);
        self.child.wait().unwrap()
    }

    /// Kills the process with SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Restarts the daemon in the same folder with the same settings.
    pub fn restart(&mut self) {
        let (child, log) = spawn(Self::command(self.folder.path(), &self.settings));
        self.child = child;
        self.log = log;
        self.wait_for_log("ready");
    }

    /// Restarts the daemon with these settings changed.
    pub fn restart_with(&mut self, settings: &[(&str, &str)]) {
        let changed = settings.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        self.settings.extend(changed);
        self.restart();
    }

    /// Waits until a log line contains `text`.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) {
        let lines = self.log.lines.lock().unwrap();
        let (lines, timed_out) = self
            .log
            .changed
            .wait_timeout_while(lines, PATIENCE, |lines| {
                !lines.iter().any(|line| line.contains(text))
                    && lines.last().is_none_or(|line| line != END)
            })
            .unwrap();
        let found = lines.iter().any(|line| line.contains(text));
        let log = lines.join("\n");
        drop(lines);
        assert!(
            found,
            "no line with {text:?} in the log, {}:\n{log}",
            if timed_out.timed_out() {
                "in time"
            } else {
                "which is complete"
            }
        );
    }

    /// Returns how many log lines so far contain `text`.
    pub fn count_in_log(&self, text: &str) -> usize {
        let lines = self.log.lines.lock().unwrap();
        lines.iter().filter(|line| line.contains(text)).count()
    }

    /// Returns the log so far. After [`wait`](Self::wait) it is complete.
    pub fn log(&self) -> String {
        self.log.lines.lock().unwrap().join("\n")
    }
}

/// Returns the command with the default disposition of SIGHUP. Under `nohup`, the tests and their
/// daemons would inherit an ignored SIGHUP.
pub fn with_sighup(command: &Command) -> Command {
    run_by(&["/usr/bin/env", "--default-signal=HUP"], command)
}

/// Returns the command run by another program, which replaces itself with it (`exec`). The command
/// is appended to the arguments in `wrapper`.
pub fn run_by(wrapper: &[&str], command: &Command) -> Command {
    let mut outer = Command::new(wrapper[0]);
    outer
        .args(&wrapper[1..])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear();
    if let Some(folder) = command.get_current_dir() {
        outer.current_dir(folder);
    }
    for (key, value) in command.get_envs() {
        outer.env(key, value.unwrap_or_default());
    }
    outer
}

/// Appended to the log after the process has closed its standard error.
const END: &str = "(end of log)";

fn workdir(folder: &TempDir) -> PathBuf {
    folder.path().join("workdir")
}

fn spawn(mut command: Command) -> (Child, Arc<Log>) {
    let mut child = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let log = Arc::new(Log::default());
    let writer = Arc::clone(&log);
    std::thread::spawn(move || {
        let end = std::iter::once(END.to_owned());
        for line in lines.map_while(Result::ok).chain(end) {
            writer.lines.lock().unwrap().push(line);
            writer.changed.notify_all();
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
