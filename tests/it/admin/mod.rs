//! `platypush-userd admin`, as an operator types it: through the daemon, and
//! on the store itself while there is none.

mod commands;
mod socket;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::json;

use crate::support::{Daemon, Setup};

/// What a command came to.
#[derive(Debug)]
pub struct Done {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Done {
    /// Asserts success, and gives the output.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.status, 0, "{self:?}");
        self.out
    }

    /// Asserts a failure with this explanation.
    #[track_caller]
    pub fn fails(self, text: &str) {
        assert_eq!(self.status, 1, "{self:?}");
        assert!(self.err.ends_with(&format!("{text}\n")), "{self:?}");
        assert_eq!(self.out, "");
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            // None where a signal ended it.
            status: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Runs a command of the operator on a working directory.
pub fn admin(workdir: &Path, arguments: &[&str], input: &str) -> Done {
    let arguments = [&["admin"], arguments].concat();
    command(workdir, &arguments, input)
}

/// Runs any command on a working directory.
pub fn command(workdir: &Path, arguments: &[&str], input: &str) -> Done {
    run(Command::new(Daemon::binary()), workdir, arguments, input)
}

pub fn run(program: Command, workdir: &Path, arguments: &[&str], input: &str) -> Done {
    run_with(program, workdir, arguments, input, &[])
}

/// The same with variables on top.
pub fn run_with(
    mut program: Command,
    workdir: &Path,
    arguments: &[&str],
    input: &str,
    variables: &[(&str, &str)],
) -> Done {
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
    // The command may end before it has read anything.
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

/// A daemon with a user, `alice` of password `secret`, and its operator.
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

    /// Runs a command; without the daemon, if that is the way.
    fn admin(&mut self, arguments: &[&str]) -> Done {
        self.admin_with_input(arguments, "")
    }

    fn admin_with_input(&mut self, arguments: &[&str], input: &str) -> Done {
        let workdir = self.setup.daemon.workdir();
        if self.way == Way::Daemon {
            return admin(&workdir, arguments, input);
        }
        assert!(self.setup.daemon.stop().success());
        let done = admin(&workdir, arguments, input);
        self.setup.daemon.restart();
        done
    }

    /// Whether alice gets in with these.
    #[track_caller]
    fn lets_in(&mut self, password: &str, code: Option<&str>) -> bool {
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
