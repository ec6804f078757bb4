//! The real binary as a process of its own.

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
    grown: Condvar,
}

impl Daemon {
    /// The binary under test.
    pub fn binary() -> &'static str {
        env!("CARGO_BIN_EXE_platypush-userd")
    }

    /// A daemon on `redis` with cheap password hashes, without a throttle or a
    /// bound on waits, patient, and with these configuration keys, as environment variables
    /// without their prefix.
    pub fn start(redis: &RedisServer, settings: &[(&str, &str)]) -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), redis, settings)
    }

    /// The same in a folder that is there already.
    pub fn start_in(folder: Arc<TempDir>, redis: &RedisServer, settings: &[(&str, &str)]) -> Self {
        let daemon = Self::launch(folder, redis, settings, |command| with_sighup(&command));
        daemon.wait_for_log("ready");
        daemon
    }

    /// The same without waiting until it is ready, or for a start that must
    /// fail. `change` has the last word on the command: more environment, or
    /// running it under something else.
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
            // A test may guess as often as it likes: `("THROTTLE__FAILURES",
            // "5")` among its settings switches it on.
            ("THROTTLE__FAILURES".to_owned(), "0".to_owned()),
            // However slow the machine is, no test is too busy: those about
            // that lower it.
            ("MAX_LOGIN_WAIT".to_owned(), "3600".to_owned()),
            ("LOG__LEVEL".to_owned(), "debug".to_owned()),
            // On a busy machine a stop may take longer than 10 s, a write
            // longer than 30 s, and a test longer than a minute to fetch its
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

    /// The command that runs a daemon with these settings; later ones win.
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

    /// SIGTERM, and the exit status.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        self.wait_for_log(END);
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

    /// Starts it again with these settings changed.
    pub fn restart_with(&mut self, settings: &[(&str, &str)]) {
        let changed = settings.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        self.settings.extend(changed);
        self.restart();
    }

    /// Waits until a line of the log contains `text`.
    #[track_caller]
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
        let found = lines.iter().any(|line| line.contains(text));
        let log = lines.join("\n");
        drop(lines);
        assert!(
            found,
            "no line with {text:?} in the log, {}:\n{log}",
            if timed_out.timed_out() {
                "in time"
            } else {
                "which has ended"
            }
        );
    }

    /// How many lines of the log up to now contain `text`.
    pub fn count_in_log(&self, text: &str) -> usize {
        let lines = self.log.lines.lock().unwrap();
        lines.iter().filter(|line| line.contains(text)).count()
    }

    /// The whole log up to now; all of it after the process has ended.
    pub fn log(&self) -> String {
        self.log.lines.lock().unwrap().join("\n")
    }
}

/// The command with the default disposition of SIGHUP: under `nohup` the tests would inherit
/// another, and their daemons with them.
pub fn with_sighup(command: &Command) -> Command {
    run_by(&["/usr/bin/env", "--default-signal=HUP"], command)
}

/// The command, run by another program that becomes it: `wrapper` ends where
/// the command goes.
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

/// Stands in the log when the process has closed it.
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
