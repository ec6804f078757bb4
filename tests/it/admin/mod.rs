//! `platypush-userd admin`, through the running daemon and directly on the store of a stopped one.

mod commands;
mod socket;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::json;

use crate::support::{Daemon, Setup};

/// Exit status and output of a command.
#[derive(Debug)]
pub struct CommandOutput {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl CommandOutput {
    /// Asserts success and returns the standard output.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.status, 0, "{self:?}");
        self.out
    }

    /// Asserts a failure whose error output ends with `text`.
    #[track_caller]
    pub fn fails(self, text: &str) {
        assert_eq!(self.status, 1, "{self:?}");
        assert!(self.err.ends_with(&format!("{text}\n")), "{self:?}");
        assert_eq!(self.out, "");
    }
}

impl From<Output> for CommandOutput {
    fn from(output: Output) -> Self {
        Self {
            // `None` if a signal ended the process.
            status: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Runs an admin command on a working directory.
pub fn admin(workdir: &Path, arguments: &[&str], input: &str) -> CommandOutput {
    let arguments = [&["admin"], arguments].concat();
    command(workdir, &arguments, input)
}

/// Runs any command on a working directory.
pub fn command(workdir: &Path, arguments: &[&str], input: &str) -> CommandOutput {
    run(Command::new(Daemon::binary()), workdir, arguments, input)
}

/// Runs `program` on a working directory.
pub fn run(program: Command, workdir: &Path, arguments: &[&str], input: &str) -> CommandOutput {
    run_with(program, workdir, arguments, input, &[])
}

/// Runs `program` on a working directory, with additional environment variables.
pub fn run_with(
    mut program: Command,
    workdir: &Path,
    arguments: &[&str],
    input: &str,
    variables: &[(&str, &str)],
) -> CommandOutput {
    let mut child = program
        .args(arguments)
        .env_clear()
        .env("PLATYPUSH_USERD_WORKDIR", workdir)
        .env("PLATYPUSH_USERD_PASSWORD__MEMORY_KIB", "8")
        .env("PLATYPUSH_USERD_PASSWORD__ITERATIONS", "1")
        .env("PLATYPUSH_USERD_PASSWORD__MIN_LENGTH", "3")
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The command may exit before it has read its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap().into()
}

/// How a command reaches the store.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Way {
    Daemon,
    Store,
}

pub const BOTH: [Way; 2] = [Way::Daemon, Way::Store];

/// A daemon with the user `alice` (password `secret`), and how admin commands reach its store.
struct Site {
    setup: Setup,
    way: Way,
}

impl Site {
    fn new(way: Way) -> Self {
        let setup =
            Setup::with_alice(&[("PASSWORD__MIN_LENGTH", "3"), ("THROTTLE__FAILURES", "5")]);
        Self { setup, way }
    }

    /// Runs an admin command. For [`Way::Store`], the daemon is stopped meanwhile.
    fn admin(&mut self, arguments: &[&str]) -> CommandOutput {
        self.admin_with_input(arguments, "")
    }

    fn admin_with_input(&mut self, arguments: &[&str], input: &str) -> CommandOutput {
        let workdir = self.setup.daemon.workdir();
        if self.way == Way::Daemon {
            return admin(&workdir, arguments, input);
        }
        assert!(self.setup.daemon.stop().success());
        let output = admin(&workdir, arguments, input);
        self.setup.daemon.restart();
        output
    }

    /// Returns whether alice can log in with these credentials.
    #[track_caller]
    fn accepts(&mut self, password: &str, code: Option<&str>) -> bool {
        let args = json!(["alice", password, code]);
        let login = self.setup.client.call("authenticate_user", args);
        login.ok() == true
    }

    fn session_is_valid(&mut self, token: &str) -> bool {
        let session = json!([token]);
        let reply = self.setup.client.call("authenticate_session", session);
        reply.errors().is_empty()
    }
}
