//! Processes of the benchmark: Redis, the measured workers and a Platypush node.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::redis_process;
use crate::resp::Connection;

/// A redis-server on its own port, without persistence.
pub struct Redis {
    _folder: TempDir,
    child: Child,
    pub port: u16,
}

impl Redis {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind(("127.0.0.1", 0))
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let child =
            redis_process::start(folder.path(), ["--save", "", "--port", &port.to_string()]);
        Self {
            _folder: folder,
            child,
            port,
        }
    }

    /// Deletes all keys.
    pub fn flush(&self) {
        let mut client = Connection::open(self.port).unwrap();
        client.command([b"FLUSHALL"]);
        client.send().unwrap();
        client.wait(|_| {}).unwrap();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A measured process. Dropping it kills the process.
pub struct Process(Child);

impl Process {
    pub fn null_worker(redis: &Redis) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["null-worker", &redis.port.to_string()])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Starts the daemon and waits until it is ready.
    pub fn daemon(redis: &Redis, workdir: &Path, settings: &[(&str, &str)]) -> Self {
        let daemon = Command::new(env!("CARGO_BIN_EXE_platypush-userd"));
        Self::start(daemon, redis, workdir, settings)
    }

    /// Starts a daemon under strace, which writes a summary of the `fdatasync` calls to a file when
    /// the daemon ends.
    pub fn counting_fdatasyncs(redis: &Redis, workdir: &Path, summary: &Path) -> Self {
        let mut strace = Command::new("strace");
        // With `--seccomp-bpf` the kernel does not stop at other system calls.
        strace
            .args(["-f", "--seccomp-bpf", "-c", "-e", "trace=fdatasync", "-o"])
            .arg(summary)
            .arg(env!("CARGO_BIN_EXE_platypush-userd"));
        Self::start(strace, redis, workdir, &[])
    }

    fn start(
        mut command: Command,
        redis: &Redis,
        workdir: &Path,
        settings: &[(&str, &str)],
    ) -> Self {
        let settings = settings
            .iter()
            .map(|(key, value)| (format!("PLATYPUSH_USERD_{key}"), value));
        let child = command
            .arg("serve")
            .env("PLATYPUSH_USERD_WORKDIR", workdir)
            .env("PLATYPUSH_USERD_REDIS__PORT", redis.port.to_string())
            .envs(settings)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut process = Self(child);
        let mut lines = BufReader::new(process.0.stderr.take().unwrap()).lines();
        let mut log = Vec::new();
        for line in lines.by_ref().map_while(Result::ok) {
            let ready = line.contains(": ready ");
            log.push(line);
            if ready {
                // Drains the pipe, so that the daemon never blocks on its log.
                std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
                return process;
            }
        }
        panic!("the daemon did not start:\n{}", log.join("\n"));
    }

    /// Returns the processor time so far in microseconds, user and system.
    pub fn cpu_micros(&self) -> f64 {
        let stat = self.proc("stat");
        // The name of the command may contain spaces and parentheses (proc(5)).
        let fields: Vec<u32> = stat[stat.rfind(')').unwrap() + 1..]
            .split_whitespace()
            .map(|field| field.parse().unwrap_or_default())
            .collect();
        let ticks = u32::try_from(rustix::param::clock_ticks_per_second()).unwrap();
        f64::from(fields[11] + fields[12]) * 1e6 / f64::from(ticks)
    }

    /// Returns the current and the peak memory in KiB.
    pub fn memory_kib(&self) -> (u64, u64) {
        let status = self.proc("status");
        let field = |name: &str| -> u64 {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .and_then(|rest| rest.split_whitespace().next())
                .and_then(|number| number.parse().ok())
                .unwrap_or_default()
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.0.id())).unwrap()
    }

    /// Sends SIGTERM and waits for the end.
    pub fn stop(mut self) {
        let children = self.proc(&format!("task/{}/children", self.0.id()));
        // strace ends with its child, so the signal goes to the child.
        match children.split_whitespace().next() {
            Some(daemon) => {
                let daemon = daemon.parse().ok().and_then(Pid::from_raw).unwrap();
                kill_process(daemon, Signal::TERM).unwrap();
                self.0.wait().unwrap();
            }
            None => end(&mut self.0),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A real Platypush node that answers over Redis.
pub struct Node {
    child: Child,
    pub queue: String,
    pub target: String,
    pub session_token: String,
    pub username: String,
    pub password: String,
}

impl Node {
    /// Starts the node and waits until it has answered a request.
    pub fn start(redis: &Redis, python: &Path, workdir: &Path) -> Self {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/benches/service/platypush_node.py"
        );
        let mut child = Command::new(python)
            .arg(script)
            .arg("--workdir")
            .arg(workdir)
            .args(["--redis-port", &redis.port.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).expect("the node did not start");
        let text = |key: &str| ready[key].as_str().unwrap().to_owned();
        Self {
            queue: text("queue"),
            target: text("target"),
            session_token: text("session_token"),
            username: text("username"),
            password: text("password"),
            child,
        }
    }

    pub fn stop(mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    let _ = kill_process(Pid::from_child(child), Signal::TERM);
    let _ = child.wait();
}
