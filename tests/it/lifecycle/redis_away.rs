//! Redis restarts, closes connections, forgets scripts or returns errors: the daemon retries, logs
//! the outage once, and loses no request.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use super::{LESS_BUSY, under_load};
use crate::support::{Client, Daemon, Load, NotifySocket, QUEUE, RedisServer, Setup};

/// Log messages at the start and the end of an outage of Redis.
const AWAY: &str = "Redis is unavailable";
const BACK: &str = "Redis is back";
/// Status that systemd gets on each failed attempt to fetch requests. (A reply that is being sent
/// during the outage has retries and delays of its own.)
const FAILED_ATTEMPT: &str = "STATUS=Redis is unavailable: fetching requests";

/// Starts a daemon with a notify socket, on which each failed attempt is seen.
fn start_with_socket(redis: &RedisServer) -> (Daemon, NotifySocket) {
    let folder = Arc::new(TempDir::new().unwrap());
    let socket = NotifySocket::bind(folder.path());
    let announce = |command: Command| socket.announce(command);
    let daemon = Daemon::launch(folder, redis, &[], announce);
    daemon.wait_for_log("ready");
    (daemon, socket)
}

/// Waits for several failed attempts since the start of the outage and asserts that the delays
/// between them grow from 50 ms to a second.
#[track_caller]
fn assert_retries_back_off(socket: &NotifySocket, outage: Instant) {
    const DELAYS: [u64; 7] = [50, 100, 200, 400, 800, 1_000, 1_000];
    socket.wait_for(FAILED_ATTEMPT);
    for _ in DELAYS {
        socket.wait_for(FAILED_ATTEMPT);
    }
    let (least, took) = (Duration::from_millis(DELAYS.iter().sum()), outage.elapsed());
    assert!(took >= least, "{} attempts in {took:?}", DELAYS.len() + 1);
}

#[test]
fn an_outage_at_the_start_is_retried() {
    let mut redis = RedisServer::start();
    redis.kill();
    let outage = Instant::now();
    let (mut daemon, socket) = start_with_socket(&redis);
    assert_retries_back_off(&socket, outage);

    redis.restart();
    let mut client = redis.client();
    client.call("create_user", json!(["alice", "secret"])).ok();
    assert!(daemon.stop().success());
    client.assert_nothing_left();
    assert_one_outage_in_log(&daemon);
}

#[test]
fn a_restart_of_redis_under_load_loses_no_request() {
    let setup = Setup::with_alice_on(RedisServer::durable(), LESS_BUSY);
    let (mut setup, mut load) = under_load(setup, 100);
    for round in 0..3 {
        setup.redis.kill();
        setup.redis.restart();
        setup.client = setup.redis.client();
        let more = load.more(50);
        more.push(&mut setup.client);
        setup.client.await_reply(more.logins()[round]);
        load = load.and(more);
    }
    load.assert_answered(&mut setup.client);
    assert!(setup.daemon.stop().success());
    setup.client.assert_nothing_left();
    assert_eq!(
        setup.daemon.count_in_log(AWAY),
        setup.daemon.count_in_log(BACK),
        "{}",
        setup.daemon.log()
    );
}

/// Regression: the idle connection of the acker, whose loss was noticed later, counted as a second
/// outage.
#[test]
fn a_restart_of_redis_while_idle_is_one_outage_in_the_log() {
    let mut redis = RedisServer::start();
    let (mut daemon, socket) = start_with_socket(&redis);
    let mut client = redis.client();
    client.call("get_users", json!({})).ok();
    // When Redis answers this, it has also answered the acker.
    let _: String = redis::cmd("PING").query(&mut client.redis).unwrap();
    let outage = Instant::now();
    redis.kill();
    assert_retries_back_off(&socket, outage);

    redis.restart();
    redis.client().call("get_users", json!({})).ok();
    assert!(daemon.stop().success());
    assert_one_outage_in_log(&daemon);
}

#[track_caller]
fn assert_one_outage_in_log(daemon: &Daemon) {
    let counts = (daemon.count_in_log(AWAY), daemon.count_in_log(BACK));
    assert_eq!(counts, (1, 1), "{}", daemon.log());
}

/// The daemon drops the connections after some 9 s. Then Redis resumes and executes the commands of
/// the old connections, while requests are waiting.
#[test]
fn a_redis_that_hangs_and_resumes_loses_no_request() {
    let redis = RedisServer::start();
    let (mut daemon, socket) = start_with_socket(&redis);
    let mut client = redis.client();
    client.call("create_user", json!(["alice", "secret"])).ok();
    redis.hang();
    let requests = vec![("authenticate_user", json!(["alice", "secret"])); 50];
    let ids = std::thread::scope(|scope| {
        let pushing = scope.spawn(|| client.send_all(requests));
        socket.wait_for(FAILED_ATTEMPT);
        redis.resume();
        pushing.join().unwrap()
    });
    for id in &ids {
        assert_eq!(client.reply(id).ok(), true);
    }
    assert!(daemon.stop().success());
    client.assert_nothing_left();
    assert_one_outage_in_log(&daemon);
}

/// Closes all connections of the daemon.
fn close_connections(client: &mut Client) {
    redis::cmd("CLIENT")
        .arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"])
        .exec(&mut client.redis)
        .unwrap();
}

#[test]
fn closed_connections_lose_nothing_while_idle() {
    let mut setup = Setup::with_alice(&[]);
    for _ in 0..30 {
        close_connections(&mut setup.client);
        setup.client.call("get_users", json!({})).ok();
    }
    assert!(setup.daemon.stop().success());
    setup.client.assert_nothing_left();
}

#[test]
fn closed_connections_lose_nothing_under_load() {
    disturb_under_load(close_connections);
}

#[test]
fn forgotten_scripts_lose_nothing_under_load() {
    disturb_under_load(|client| {
        redis::cmd("SCRIPT")
            .arg("FLUSH")
            .exec(&mut client.redis)
            .unwrap();
    });
}

/// Calls `disturb` before each login of a load is answered.
fn disturb_under_load(disturb: impl Fn(&mut Client)) {
    let mut setup = Setup::with_alice(LESS_BUSY);
    let load = Load::new(&setup.session_of_alice(), 150);
    load.push(&mut setup.client);
    for id in load.logins() {
        disturb(&mut setup.client);
        setup.client.await_reply(id);
    }
    load.assert_answered(&mut setup.client);
    assert!(setup.daemon.stop().success());
    setup.client.assert_nothing_left();
}

#[test]
fn a_queue_key_of_another_type_is_retried() {
    let redis = RedisServer::start();
    let (mut daemon, socket) = start_with_socket(&redis);
    let mut client = redis.client();
    let mut set = redis::cmd("SET");
    set.arg(QUEUE).arg("not a list");
    let outage = Instant::now();
    set.exec(&mut client.redis).unwrap();
    assert_retries_back_off(&socket, outage);

    let mut delete = redis::cmd("DEL");
    delete.arg(QUEUE).exec(&mut client.redis).unwrap();
    client.call("create_user", json!(["alice", "secret"])).ok();
    assert!(daemon.stop().success());
    client.assert_nothing_left();
    assert_one_outage_in_log(&daemon);
    assert_eq!(daemon.count_in_log("WRONGTYPE"), 1, "{}", daemon.log());
}

/// Redis at `maxmemory` refuses only the first write of a script.
///
/// Regression: the scripts began with a write that may allocate, so a queue that had filled Redis
/// while no daemon ran was never drained.
#[test]
fn a_queue_that_has_filled_redis_is_drained() {
    let redis = RedisServer::start();
    let mut client = redis.client();
    let _: () = redis::cmd("CONFIG")
        .arg(&["SET", "maxmemory", "3mb", "maxmemory-policy", "noeviction"])
        .query(&mut client.redis)
        .unwrap();
    let request =
        |id: usize| json!({"action": "user.get_user_by_session", "id": id, "args": ["x"]});
    let accepted = (1..)
        .take_while(|id| {
            let pushed: redis::RedisResult<()> = redis::cmd("RPUSH")
                .arg(QUEUE)
                .arg(request(*id).to_string())
                .query(&mut client.redis);
            pushed.is_ok()
        })
        .count();
    assert!(accepted > 100, "{accepted}");

    let mut daemon = Daemon::start(&redis, &[]);
    for id in 1..=accepted {
        client.raw_reply(&id.to_string());
    }
    assert!(daemon.stop().success());
    client.assert_nothing_left();
}

/// Regression: the fencing token of an earlier run was in the snapshot and locked the daemon out of
/// its own queue until it was restarted.
#[test]
fn a_redis_restored_from_an_earlier_run_is_served() {
    let mut redis = RedisServer::with(&["--save", ""]);
    let mut daemon = Daemon::start(&redis, &[]);
    redis.client().call("get_users", json!({})).ok();
    let _: () = redis::cmd("SAVE").query(&mut redis.connection()).unwrap();

    daemon.kill();
    daemon.restart();
    redis.client().call("get_users", json!({})).ok();
    redis.kill();
    redis.restart();
    redis.client().call("get_users", json!({})).ok();
    assert!(daemon.stop().success());
}
