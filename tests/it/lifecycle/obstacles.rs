//! Obstacles to a start that may go away by themselves: the daemon names them and retries, and
//! never reports them as damage.

use std::fs::{self, Permissions};
use std::os::fd::RawFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, Signal, geteuid, getrlimit, prlimit};
use serde_json::json;
use tempfile::TempDir;

use super::start::{assert_contains, stopped_store};
use crate::admin::{self, CommandOutput};
use crate::support::strace::{end_tracer, under_strace};
use crate::support::{Daemon, NotifySocket, RedisServer, run_by, with_sighup};

/// Log message about an obstacle.
const WAITS: &str = "cannot start yet";
/// Id of the user `nobody`, for tests that run as root.
const NOBODY: u32 = 65534;

/// A limit on open files under which the process starts and cannot open its database: 10 to 18,
/// besides the files that it inherits.
struct FewFiles {
    option: String,
    message: String,
}

impl FewFiles {
    /// Regression: when the parent of the tests had left files open, the process did not start at
    /// all.
    fn new() -> FewFiles {
        let inherited = |number: &RawFd| {
            let flags = fs::read_to_string(format!("/proc/self/fdinfo/{number}"));
            flags.is_ok_and(|text| !closes_on_exec(&text))
        };
        let free = (3..).filter(|number| !inherited(number));
        let limit = free.take(11).last().unwrap() + 1;
        FewFiles {
            option: format!("--nofile={limit}:"),
            message: format!("{limit} files open"),
        }
    }

    fn wrap(&self, command: &Command) -> Command {
        run_by(&["prlimit", &self.option, "--"], command)
    }
}

/// Returns whether the file of this `fdinfo` has the close-on-exec flag.
fn closes_on_exec(fdinfo: &str) -> bool {
    const O_CLOEXEC: u32 = 0o2_000_000;
    let flags = fdinfo.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = u32::from_str_radix(flags.unwrap().trim(), 8).unwrap();
    flags & O_CLOEXEC != 0
}

/// Asserts that all users of [`stopped_store`] exist.
#[track_caller]
fn assert_complete(redis: &RedisServer) {
    let users = redis.client().call("get_users", json!({}));
    assert_eq!(users.ok().as_array().unwrap().len(), 21);
}

#[track_caller]
fn assert_not_damaged(daemon: &Daemon) {
    let log = daemon.log();
    assert!(!log.contains("Restore a backup"), "{log}");
    assert!(!log.contains("a panic"), "{log}");
}

#[test]
fn a_limit_on_open_files_delays_the_start() {
    let (folder, redis) = stopped_store();
    let few = FewFiles::new();
    let daemon = Daemon::launch(folder, &redis, &[], |command| few.wrap(&command));
    daemon.wait_for_log(WAITS);
    assert_contains(&daemon.log(), &["Too many open files", &few.message]);
    let more = Rlimit {
        current: Some(256),
        ..getrlimit(Resource::Nofile)
    };
    prlimit(Some(daemon.pid()), Resource::Nofile, more).unwrap();
    daemon.wait_for_log("daemon: ready");
    assert_complete(&redis);
    assert_not_damaged(&daemon);
}

#[test]
fn a_command_without_a_daemon_does_not_wait() {
    let (folder, _redis) = stopped_store();
    let few = FewFiles::new();
    let program = few.wrap(&Command::new(Daemon::binary()));
    let done = admin::run(
        program,
        &folder.path().join("workdir"),
        &["admin", "users"],
        "",
    );
    assert_eq!(done.status, 1, "{done:?}");
    assert_contains(&done.err, &["Too many open files", &few.message]);
}

#[test]
fn a_waiting_start_ends_at_once_on_a_signal() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let (folder, redis) = stopped_store();
        let few = FewFiles::new();
        let mut daemon = Daemon::launch(folder, &redis, &[], |command| {
            with_sighup(&few.wrap(&command))
        });
        daemon.wait_for_log(WAITS);
        daemon.signal(signal);
        assert_eq!(daemon.wait().code(), Some(0));
        assert_eq!(daemon.count_in_log("ready"), 0);
    }
}

/// Starts a daemon under strace, which makes the given system calls fail. Returns the daemon and
/// the socket with the notifications that it sends to systemd.
fn launch_failing(
    folder: Arc<TempDir>,
    redis: &RedisServer,
    fault: &str,
) -> (Daemon, NotifySocket) {
    let socket = NotifySocket::bind(folder.path());
    let (call, _) = fault.split_once(':').unwrap();
    let trace = format!("trace={call}");
    let inject = format!("inject={fault}");
    let options = ["-e", &trace, "-e", &inject, "-o", "/dev/null"];
    let daemon = Daemon::launch(folder, redis, &[], |command| {
        socket.announce(under_strace(&command, &options))
    });
    (daemon, socket)
}

/// Waits for a status with these texts, ends the fault, and waits until the daemon is ready.
#[track_caller]
fn assert_waits_then_serves((daemon, socket): &(Daemon, NotifySocket), texts: &[&str]) {
    let status = socket.next();
    assert!(status.starts_with("STATUS=Cannot start yet: "), "{status}");
    assert_contains(&status, texts);
    assert_contains(&status, &["\nEXTEND_TIMEOUT_USEC="]);
    end_tracer(daemon);
    socket.wait_for("READY=1");
    assert_not_damaged(daemon);
}

/// Returns how often the dynamic loader makes this system call before the program begins.
fn count_at_loading(call: &str, folder: &Path) -> usize {
    let trace = folder.join("trace");
    let filter = format!("trace={call}");
    let mut command = Command::new(Daemon::binary());
    command.arg("--version");
    let options = ["-e", &filter, "-o", trace.to_str().unwrap()];
    // The pipe reaches its end only after strace has ended, too.
    let output = under_strace(&command, &options)
        .stdout(Stdio::piped())
        .output();
    assert!(output.unwrap().status.success());
    let trace = fs::read_to_string(trace).unwrap();
    trace.matches(&format!("{call}(")).count()
}

/// Regression: sled takes a read error for the end of its log and overwrites the data after it.
#[test]
fn a_read_error_delays_the_start_and_loses_no_data() {
    let (folder, redis) = stopped_store();
    let data = folder.path().join("workdir/db");
    let first = count_at_loading("pread64", folder.path()) + 1;
    let fault = format!("pread64:error=EIO:when={first}+");
    let failing = launch_failing(folder, &redis, &fault);
    let data = data.to_str().unwrap();
    assert_waits_then_serves(&failing, &[data, "os error 5", "dmesg"]);
    assert_complete(&redis);
}

/// Regression: the error message advised to restore a backup, with exit status 78.
#[test]
fn a_full_disk_delays_the_start_and_loses_no_data() {
    let (folder, redis) = stopped_store();
    let workdir = folder.path().join("workdir");
    let failing = launch_failing(folder, &redis, "fsync:error=ENOSPC");
    let workdir = workdir.to_str().unwrap();
    assert_waits_then_serves(&failing, &[workdir, "No space left", "KiB free"]);
    assert_complete(&redis);
}

#[test]
fn a_full_disk_delays_the_first_start() {
    let redis = RedisServer::start();
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let failing = launch_failing(folder, &redis, "fsync:error=ENOSPC");
    assert_waits_then_serves(&failing, &["store.id", "No space left", "KiB free"]);
}

/// Returns the command run as an unprivileged user, who becomes the owner of the folder. `then` is
/// a further program that runs the command.
fn as_ordinary_user(command: &Command, folder: &Path, then: &[&str]) -> Command {
    if !geteuid().is_root() {
        return run_by(&[&["env"], then].concat(), command);
    }
    // The user `nobody` may not be able to enter the folder of the original.
    let program = folder.join("platypush-userd");
    fs::copy(command.get_program(), &program).unwrap();
    let chown = Command::new("chown")
        .args(["-R", "65534:65534"])
        .arg(folder)
        .status();
    assert!(chown.unwrap().success());
    let user = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    run_by(&[&user, then].concat(), &copied_to(&program, command))
}

/// Returns the same command with a copy of the program.
fn copied_to(program: &Path, command: &Command) -> Command {
    let mut copied = Command::new(program);
    copied.args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        copied.current_dir(folder);
    }
    for (key, value) in command.get_envs() {
        copied.env(key, value.unwrap_or_default());
    }
    copied
}

#[test]
fn a_file_without_read_permission_delays_the_start() {
    for name in ["db/db", "db/conf", "secret.keys", "store.id"] {
        // The daemon cannot reach Redis: another user owns the socket.
        let (folder, redis) = stopped_store();
        let file = folder.path().join("workdir").join(name);
        fs::set_permissions(&file, Permissions::from_mode(0o000)).unwrap();
        let path = folder.path().to_owned();
        let mut daemon = Daemon::launch(folder, &redis, &[], |command| {
            as_ordinary_user(&command, &path, &[])
        });
        daemon.wait_for_log(WAITS);
        let owner = file.metadata().unwrap().uid();
        assert_contains(
            &daemon.log(),
            &[
                file.to_str().unwrap(),
                "Permission denied",
                &format!("belongs to uid {owner} and has mode 0; this process runs as uid {owner}"),
            ],
        );
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        daemon.wait_for_log("daemon: ready");
        assert_not_damaged(&daemon);
        assert!(daemon.stop().success());
    }
}

/// Regression: sled waits for ever for a thread that could not be started.
#[test]
fn a_start_without_threads_ends_with_an_explanation() {
    let (folder, redis) = stopped_store();
    let path = folder.path().to_owned();
    let mut daemon = Daemon::launch(folder, &redis, &[], |command| {
        as_ordinary_user(&command, &path, &["prlimit", "--nproc=1", "--"])
    });
    assert_eq!(daemon.wait().code(), Some(1));
    assert_contains(
        &daemon.log(),
        &["0 of 7 threads could be started", "TasksMax="],
    );
}

/// Regression: a daemon run by root created files in the folder of another user, whose daemon could
/// then not open them. The test needs root.
#[test]
fn root_serves_as_the_owner_of_the_working_directory() {
    if !geteuid().is_root() {
        return;
    }
    let redis = RedisServer::start();
    let folder = Arc::new(tempfile::tempdir().unwrap());
    // The user `nobody` runs the program, and cannot enter a home directory of root.
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("platypush-userd");
    fs::copy(Daemon::binary(), &program).unwrap();
    let workdir = folder.path().join("workdir");
    fs::create_dir(&workdir).unwrap();
    fs::set_permissions(&workdir, Permissions::from_mode(0o700)).unwrap();
    chown(&workdir, Some(NOBODY), Some(NOBODY)).unwrap();
    let mut daemon = Daemon::launch(folder, &redis, &[], |command| {
        run_by(&["env"], &copied_to(&program, &command))
    });
    daemon.wait_for_log("daemon: ready");
    assert!(daemon.stop().success());
    for entry in fs::read_dir(&workdir).unwrap().map(Result::unwrap) {
        let owner = entry.metadata().unwrap().uid();
        assert_eq!(owner, NOBODY, "{:?}", entry.path());
    }
    let CommandOutput { status, .. } =
        admin::run(Command::new(program), &workdir, &["admin", "users"], "");
    assert_eq!(status, 0);
}
