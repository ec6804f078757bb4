//! The memory of the daemon holds keys and passwords: no core dump contains it, and no other
//! process of the same user can read it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::support::{Daemon, RedisServer};

/// The user `nobody` on Debian; any unprivileged id works.
const ORDINARY: u32 = 65_534;

/// For a process that is not dumpable, the kernel makes root the owner of the files in `/proc/PID`.
/// The test sees this only if the daemon does not run as root.
#[test]
fn the_daemon_is_not_dumpable_and_leaves_no_core() {
    let redis = RedisServer::start();
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let mut user = rustix::process::geteuid().as_raw();
    let mut daemon = Daemon::launch(Arc::clone(&folder), &redis, &[], |command| {
        if user == 0 {
            user = ORDINARY;
            return as_ordinary_user(&command, folder.path());
        }
        command
    });
    // It has no right to the socket of Redis, which belongs to root, and is ready anyway.
    daemon.wait_for_log("ready");
    let process = format!("/proc/{}", daemon.pid().as_raw_nonzero());

    let owner = fs::metadata(format!("{process}/environ")).unwrap().uid();
    assert_ne!(
        owner, user,
        "processes of the same user may read its memory"
    );
    let limits = fs::read_to_string(format!("{process}/limits")).unwrap();
    let core = limits.lines().find(|line| line.contains("core file size"));
    let core: Vec<_> = core.unwrap().split_whitespace().collect();
    assert_eq!(core, ["Max", "core", "file", "size", "0", "0", "bytes"]);
    daemon.kill();
}

/// Returns the command run as an unprivileged user, with a copy of the binary: that user may not be
/// able to enter the folder of the original.
fn as_ordinary_user(command: &Command, folder: &Path) -> Command {
    let program = folder.join("platypush-userd");
    fs::copy(command.get_program(), &program).unwrap();
    chown(folder, Some(ORDINARY), Some(ORDINARY)).unwrap();
    let mut ordinary = Command::new(program);
    ordinary
        .args(command.get_args())
        .uid(ORDINARY)
        .gid(ORDINARY)
        .current_dir(folder)
        .env_clear()
        .stdout(Stdio::null());
    for (key, value) in command.get_envs() {
        ordinary.env(key, value.unwrap_or_default());
    }
    ordinary
}
