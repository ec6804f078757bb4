//! The memory of the daemon holds keys and passwords: no core dump contains it,
//! and no other process of its user reads it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::support::{Daemon, RedisServer};

/// `nobody` on Debian; any number without rights will do.
const ORDINARY: u32 = 65_534;

/// The kernel gives the files in `/proc/PID` of a process that is not dumpable
/// to root. That shows only when the daemon is not root's.
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
    // It may not reach Redis, whose socket is root's, and is ready all the same.
    daemon.wait_for_log("ready");
    let process = format!("/proc/{}", daemon.pid().as_raw_nonzero());

    let owner = fs::metadata(format!("{process}/environ")).unwrap().uid();
    assert_ne!(owner, user, "its user may read its memory");
    let limits = fs::read_to_string(format!("{process}/limits")).unwrap();
    let core = limits.lines().find(|line| line.contains("core file size"));
    let core: Vec<_> = core.unwrap().split_whitespace().collect();
    assert_eq!(core, ["Max", "core", "file", "size", "0", "0", "bytes"]);
    daemon.kill();
}

/// The command as an ordinary user, who may not get at the binary where it is.
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
