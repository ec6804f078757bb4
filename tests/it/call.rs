//! The commands `call`, `config`, `completions` and `man` of `platypush-userd`.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use platypush_userd::credentials::TotpSecret;
use redis::Commands as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{Codes, Daemon, RedisServer, Setup, Terminal};

/// Runs commands that are configured for one Redis.
struct Shell {
    url: String,
}

impl Shell {
    fn new(redis: &RedisServer) -> Self {
        Self { url: redis.url() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(Daemon::binary());
        command
            .args(arguments)
            .env_clear()
            .env("PLATYPUSH_USERD_REDIS__URL", &self.url)
            .env("PLATYPUSH_USERD_WORKDIR", "unused")
            .env("PLATYPUSH_USERD_DEVICE_ID", "here");
        command
    }

    fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The command may exit before it has read its input.
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
        "password=secret",
        "return_details=true",
    ]);
    assert_eq!((status, out.as_str()), (0, "[\n  true,\n  \"\"\n]\n"));
}

/// Regression: a script that checked a password accepted every password.
#[test]
fn exits_with_1_if_the_output_is_false() {
    let setup = Setup::with_alice(&[]);
    let shell = Shell::new(&setup.redis);
    let login = ["authenticate_user", "username=alice", "password=wrong"];
    let (status, out, err) = shell.call(&login);
    assert_eq!((status, out.as_str(), err.as_str()), (1, "false\n", ""));
    let (status, out, _) = shell.call(&[&login[..], &["return_details=true"]].concat());
    assert_eq!(status, 1);
    assert_eq!(out, "[\n  false,\n  \"invalid_credentials\"\n]\n");
    let (status, ..) = shell.call(&[&["--json"], &login[..]].concat());
    assert_eq!(status, 1);
    let (status, out, _) = shell.call(&["delete_session", "session_token=x"]);
    assert_eq!((status, out.as_str()), (1, "false\n"));
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
fn json_prints_the_whole_reply() {
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
fn times_are_sent_with_their_type() {
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
fn without_a_daemon_it_withdraws_the_request_and_exits_with_2() {
    let redis = RedisServer::start();
    let shell = Shell::new(&redis);
    let (status, out, err) = shell.call(&["--timeout", "1", "get_users"]);
    assert_eq!((status, out.as_str()), (2, ""));
    assert!(err.contains("withdrawn"), "{err}");
    assert_eq!(
        redis
            .connection()
            .llen::<_, usize>("platypush/user")
            .unwrap(),
        0
    );
}

#[test]
fn sends_the_token_that_the_daemon_requires() {
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

/// Regression: mistakes were sent, and answered with the error texts of Python.
#[test]
fn mistakes_are_refused_before_the_request_is_sent() {
    let redis = RedisServer::start();
    let shell = Shell::new(&redis);
    for (arguments, message) in [
        (&["creat_user"][..], "a similar value exists: 'create_user'"),
        (
            &["user.autenticate_user"],
            "a similar value exists: 'authenticate_user'",
        ),
        (
            &["create_user", "usrname=hunter2", "password=x"],
            "did you mean 'username'?",
        ),
        (
            &["create_user", "username=x", "hunter2=x"],
            "create_user takes username password [",
        ),
        (
            &["create_user", "username=x", "hunter2"],
            "argument 2 is not KEY=VALUE",
        ),
        (
            &["create_user", "password=hunter2", "password=x"],
            "'password' is given twice",
        ),
        (
            &["create_user", "username=hunter2"],
            "create_user also needs password (password=- prompts",
        ),
        (&["authenticate_user"], "also needs username and password"),
        (&["get_users", "username=x"], "get_users takes no arguments"),
    ] {
        // The standard input is empty, so a prompt would fail with another message.
        let (status, out, err) = shell.call(arguments);
        assert_eq!((status, out.as_str()), (2, ""), "{arguments:?}: {err}");
        assert!(err.contains(message), "{arguments:?}: {err}");
        assert!(!err.contains("hunter2"), "{arguments:?}: {err}");
    }
    let queued: usize = redis.connection().llen("platypush/user").unwrap();
    assert_eq!(queued, 0);
}

#[test]
fn without_redis_the_error_names_the_address_and_what_to_do() {
    let mut redis = RedisServer::start();
    let shell = Shell::new(&redis);
    redis.kill();
    let (status, _, err) = shell.call(&["get_users"]);
    assert_eq!(status, 1);
    assert!(err.contains("cannot reach Redis at unix://"), "{err}");
    assert!(
        err.contains("systemctl start redis-server") && err.contains("redis.url"),
        "{err}"
    );
}

/// Regression: the QR code came before the JSON, which scrolled away, and was printed again below
/// the backup codes, which are shown only once.
#[test]
fn on_a_terminal_the_qr_code_comes_last_and_only_for_a_proposal() {
    let mut setup = Setup::with_alice(&[("DEVICE_ID", "a-host-with-quite-a-long-name")]);
    let shell = Shell::new(&setup.redis);
    let name = "n".repeat(40);
    let user = json!({"username": name, "password": "secret",
        "executing_user": "alice", "executing_user_password": "secret"});
    setup.client.call("create_user", user).ok();
    let enable = |more: &[&str]| {
        let username = format!("username={name}");
        let arguments = ["call", "enable_otp", &username, "password=secret"];
        Terminal::run(&shell.command(&[&arguments, more].concat())).wait()
    };
    let (status, shown) = enable(&["dry_run=true"]);
    assert_eq!(status, Some(0), "{shown}");
    let (json, picture) = shown.split_at(shown.rfind("}\n").unwrap() + 2);
    let proposal: Value = serde_json::from_str(json).unwrap();
    assert!(
        proposal["otp_uri"].is_string() && proposal["qrcode"].is_null(),
        "{json}"
    );
    // The shell's prompt needs a line below the picture.
    let lines: Vec<_> = picture.lines().collect();
    assert!((15..=23).contains(&lines.len()), "{picture}");
    for line in lines {
        let modules = line
            .strip_prefix("\x1b[97;40m")
            .and_then(|line| line.strip_suffix("\x1b[0m"));
        assert!(
            modules.is_some_and(|modules| modules.chars().count() <= 80),
            "{picture}"
        );
    }

    let secret = proposal["otp_secret"].as_str().unwrap();
    let code = Codes(TotpSecret::from_base32(secret).unwrap()).now();
    let confirmed = enable(&[&format!("otp_secret={secret}"), &format!("code={code}")]);
    assert_eq!(confirmed.0, Some(0), "{confirmed:?}");
    let reply: Value = serde_json::from_str(&confirmed.1).unwrap();
    assert_eq!(reply["backup_codes"].as_array().unwrap().len(), 10);
    assert!(reply["qrcode"].is_null(), "{reply}");
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
fn help_completions_and_the_man_page_list_every_command_and_action() {
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
    let words: Vec<_> = help.split_whitespace().collect();
    assert!(words.join(" ").contains("2 if no reply arrived"), "{help}");
    let man = text(&["man"]);
    assert!(!man.contains("IMPORT ORDER"), "a hidden command");
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
fn output_contains_no_control_or_invisible_character() {
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
