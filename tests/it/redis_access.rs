//! Ways to Redis: encrypted, with a login, with as few rights as can be. The
//! rights are the README's own lines.

use std::net::TcpListener;
use std::path::Path;

use redis::Commands as _;
use serde_json::json;

use crate::support::{Client, Daemon, PATIENCE, RedisServer};

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn makes_a_user(client: &mut Client) {
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
    // As an editor may leave it, with a byte order mark.
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
    makes_a_user(&mut redis.client());
}

#[test]
fn a_server_that_nobody_vouches_for_gets_no_password() {
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
    daemon.wait_for_log("Redis does not do its part");
    assert!(daemon.log().contains("certificate"), "{}", daemon.log());
    assert!(!daemon.log().contains("hunter2"));
}

#[test]
fn with_the_keys_of_platypush_and_a_password() {
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
    makes_a_user(&mut Client::new(admin));
    assert!(!daemon.log().contains("p@ss/w%rd"));
}

/// Gives a user the rights of the README's line for it; those of its second
/// line on top, if asked to.
fn grant(redis: &RedisServer, user: &str, line: usize) {
    let begin = format!("ACL SETUSER {user} ");
    let rights = include_str!("../../README.md")
        .lines()
        .filter_map(|line| line.strip_prefix(&begin))
        .nth(line)
        .unwrap_or_else(|| panic!("the README has no line {line} for {user}"));
    let _: () = redis::cmd("ACL")
        .arg(&["SETUSER", user])
        .arg(rights.split(' ').collect::<Vec<_>>())
        .query(&mut redis.connection())
        .unwrap();
}

/// The lines of a log that tell of something wrong, which is neither a dead
/// letter nor a cheap hash.
fn complaints(daemon: &Daemon) -> Vec<String> {
    let log = daemon.log();
    let complaints = log
        .lines()
        .filter(|line| line.contains("NOPERM") || line.contains("WARN"))
        .filter(|line| !line.contains("dead letter") && !line.contains("OWASP"));
    complaints.map(str::to_owned).collect()
}

#[test]
fn the_rights_in_the_readme_are_enough_and_no_more() {
    let redis = RedisServer::start();
    for user in ["userd", "node"] {
        grant(&redis, user, 0);
    }
    let url = |user: &str, password: &str| format!("{}?user={user}&pass={password}", redis.url());
    let mut daemon = Daemon::start(&redis, &[("REDIS__URL", &url("userd", "daemon-password"))]);

    let node = redis::Client::open(url("node", "node-password")).unwrap();
    let mut client = Client::new(node.get_connection().unwrap());
    makes_a_user(&mut client);
    // A dead letter, an over-long message and a give-back need rights too.
    client.push("rubbish");
    client.push("x".repeat(2 << 20));
    let found = client.call("authenticate_session", json!(["x"]));
    found.fails("Invalid session token");
    let mut everything = redis.client();
    assert_eq!(everything.dead_letters().len(), 2);
    assert!(daemon.stop().success());
    assert_eq!(complaints(&daemon), Vec::<String>::new());

    // Nodes see neither each other's requests nor what is under way.
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
fn the_rights_in_the_readme_are_enough_for_events() {
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
    makes_a_user(&mut client);
    let heard: String = listener.get_message().unwrap().get_payload().unwrap();
    let read: (String, String) = client.redis.blpop(list, PATIENCE.as_secs_f64()).unwrap();
    assert_eq!(heard, read.1);
    assert!(daemon.stop().success());
    assert_eq!(complaints(&daemon), Vec::<String>::new());
}
