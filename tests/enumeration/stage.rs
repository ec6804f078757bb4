//! Test environment: a redis-server, and a working directory for daemons.

use std::hint::black_box;
use std::io::{BufRead as _, BufReader};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::client::Client;
use crate::flood::RunningFlood;
use crate::options::Flood;
use crate::redis_process;

/// A redis-server and the folder of all files.
pub struct Stage {
    folder: TempDir,
    redis: Child,
}

/// A daemon process. Dropping it stops the process.
pub struct Daemon(Child);

impl Stage {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let redis = redis_process::start(folder.path(), ["--save", ""]);
        Self { folder, redis }
    }

    /// Creates users whose password records have the given parameters (memory in KiB, passes). The
    /// first user must be `admin`, who creates the others.
    pub fn make_users(&self, users: &[(&str, (u32, u32))]) {
        for (username, (memory, passes)) in users {
            let (_daemon, mut client) = self.start(&[
                ("PASSWORD__MEMORY_KIB", &memory.to_string()),
                ("PASSWORD__ITERATIONS", &passes.to_string()),
            ]);
            client.create_user(username);
        }
    }

    /// Starts the flood, if there is one.
    pub fn flood(&self, flood: Option<Flood>) -> Option<RunningFlood> {
        let socket = self.folder.path().join("redis.sock");
        let address = format!("unix://{}", socket.display());
        let client = redis::Client::open(address).unwrap();
        flood.map(|flood| flood.start(client.get_connection().unwrap()))
    }

    /// Imports a user of a Platypush node with a PBKDF2 hash whose password is unknown.
    pub fn import_user(&self, username: &str) {
        let node = self.folder.path().join("node");
        std::fs::create_dir(&node).unwrap();
        let database = rusqlite::Connection::open(node.join("main.db")).unwrap();
        let rows = format!(
            "CREATE TABLE user (user_id INTEGER PRIMARY KEY, username VARCHAR, password VARCHAR,
                password_salt VARCHAR, hmac_iterations INTEGER, created_at DATETIME);
            INSERT INTO user VALUES (1, '{username}', '{}', '{}', {}, '2026-01-01 00:00:00');",
            "c0".repeat(32),
            "5a".repeat(16),
            node_iterations()
        );
        database.execute_batch(&rows).unwrap();
        let imported = Command::new(env!("CARGO_BIN_EXE_platypush-userd"))
            .args(["import", "platypush", "--workdir"])
            .arg(&node)
            .env_clear()
            .env("PLATYPUSH_USERD_WORKDIR", self.workdir())
            .output()
            .unwrap();
        assert!(imported.status.success(), "{imported:?}");
    }

    fn workdir(&self) -> PathBuf {
        self.folder.path().join("workdir")
    }

    /// Starts the daemon and waits until it is ready.
    pub fn start(&self, settings: &[(&str, &str)]) -> (Daemon, Client) {
        let socket = self.folder.path().join("redis.sock");
        let settings = settings
            .iter()
            .map(|(key, value)| (format!("PLATYPUSH_USERD_{key}"), value));
        let mut child = Command::new(env!("CARGO_BIN_EXE_platypush-userd"))
            .arg("serve")
            .current_dir(self.folder.path())
            .env_clear()
            .env("PLATYPUSH_USERD_WORKDIR", self.workdir())
            .env(
                "PLATYPUSH_USERD_REDIS__URL",
                format!("unix://{}", socket.display()),
            )
            .envs(settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = lines
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line.contains("ready workdir"));
        assert!(ready, "the daemon ended before it was ready");
        // Drains the pipe, so that the daemon never blocks on its log.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        (Daemon(child), Client::connect(&socket))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.redis.kill();
        let _ = self.redis.wait();
    }
}

/// Returns the PBKDF2 iterations of an imported record: Platypush's 100,000, or fewer if these take
/// longer than the current hash. (Slower records can be distinguished, see
/// docs/explanation/security.md.)
fn node_iterations() -> u32 {
    const PLATYPUSH_ITERATIONS: u32 = 100_000;
    let argon2 = shortest(|| {
        let mut hash = [0; 32];
        argon2::Argon2::default()
            .hash_password_into(b"password", b"some salt", &mut hash)
            .unwrap();
    });
    let pbkdf2 = shortest(|| {
        let iterations = NonZeroU32::new(PLATYPUSH_ITERATIONS).unwrap();
        let mut hash = [0; 32];
        let algorithm = ring::pbkdf2::PBKDF2_HMAC_SHA256;
        ring::pbkdf2::derive(algorithm, iterations, b"some salt", b"password", &mut hash);
        black_box(hash);
    });
    let ratio = argon2 / pbkdf2;
    if ratio > 1.1 {
        return PLATYPUSH_ITERATIONS;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "half of at most 110,000"
    )]
    let iterations = (f64::from(PLATYPUSH_ITERATIONS) * ratio / 2.0) as u32;
    println!(
        "PBKDF2 with {PLATYPUSH_ITERATIONS} iterations is slower than Argon2 here: \
         using {iterations} iterations"
    );
    iterations
}

/// Returns the shortest time of nine runs, in seconds.
fn shortest(work: impl Fn()) -> f64 {
    let time = || {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    (0..9).map(|_| time()).fold(f64::MAX, f64::min)
}
