//! The commands `import` and `export`, run as an operator runs them.

mod conflicts;
mod crash;
mod export;
mod export_stream;
mod first_hour;
mod flood;
mod names;
mod nodes;
mod root;
mod unusable;

use std::fs;
use std::path::{Path, PathBuf};

use chrono::NaiveDateTime;
use platypush_userd::clock::{Clock as _, SystemClock};
use platypush_userd::credentials::TotpSecret;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::admin::{CommandOutput, Way, command};
use crate::support::{Codes, Setup};

/// The time at which the sample databases were written. Expiry times in them are relative to it.
const WRITTEN: &str = "2026-11-24 02:40:00";

/// A copy of the working directory of a Platypush node, with its expiry times shifted as if it had
/// been written just now.
struct Node(TempDir);

impl Node {
    fn copy(sample: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let from = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/data/platypush")
            .join(sample);
        fs::copy(from.join("main.db"), folder.path().join("main.db")).unwrap();
        if from.join("otp").exists() {
            fs::create_dir(folder.path().join("otp")).unwrap();
            fs::copy(from.join("otp/key"), folder.path().join("otp/key")).unwrap();
        }
        let written = NaiveDateTime::parse_from_str(WRITTEN, "%Y-%m-%d %H:%M:%S").unwrap();
        let age = (SystemClock.now().naive_utc() - written).num_seconds();
        let node = Self(folder);
        for table in ["user_backup_code", "user_token", "user_session"] {
            node.try_change(&format!(
                "UPDATE {table} SET expires_at = \
                 strftime('%Y-%m-%d %H:%M:%S', expires_at, '{age} seconds') || '.000000'"
            ));
        }
        node
    }

    fn workdir(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.0.path().join("main.db")).unwrap()
    }

    fn change(&self, sql: &str) {
        self.database().execute(sql, []).unwrap();
    }

    /// Same, but ignores errors, because a table may be missing.
    fn try_change(&self, sql: &str) {
        let _ = self.database().execute(sql, []);
    }

    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let file = |name: &str| self.0.path().join(name);
        let names = fs::read_dir(self.0.path()).unwrap();
        let mut files: Vec<_> = names.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(files.contains(&file("main.db")));
        files.retain(|path| path.is_file());
        files
            .into_iter()
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect()
    }
}

/// Runs a command on the working directory of a daemon. With [`Way::Store`], the daemon is stopped
/// for that time.
fn on(setup: &mut Setup, way: Way, arguments: &[&str]) -> CommandOutput {
    let workdir = setup.daemon.workdir();
    if way == Way::Daemon {
        return command(&workdir, arguments, "");
    }
    assert!(setup.daemon.stop().success());
    let done = command(&workdir, arguments, "");
    setup.daemon.restart();
    done
}

fn import(setup: &mut Setup, way: Way, node: &Node, more: &[&str]) -> CommandOutput {
    let arguments = [&["import", "platypush", "--workdir", node.workdir()], more].concat();
    on(setup, way, &arguments)
}

/// Returns the rows of the table that an import prints.
fn rows(report: &str) -> Vec<Vec<&str>> {
    let table = report.lines().skip(1).take_while(|line| !line.is_empty());
    table
        .map(|line| {
            let cells = line.split("  ").map(str::trim);
            cells.filter(|cell| !cell.is_empty()).collect()
        })
        .collect()
}

fn secrets() -> Value {
    let secrets = include_str!("../../data/platypush/secrets.json");
    serde_json::from_str(secrets).unwrap()
}

fn codes_of(secret: &Value) -> Codes {
    Codes(TotpSecret::from_base32(secret.as_str().unwrap()).unwrap())
}

/// Returns the details of a login.
fn log_in(setup: &mut Setup, name: &str, password: &str, code: Option<&str>) -> Value {
    let args = json!([name, password, code, true]);
    setup.client.call("authenticate_user", args).ok().clone()
}

fn token_owner(setup: &mut Setup, token: &str) -> Option<String> {
    owner(setup, "authenticate_api_token", token)
}

fn session_owner(setup: &mut Setup, token: &str) -> Option<String> {
    owner(setup, "authenticate_session", token)
}

fn owner(setup: &mut Setup, action: &str, token: &str) -> Option<String> {
    let reply = setup.client.call(action, json!([token]));
    reply.output()["username"].as_str().map(str::to_owned)
}

fn usernames(setup: &mut Setup) -> Vec<String> {
    let users = setup.client.call("get_users", json!([]));
    let users = users.ok().as_array().unwrap();
    let name = |user: &Value| user["username"].as_str().unwrap().to_owned();
    users.iter().map(name).collect()
}
