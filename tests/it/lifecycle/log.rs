//! A log that cannot be written, or that nobody reads, neither ends the
//! service nor holds it up.

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

/// What the log says when it works again.
const DROPPED: &str = "lines of the log could not be written and were dropped";

/// The command with its standard error (or output) going to `path`.
fn with_output_to(stream: u8, path: &Path, command: &Command) -> Command {
    let script = format!("exec \"$0\" \"$@\" {stream}>'{}'", path.display());
    run_by(&["/bin/sh", "-c", &script], command)
}

/// A daemon whose log goes to `path`, once it is ready.
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

/// Both ends of it, so that opening it waits for nobody.
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

/// Regression: the next line stood behind the beginning of the one that the
/// disk had no more room for, and neither could be read.
#[test]
fn a_line_goes_on_behind_no_other_that_was_cut_off() {
    const ROOM: usize = 20;
    const LIMIT: u64 = 1 << 30;
    let redis = RedisServer::start();
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let log = folder.path().join("log");
    let offset = LIMIT - ROOM as u64;
    File::create(&log).unwrap().set_len(offset).unwrap();
    let socket = NotifySocket::bind(folder.path());
    // A file that may not grow is as good as a full disk, and needs no root.
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
    let cut_off = lines.next().unwrap();
    assert_eq!(cut_off.len(), ROOM, "{text}");
    // Each begins with its time.
    let century = &cut_off[..2];
    assert!(text.contains(DROPPED), "{text}");
    assert!(
        lines.all(|line| line.starts_with(century) && line.len() > ROOM),
        "{text}"
    );
}

#[test]
fn a_reader_of_the_log_that_has_gone_does_not_end_the_service() {
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

/// Regression: the one thread that serves waited for the reader.
#[test]
fn a_reader_of_the_log_that_has_stopped_does_not_hold_up_the_service() {
    let redis = RedisServer::start();
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let log = fifo(&folder);
    let mut ends = both_ends(&log);
    // Until it takes no more.
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

    // Somebody reads again.
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

/// Regression: so did the audit trail of a command without a daemon, and the
/// error that it was to end with.
#[test]
fn a_command_does_not_need_anybody_who_reads_its_errors() {
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
    // What was asked for could not be given.
    let program = with_output_to(1, full, &Command::new(Daemon::binary()));
    let done = run(program, &workdir, &["admin", "users"], "");
    assert_eq!(done.status, 1, "{done:?}");
    assert!(done.err.contains("No space left on device"), "{done:?}");
    admin(&workdir, &["users"], "").ok();
}
