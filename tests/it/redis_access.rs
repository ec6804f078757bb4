//! Connections to Redis: with TLS, with a password, and with the minimum of rights, which are those
//! of the ACL lines in docs/guides/install.md.

use std::net::TcpListener;
use std::path::Path;

use redis::Commands as _;
use serde_json::json;

use crate::support::{Client, Daemon, PATIENCE, REPLIES, RedisServer};

/// Returns a port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn assert_creates_a_user(client: &mut Client) {
    let reply = client.call(
        "create_user",
        json!({"username": "alice", "password": "secret"}),
    );
    assert_eq!(reply.ok()["user_id"], 1);
}

fn tls_file(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/tls")
        .join(name)
        .display()
        .to_string()
}

#[test]
fn over_tls_with_certificates_on_both_sides() {
    let port = free_port();
    let (ca, cert, key) = (
        tls_file("ca.pem"),
        tls_file("server.pem"),
        tls_file("server.key"),
    );
    let redis = RedisServer::with(&[
        "--tls-port",
        &port.to_string(),
        "--tls-ca-cert-file",
        &ca,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
    ]);
    let url = format!("rediss://127.0.0.1:{port}/0");
    // With a byte order mark, as some editors write it.
    let folder = tempfile::tempdir().unwrap();
    let marked = folder.path().join("ca.pem");
    let pem = std::fs::read_to_string(&ca).unwrap();
    std::fs::write(&marked, format!("\u{feff}{pem}")).unwrap();
    let _daemon = Daemon::start(
        &redis,
        &[
            ("REDIS__URL", &url),
            ("REDIS__SSL_CA_CERTS", marked.to_str().unwrap()),
            ("REDIS__SSL_CERTFILE", &tls_file("client.pem")),
            ("REDIS__SSL_KEYFILE", &tls_file("client.key")),
        ],
    );
    assert_creates_a_user(&mut redis.client());
}

#[test]
fn a_server_with_an_untrusted_certificate_gets_no_password() {
    let port = free_port();
    let (cert, key) = (tls_file("server.pem"), tls_file("server.key"));
    let redis = RedisServer::with(&[
        "--tls-port",
        &port.to_string(),
        "--tls-auth-clients",
        "no",
        "--tls-ca-cert-file",
        &tls_file("ca.pem"),
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
    ]);
    let url = format!("rediss://:hunter2@127.0.0.1:{port}/0");
    let daemon = Daemon::start(&redis, &[("REDIS__URL", &url)]);
    daemon.wait_for_log("Redis is unavailable");
    assert!(daemon.log().contains("certificate"), "{}", daemon.log());
    assert!(!daemon.log().contains("hunter2"));
}

#[test]
fn with_the_configuration_keys_of_platypush_and_a_password() {
    let port = free_port();
    let redis = RedisServer::with(&["--requirepass", "p@ss/w%rd"]);
    let mut admin = redis::Client::open(redis.url())
        .unwrap()
        .get_connection()
        .unwrap();
    let _: () = redis::cmd("AUTH")
        .arg("p@ss/w%rd")
        .query(&mut admin)
        .unwrap();
    let _: () = redis::cmd("CONFIG")
        .arg(&["SET", "port", &port.to_string()])
        .query(&mut admin)
        .unwrap();
    let daemon = Daemon::start(
        &redis,
        &[
            ("REDIS__URL", ""),
            ("REDIS__HOST", "127.0.0.1"),
            ("REDIS__PORT", &port.to_string()),
            ("REDIS__PASSWORD", "p@ss/w%rd"),
        ],
    );
    assert_creates_a_user(&mut Client::new(admin));
    assert!(!daemon.log().contains("p@ss/w%rd"));
}

/// Grants a user the rights in one of the lines of the guide for that user: `line` is 0 for the
/// first.
fn grant(redis: &RedisServer, user: &str, line: usize) {
    let prefix = format!("ACL SETUSER {user} ");
    let rights = include_str!("../../docs/guides/install.md")
        .lines()
        .filter_map(|line| line.strip_prefix(&prefix))
        .nth(line)
        .unwrap_or_else(|| panic!("the guide has no line {line} for {user}"));
    let _: () = redis::cmd("ACL")
        .arg(&["SETUSER", user])
        .arg(rights.split(' ').collect::<Vec<_>>())
        .query(&mut redis.connection())
        .unwrap();
}

/// Returns the log lines with warnings and missing rights, except those about dead letters and
/// cheap hashes.
fn warnings(daemon: &Daemon) -> Vec<String> {
    let log = daemon.log();
    let warnings = log
        .lines()
        .filter(|line| line.contains("NOPERM") || line.contains("WARN"))
        .filter(|line| !line.contains("dead letter") && !line.contains("OWASP"));
    warnings.map(str::to_owned).collect()
}

#[test]
fn the_rights_in_the_guide_are_sufficient_and_restrict_nodes() {
    let redis = RedisServer::start();
    for user in ["userd", "node"] {
        grant(&redis, user, 0);
    }
    let url = |user: &str, password: &str| format!("{}?user={user}&pass={password}", redis.url());
    let mut daemon = Daemon::start(&redis, &[("REDIS__URL", &url("userd", "daemon-password"))]);

    let node = redis::Client::open(url("node", "node-password")).unwrap();
    let mut client = Client::new(node.get_connection().unwrap());
    assert_creates_a_user(&mut client);
    // A dead letter, a message over the size limit and a requeue need rights, too.
    client.push("rubbish");
    client.push("x".repeat(2 << 20));
    let found = client.call("authenticate_session", json!(["x"]));
    found.fails("Invalid session token");
    let mut admin = redis.client();
    assert_eq!(admin.dead_letters().len(), 2);
    assert!(daemon.stop().success());
    assert_eq!(warnings(&daemon), Vec::<String>::new());

    // Nodes can read neither the queue nor the dead letters.
    let error = client
        .redis
        .lrange::<_, Vec<String>>("platypush/user", 0, -1)
        .unwrap_err();
    assert!(error.to_string().contains("permissions"), "{error}");
    let error = client
        .redis
        .lrange::<_, Vec<String>>("platypush/user:dead", 0, -1)
        .unwrap_err();
    assert!(error.to_string().contains("permissions"), "{error}");
}

#[test]
fn the_rights_in_the_guide_are_sufficient_for_events() {
    let redis = RedisServer::start();
    let (channel, list) = ("platypush/bus/attic", "platypush/backend/redis/cellar");
    let url = format!("{}?user=userd&pass=daemon-password", redis.url());
    let settings = [
        ("REDIS__URL", &*url),
        ("EVENTS__PUBLISH", &format!("{channel},list:{list}")),
    ];
    let mut listener = redis.connection();
    listener.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut listener = listener.as_pubsub();
    listener.subscribe(channel).unwrap();
    grant(&redis, "userd", 0);
    grant(&redis, "userd", 1);
    let mut daemon = Daemon::start(&redis, &settings);
    let mut client = redis.client();
    assert_creates_a_user(&mut client);
    let published: String = listener.get_message().unwrap().get_payload().unwrap();
    let popped: (String, String) = client.redis.blpop(list, PATIENCE.as_secs_f64()).unwrap();
    assert_eq!(published, popped.1);
    assert!(daemon.stop().success());
    assert_eq!(warnings(&daemon), Vec::<String>::new());
}

/// Applies ACL rules to a user: grants or revokes rights.
fn change_rights(redis: &RedisServer, user: &str, rights: &[&str]) {
    let _: () = redis::cmd("ACL")
        .arg(&["SETUSER", user])
        .arg(rights)
        .query(&mut redis.connection())
        .unwrap();
}

/// Regression: the user was created, but the reply became a dead letter and was not delivered even
/// after the right was granted.
#[test]
fn replies_wait_for_the_right_to_their_lists() {
    let redis = RedisServer::start();
    grant(&redis, "userd", 0);
    let url = format!("{}?user=userd&pass=daemon-password", redis.url());
    let mut daemon = Daemon::start(&redis, &[("REDIS__URL", &url)]);
    let mut client = redis.client();
    let lookup = client.call("authenticate_session", json!(["x"]));
    lookup.fails("Invalid session token");

    // On a working connection, and again after a restart.
    let queue_alone = ["resetkeys", "~platypush/user", "~platypush/user:*"];
    change_rights(&redis, "userd", &queue_alone);
    let alice = json!({"username": "alice", "password": "secret"});
    let creation = client.send("create_user", alice);
    let lookup = client.send("authenticate_session", json!(["x"]));
    let missing = "lacks the right ~platypush/responses/*";
    daemon.wait_for_log(missing);
    assert!(daemon.stop().success());
    daemon.restart();
    daemon.wait_for_log(missing);
    // Messages without a reply list are still handled.
    client.push("rubbish");
    daemon.wait_for_log("dead letter");
    assert_eq!(client.dead_letters().len(), 1);

    change_rights(&redis, "userd", &["~platypush/responses/*"]);
    assert_eq!(client.reply(&creation).ok()["user_id"], 1);
    client.reply(&lookup).fails("Invalid session token");
    assert!(daemon.stop().success());
    assert_eq!(client.dead_letters().len(), 1);
    client.assert_nothing_left();
}

/// Regression: a script that failed halfway, at a command without a right, lost messages, ran them
/// twice or sent replies twice.
#[test]
fn a_missing_right_to_a_command_is_named_and_loses_no_request() {
    let redis = RedisServer::start();
    let mut client = redis.client();
    for command in [
        "del", "rpush", "lpush", "llen", "lindex", "lset", "ltrim", "lmove", "rename", "persist",
        "expire", "sort", "lpop", "exists", "get", "sadd", "srem", "set", "eval", "evalsha",
    ] {
        let user = format!("without-{command}");
        let without = format!("-{command}");
        change_rights(&redis, &user, &["on", "nopass", "~*", "+@all", &without]);
        let url = format!("{}?user={user}&pass=x", redis.url());
        let queue = format!("queue-{command}");
        let mut daemon = Daemon::start(&redis, &[("REDIS__URL", &url), ("QUEUE", &queue)]);
        let (id, message) = Client::request("authenticate_session", json!(["x"]));
        // More than one batch, so that the script does not move the whole queue.
        let _: () = client.redis.rpush(&queue, vec![message; 130]).unwrap();
        if command.starts_with("eval") {
            daemon.wait_for_log(&format!("permissions to run the '{command}' command"));
        } else {
            let named = "error=\"the daemon's user in Redis lacks the right";
            daemon.wait_for_log(&format!("{named} +{command} "));
        }
        change_rights(&redis, &user, &[&format!("+{command}")]);
        let (last, message) = Client::request("authenticate_session", json!(["x"]));
        let _: () = client.redis.rpush(&queue, message).unwrap();
        client.reply(&last).fails("Invalid session token");
        assert!(daemon.stop().success());
        let replies: usize = client.redis.llen(format!("{REPLIES}{id}")).unwrap();
        assert_eq!(replies, 16, "{command}");
    }
}
