//! The first import of an operator: no database yet, a wrong path, a terminal, Ctrl-C.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{Node, rows, usernames};
use crate::admin::command;
use crate::support::{Daemon, Setup, Terminal, wait_until_closed};

const INTERRUPTED: &str = "interrupted: no user was imported";

impl Node {
    /// Copies the sample and adds so many users.
    pub(super) fn with_more_users(count: u32) -> Self {
        let node = Self::copy("workdir");
        node.change(&format!(
            "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count}) \
             INSERT INTO user (user_id, username, password, password_salt, hmac_iterations) \
             SELECT 1000 + n, 'user-' || n, password, password_salt, hmac_iterations \
             FROM user, numbers WHERE username = 'modern'"
        ));
        node
    }
}

/// Returns the command `import platypush` on a working directory.
fn import(workdir: &Path, node: &Node) -> Command {
    let mut command = Command::new(Daemon::binary());
    command
        .args(["import", "platypush", "--workdir", node.workdir()])
        // Clears, for example, the SUDO_UID of `sudo make test`.
        .env_clear()
        .env("PLATYPUSH_USERD_WORKDIR", workdir);
    command
}

/// Regression: the import failed because there was no working directory.
#[test]
fn an_import_before_the_first_start_creates_the_database() {
    let node = Node::copy("workdir");
    let folder = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let workdir = folder.path().join("workdir");
    let arguments = ["import", "platypush", "--workdir", node.workdir()];
    let done = command(&workdir, &arguments, "");
    assert!(done.err.contains("There is no database in"), "{done:?}");
    assert_eq!(rows(&done.ok()).len(), 8);
    wait_until_closed(&workdir);

    let redis = crate::support::RedisServer::start();
    let daemon = Daemon::start_in(folder, &redis, &[]);
    let mut setup = Setup {
        client: redis.client(),
        daemon,
        redis,
    };
    assert_eq!(usernames(&mut setup).len(), 8);
}

/// Regression: a dry run created a database and reported that nothing was changed.
#[test]
fn a_dry_run_before_the_first_start_creates_no_file() {
    let node = Node::copy("workdir");
    let folder = tempfile::tempdir().unwrap();
    let temporary = folder.path().join("tmp");
    let empty = folder.path().join("empty");
    let keys = folder.path().join("keys");
    std::fs::create_dir(&temporary).unwrap();
    std::fs::create_dir(&empty).unwrap();
    for workdir in [&folder.path().join("workdir"), &empty] {
        let output = import(workdir, &node)
            .arg("--dry-run")
            .env("TMPDIR", &temporary)
            .env("PLATYPUSH_USERD_SECRET_KEYS_FILE", &keys)
            .output()
            .unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{err}");
        assert_eq!(rows(&out).len(), 8, "{out}");
        assert!(out.contains("Nothing was changed (--dry-run)"), "{out}");
        assert!(err.contains("/var/lib/platypush-userd"), "{err}");
    }
    assert!(!folder.path().join("workdir").exists());
    assert!(!keys.exists());
    for folder in [&temporary, &empty] {
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0, "{folder:?}");
    }
}

/// Regression: the error claimed that the database had been used with that file and advised to
/// restore a backup.
#[test]
fn a_missing_key_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let workdir = folder.path().join("workdir");
    let export = folder.path().join("export");
    std::fs::write(&export, "").unwrap();
    let export = export.to_str().unwrap();
    for (keys, more) in [
        ("/no/such/keys", &["--keys", "/no/such/keys"][..]),
        (workdir.join("secret.keys").to_str().unwrap(), &[]),
    ] {
        let arguments = [&["import", "jsonl", export], more].concat();
        let done = command(&workdir, &arguments, "");
        assert_eq!(done.status, 1, "{done:?}");
        let said = format!("there is no key file {keys}: ");
        assert!(done.err.contains(&said), "{done:?}");
        assert!(done.err.contains("--keys FILE") && !done.err.contains("backup"));
        assert!(!workdir.exists());
    }
}

/// Regression: the terminal showed an audit entry for each user, and no progress for minutes.
#[test]
fn on_a_terminal_an_import_shows_progress_and_a_report() {
    let node = Node::with_more_users(3_000);
    let folder = tempfile::tempdir().unwrap();
    let workdir = folder.path().join("workdir");
    let (status, shown) = Terminal::run(&import(&workdir, &node)).wait();
    assert_eq!(status, Some(0), "{shown}");
    assert!(shown.contains("Imported 3008 of 3008 users"), "{shown}");
    assert!(
        shown.contains("writing") && shown.contains("of 3008 users"),
        "{shown}"
    );
    let entries = shown.matches("audit").count();
    assert_eq!(entries, 1, "{shown}");
}

/// Regression: Ctrl-C printed nothing, so the operator did not know whether users were imported.
#[test]
fn ctrl_c_without_a_daemon_leaves_all_users_or_none() {
    let node = Node::with_more_users(3_000);
    let folder = tempfile::tempdir().unwrap();
    let workdir = folder.path().join("workdir");
    let mut terminal = Terminal::run(&import(&workdir, &node));
    terminal.wait_for("writing");
    terminal.type_in("\x03");
    let (status, shown) = terminal.wait();
    wait_until_closed(&workdir);
    let users = command(&workdir, &["admin", "users"], "")
        .ok()
        .lines()
        .count()
        - 1;
    if status == Some(0) {
        // On a busy machine, Ctrl-C may come after the end of the import.
        assert_eq!(users, 3_008);
    } else {
        assert_eq!(status, Some(130), "{shown}");
        assert!(shown.contains(INTERRUPTED), "{shown}");
        assert_eq!(users, 0);
    }
}

/// The daemon side of a connection on the control socket, played by the test.
struct Connection(UnixStream);

impl Connection {
    /// Waits for a client and returns the connection and the request.
    fn accept(listener: &UnixListener) -> (Self, Value) {
        let mut stream = listener.accept().unwrap().0;
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut value = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut value).unwrap();
        (Self(stream), serde_json::from_slice(&value).unwrap())
    }

    /// Sends a value as a frame.
    fn send(&mut self, value: &Value) {
        let value = value.to_string();
        let length = u32::try_from(value.len()).unwrap();
        self.0.write_all(&length.to_be_bytes()).unwrap();
        self.0.write_all(value.as_bytes()).unwrap();
    }

    /// Waits until the client has shut down its side of the connection.
    fn wait_for_end(&mut self) {
        assert_eq!(self.0.read(&mut [0]).unwrap(), 0);
    }
}

fn listen() -> (tempfile::TempDir, UnixListener) {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("control.sock")).unwrap();
    (folder, listener)
}

#[test]
fn ctrl_c_asks_the_daemon_to_stop_the_import() {
    let node = Node::copy("workdir");
    for (answer, status, said) in [
        (json!({"Err": INTERRUPTED}), 130, INTERRUPTED),
        (
            json!({"Ok": {"imported": vec!["deleted"; 8]}}),
            0,
            "The interruption came too late",
        ),
    ] {
        let (folder, listener) = listen();
        let mut terminal = Terminal::run(&import(folder.path(), &node));
        let (mut connection, request) = Connection::accept(&listener);
        assert_eq!(
            request["command"]["import"]["users"]
                .as_array()
                .unwrap()
                .len(),
            8
        );
        connection.send(&json!({"progress": 3}));
        terminal.wait_for("3 of 8 users");
        terminal.type_in("\x03");
        connection.wait_for_end();
        connection.send(&json!({"answer": answer}));
        let (code, shown) = terminal.wait();
        assert_eq!(code, Some(status), "{shown}");
        assert!(shown.contains(said), "{shown}");
    }
}

#[test]
fn a_second_ctrl_c_does_not_wait_for_a_daemon_that_hangs() {
    let node = Node::copy("workdir");
    let (folder, listener) = listen();
    let mut terminal = Terminal::run(&import(folder.path(), &node));
    let (mut connection, _) = Connection::accept(&listener);
    terminal.type_in("\x03");
    connection.wait_for_end();
    terminal.type_in("\x03");
    let (code, shown) = terminal.wait();
    assert_eq!(code, Some(130), "{shown}");
    assert!(
        shown.contains("Either all users were imported or none"),
        "{shown}"
    );
}

#[test]
fn an_import_can_be_repeated_after_the_daemon_ends() {
    let node = Node::copy("workdir");
    let (folder, listener) = listen();
    let running = std::thread::spawn(move || {
        let arguments = ["import", "platypush", "--workdir", node.workdir()];
        command(folder.path(), &arguments, "")
    });
    drop(Connection::accept(&listener));
    let done = running.join().unwrap();
    assert_eq!((done.status, done.out.as_str()), (1, ""), "{done:?}");
    assert!(
        done.err.contains("whether this was done is not known"),
        "{done:?}"
    );
    assert!(
        done.err
            .contains("Either all users were imported or none. Run the command again"),
        "{done:?}"
    );
}

/// Regression: the daemon completed an import although the client had disconnected.
#[test]
fn a_client_that_disconnects_stops_its_import() {
    let node = Node::with_more_users(600);
    // The request as the command sends it.
    let (folder, listener) = listen();
    let mut client = import(folder.path(), &node)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let (connection, request) = Connection::accept(&listener);
    drop(connection);
    client.wait().unwrap();

    let mut setup = Setup::with_alice(&[]);
    let stream = UnixStream::connect(setup.daemon.workdir().join("control.sock")).unwrap();
    let mut connection = Connection(stream);
    connection.send(&request);
    connection.0.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    connection.0.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains(INTERRUPTED), "{answer}");
    assert_eq!(usernames(&mut setup), ["alice"]);
    assert!(setup.daemon.stop().success());
    let log = setup.daemon.log();
    assert!(log.contains("outcome=\"not_imported\""), "{log}");
}
