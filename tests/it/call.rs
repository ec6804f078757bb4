//! `platypush-userd call`, `config`, `completions` and `man`, as a person
//! types them.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use redis::Commands as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::support::{Daemon, RedisServer, Setup};

struct Shell {
    url: String,
}

impl Shell {
    fn new(redis: &RedisServer) -> Self {
        Self { url: redis.url() }
    }

    fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(Daemon::binary())
            .args(arguments)
            .env_clear()
            .env("PLATYPUSH_USERD_REDIS__URL", &self.url)
            .env("PLATYPUSH_USERD_WORKDIR", "unused")
            .env("PLATYPUSH_USERD_DEVICE_ID", "here")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The command may end before it has read everything.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    fn call(&self, arguments: &[&str]) -> (i32, String, String) {
        self.call_with_input(arguments, "")
    }

    fn call_with_input(&self, arguments: &[&str], input: &str) -> (i32, String, String) {
        let output = self.run(&[&["call"], arguments].concat(), input);
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }
}

#[test]
fn prints_the_output_and_exits_with_0() {
    let setup = Setup::with_alice(&[]);
    let shell = Shell::new(&setup.redis);
    let (status, out, err) = shell.call(&["get_users"]);
    assert_eq!((status, err.as_str()), (0, ""));
    let users: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(users[0]["username"], "alice");
    let (status, out, _) = shell.call(&[
        "user.authenticate_user",
        "username=alice",
        "password=wrong",
        "return_details=true",
    ]);
    assert_eq!(status, 0);
    assert_eq!(out, "[\n  false,\n  \"invalid_credentials\"\n]\n");
}

#[test]
fn an_error_goes_to_standard_error_and_exits_with_1() {
    let setup = Setup::with_alice(&[]);
    let shell = Shell::new(&setup.redis);
    let (status, out, err) = shell.call(&["authenticate_session", "session_token=x"]);
    assert_eq!(
        (status, out.as_str(), err.as_str()),
        (1, "", "error: Invalid session token\n")
    );
}

#[test]
fn the_whole_reply_with_json() {
    let setup = Setup::with_alice(&[]);
    let shell = Shell::new(&setup.redis);
    let (status, out, _) = shell.call(&["--json", "authenticate_session", "session_token=x"]);
    let reply: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(status, 1);
    assert_eq!(reply["response"]["output"]["success"], false);
    assert_eq!(reply["target"], "here");
    assert_eq!(reply["origin"], "test-node");
}

#[test]
fn a_dash_reads_lines_of_standard_input_in_the_order_of_the_arguments() {
    let setup = Setup::with_alice(&[]);
    let shell = Shell::new(&setup.redis);
    let arguments = [
        "update_password",
        "username=alice",
        "old_password=-",
        "new_password=-",
    ];
    let (status, out, err) = shell.call_with_input(&arguments, "secret\nnew one\r\n");
    assert_eq!((status, out.as_str()), (0, "true\n"), "{err}");
    let (_, out, _) = shell.call_with_input(
        &["authenticate_user", "username=alice", "password=-"],
        "new one",
    );
    assert_eq!(out, "true\n");
    let (status, _, err) =
        shell.call_with_input(&["authenticate_user", "username=alice", "password=-"], "");
    assert_eq!(status, 1);
    assert!(err.contains("ended before a line for password"), "{err}");
}

#[test]
fn times_and_flags_get_their_type() {
    let setup = Setup::with_alice(&[]);
    let shell = Shell::new(&setup.redis);
    for (time, expected) in [
        ("1893456000", "2030-01-01T00:00:00.000000"),
        ("1893456000.5", "2030-01-01T00:00:00.500000"),
        ("2030-01-01T02:00:00+02:00", "2030-01-01T00:00:00.000000"),
    ] {
        let expires = format!("expires_at={time}");
        let (_, out, err) = shell.call(&[
            "create_session",
            "username=alice",
            "password=secret",
            &expires,
        ]);
        let session: Value = serde_json::from_str(&out).expect(&err);
        assert_eq!(session["expires_at"], expected);
    }
}

#[test]
fn without_a_daemon_it_takes_its_request_back_and_exits_with_2() {
    let redis = RedisServer::start();
    let shell = Shell::new(&redis);
    let (status, out, err) = shell.call(&["--timeout", "1", "get_users"]);
    assert_eq!((status, out.as_str()), (2, ""));
    assert!(err.contains("taken back"), "{err}");
    assert_eq!(
        redis
            .connection()
            .llen::<_, usize>("platypush/user")
            .unwrap(),
        0
    );
}

#[test]
fn brings_the_token_that_the_daemon_asks_for() {
    let hash = hex::encode(Sha256::digest("open sesame"));
    let setup = Setup::with(&[("TOKEN_HASH", &hash)]);
    let shell = Shell::new(&setup.redis);
    let (status, _, err) = shell.call(&["get_users"]);
    assert_eq!((status, err.as_str()), (1, "error: Unauthorized\n"));
    let (status, ..) = shell.call(&["--token", "wrong", "get_users"]);
    assert_eq!(status, 1);
    let (status, out, _) = shell.call_with_input(&["--token", "-", "get_users"], "open sesame\n");
    assert_eq!((status, out.as_str()), (0, "[]\n"));
}

#[test]
fn mistakes_are_explained_without_repeating_a_value() {
    let redis = RedisServer::start();
    let shell = Shell::new(&redis);
    let (status, _, err) = shell.call(&["create_user", "hunter2"]);
    assert_eq!(status, 1);
    assert!(
        err.contains("KEY=VALUE") && !err.contains("hunter2"),
        "{err}"
    );
    let (_, _, err) = shell.call(&["create_user", "password=hunter2", "password=x"]);
    assert!(
        err.contains("given twice") && !err.contains("hunter2"),
        "{err}"
    );
    drop(redis);
    let (status, _, err) = shell.call(&["get_users"]);
    assert_eq!(status, 1);
    assert!(err.contains("cannot reach Redis at unix://"), "{err}");
}

#[test]
fn config_check_and_dump() {
    let redis = RedisServer::start();
    let shell = Shell::new(&redis);
    let output = shell.run(&["config", "check"], "");
    assert!(output.status.success());
    let output = shell.run(&["config", "dump"], "");
    let dump = String::from_utf8(output.stdout).unwrap();
    assert!(
        dump.contains("device_id: \"here\"  # environment PLATYPUSH_USERD_DEVICE_ID"),
        "{dump}"
    );
    let output = shell.run(&["config", "check", "--config", "no-such-file"], "");
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no-such-file"));
}

#[test]
fn help_completions_and_the_man_page_know_every_command_and_action() {
    let redis = RedisServer::start();
    let shell = Shell::new(&redis);
    let text = |arguments: &[&str]| {
        let output = shell.run(arguments, "");
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let help = text(&["call", "--help"]);
    for action in platypush_userd::actions::ACTIONS {
        let signature = action.signature();
        assert!(help.contains(signature.name), "{}", signature.name);
        for parameter in signature.parameters {
            assert!(help.contains(parameter.name), "{}", parameter.name);
        }
    }
    assert!(help.contains("2 when no reply came"), "{help}");
    let man = text(&["man"]);
    let bash = text(&["completions", "bash"]);
    for command in [
        "serve",
        "call",
        "admin users",
        "admin rotate-key",
        "config check",
        "config dump",
        "man",
    ] {
        assert!(man.contains(&command.to_uppercase()), "{command}");
        let last = command.rsplit(' ').next().unwrap();
        assert!(bash.contains(last), "{command}");
    }
}

#[test]
fn a_terminal_is_shown_no_control_or_invisible_character() {
    let setup = Setup::with_hostile_names(&[]);
    let shell = Shell::new(&setup.redis);
    for json in [&[][..], &["--json"]] {
        let (_, out, _) = shell.call(&[json, &["get_users"]].concat());
        assert!(out.contains("al\\u200bice\\n"), "{out}");
        let read: Value = serde_json::from_str(&out).unwrap();
        let users = read.pointer("/response/output").unwrap_or(&read);
        assert_eq!(users[3]["username"], "al\u{200b}ice\n");
    }
    let name = "a\u{1b}[31m\u{9b}2J\u{202e}b\nerror: forged";
    let (_, _, err) = shell.call(&[
        "delete_user",
        &format!("username={name}"),
        "executing_user=admin",
        "executing_user_password=pw",
    ]);
    assert_eq!(
        err,
        "error: No such user: a\\u{1b}[31m\\u{9b}2J\\u{202e}b\\nerror: forged\n"
    );
}
