//! A log that cannot be written, or that no process reads, neither ends nor delays the service.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
use serde_json::json;
use tempfile::TempDir;

use crate::admin::{admin, run};
use crate::support::{Daemon, NotifySocket, RedisServer, Setup, run_by};

/// Part of the log line that follows dropped lines.
const DROPPED: &str = "lines of the log could not be written and were dropped";

/// Returns the command with its standard error (2) or output (1) redirected to `path`.
fn with_output_to(stream: u8, path: &Path, command: &Command) -> Command {
    let script = format!("exec \"$0\" \"$@\" {stream}>'{}'", path.display());
    run_by(&["/bin/sh", "-c", &script], command)
}

/// Starts a daemon that logs to `path` and waits until it is ready.
fn start(folder: Arc<TempDir>, redis: &RedisServer, path: &Path) -> Daemon {
    let socket = NotifySocket::bind(folder.path());
    let daemon = Daemon::launch(folder, redis, &[], |command| {
        socket.announce(with_output_to(2, path, &command))
    });
    socket.wait_for("READY=1");
    daemon
}

fn fifo(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("log");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    path
}

/// Opens both ends of a pipe, so that opening it does not block.
fn both_ends(path: &Path) -> File {
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(nonblocking);
    options.open(path).unwrap()
}

/// Regression: the first line of the log aborted the process.
#[test]
fn a_full_disk_under_the_log_does_not_end_the_service() {
    let redis = RedisServer::start();
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let mut daemon = start(folder, &redis, Path::new("/dev/full"));
    let reply = redis
        .client()
        .call("create_user", json!(["alice", "secret"]));
    assert_eq!(reply.ok()["user_id"], 1);
    assert_eq!(daemon.stop().code(), Some(0));
}

/// Regression: the line after one that a full disk had truncated was appended to it, and neither
/// could be read.
#[test]
fn a_truncated_log_line_is_ended_before_the_next() {
    const FREE: usize = 20;
    const LIMIT: u64 = 1 << 30;
    let redis = RedisServer::start();
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let log = folder.path().join("log");
    let offset = LIMIT - FREE as u64;
    File::create(&log).unwrap().set_len(offset).unwrap();
    let socket = NotifySocket::bind(folder.path());
    // A limit on the file size fails as a full disk does, and needs no root.
    let script = format!("trap '' XFSZ; exec \"$0\" \"$@\" 2>>'{}'", log.display());
    let limit = format!("--fsize={LIMIT}:");
    let mut daemon = Daemon::launch(folder, &redis, &[], |command| {
        let limited = run_by(&["prlimit", &limit, "--"], &command);
        socket.announce(run_by(&["/bin/sh", "-c", &script], &limited))
    });
    socket.wait_for("READY=1");
    let more = Rlimit {
        current: None,
        ..getrlimit(Resource::Fsize)
    };
    prlimit(Some(daemon.pid()), Resource::Fsize, more).unwrap();
    let login = json!(["alice", "wrong"]);
    redis.client().call("authenticate_user", login).ok();
    assert_eq!(daemon.stop().code(), Some(0));

    let mut file = File::open(&log).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    let mut lines = text.lines();
    let truncated = lines.next().unwrap();
    assert_eq!(truncated.len(), FREE, "{text}");
    // Each line begins with a timestamp.
    let century = &truncated[..2];
    assert!(text.contains(DROPPED), "{text}");
    assert!(
        lines.all(|line| line.starts_with(century) && line.len() > FREE),
        "{text}"
    );
}

#[test]
fn a_closed_log_pipe_does_not_end_the_service() {
    let redis = RedisServer::start();
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let log = fifo(&folder);
    let reader = both_ends(&log);
    let mut daemon = start(folder, &redis, &log);
    drop(reader);
    let reply = redis
        .client()
        .call("create_user", json!(["alice", "secret"]));
    assert_eq!(reply.ok()["user_id"], 1);
    assert_eq!(daemon.stop().code(), Some(0));
}

/// Regression: the thread that serves all requests blocked on the pipe.
#[test]
fn a_full_log_pipe_does_not_block_the_service() {
    let redis = RedisServer::start();
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let log = fifo(&folder);
    let mut ends = both_ends(&log);
    // Fill the pipe.
    let full = loop {
        if let Err(error) = ends.write(&[b'\n'; 4096]) {
            break error.kind();
        }
    };
    assert_eq!(full, ErrorKind::WouldBlock);
    let mut daemon = start(folder, &redis, &log);
    let mut client = redis.client();
    let reply = client.call("create_user", json!(["alice", "secret"]));
    assert_eq!(reply.ok()["user_id"], 1);

    // A reader empties the pipe.
    let lines = BufReader::new(File::open(&log).unwrap()).lines();
    drop(ends);
    let logging = std::thread::spawn(move || {
        lines
            .map_while(Result::ok)
            .filter(|line| line.contains(DROPPED))
            .count()
    });
    client
        .call("authenticate_user", json!(["alice", "wrong"]))
        .ok();
    client
        .call("authenticate_user", json!(["alice", "wrong"]))
        .ok();
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(logging.join().unwrap() > 0);
}

/// Regression: without a daemon, the audit entry of a command and its final error message panicked
/// on a full disk.
#[test]
fn a_command_runs_without_a_writable_standard_error() {
    let mut setup = Setup::with_alice(&[]);
    assert!(setup.daemon.stop().success());
    let workdir = setup.daemon.workdir();
    let full = Path::new("/dev/full");
    let program = with_output_to(2, full, &Command::new(Daemon::binary()));
    let done = run(program, &workdir, &["admin", "unlock", "alice"], "");
    assert_eq!(done.status, 0, "{done:?}");
    let program = with_output_to(2, full, &Command::new(Daemon::binary()));
    let done = run(program, &workdir, &["admin", "disable-otp", "bob"], "");
    assert_eq!(done.status, 1, "{done:?}");
    // The requested output could not be written.
    let program = with_output_to(1, full, &Command::new(Daemon::binary()));
    let done = run(program, &workdir, &["admin", "users"], "");
    assert_eq!(done.status, 1, "{done:?}");
    assert!(done.err.contains("No space left on device"), "{done:?}");
    admin(&workdir, &["users"], "").ok();
}
