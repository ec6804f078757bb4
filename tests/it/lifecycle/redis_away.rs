//! Redis goes and comes back, hangs up, forgets scripts, refuses: the daemon
//! tries again, says so once, and loses nothing.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use super::{LESS_BUSY, under_load};
use crate::support::{Client, Daemon, Load, NotifySocket, QUEUE, RedisServer, Setup};

/// What the log says when Redis goes, and when it is back.
const AWAY: &str = "Redis does not do its part";
const BACK: &str = "Redis is back";
/// What systemd is told on every failed try to take requests. (A reply that is
/// on its way when Redis goes is tried again, too, at its own pace.)
const FAILED_TRY: &str = "STATUS=Redis does not do its part: taking requests";

/// A daemon whose every failed try is heard.
fn heard(redis: &RedisServer) -> (Daemon, NotifySocket) {
    let folder = Arc::new(TempDir::new().unwrap());
    let socket = NotifySocket::bind(folder.path());
    let announce = |command: Command| socket.announce(command);
    let daemon = Daemon::launch(folder, redis, &[], announce);
    daemon.wait_for_log("ready");
    (daemon, socket)
}

/// Waits until trying has failed often since Redis went, and asserts that
/// this was not done in a hurry: the pauses in between grow from 50 ms to a
/// second.
#[track_caller]
fn assert_tries_without_spinning(socket: &NotifySocket, gone: Instant) {
    const PAUSES: [u64; 7] = [50, 100, 200, 400, 800, 1_000, 1_000];
    socket.wait_for(FAILED_TRY);
    for _ in PAUSES {
        socket.wait_for(FAILED_TRY);
    }
    let (least, took) = (Duration::from_millis(PAUSES.iter().sum()), gone.elapsed());
    assert!(took >= least, "{} tries in {took:?}", PAUSES.len() + 1);
}

#[test]
fn redis_away_at_start_is_waited_for() {
    let mut redis = RedisServer::start();
    redis.kill();
    let gone = Instant::now();
    let (mut daemon, socket) = heard(&redis);
    assert_tries_without_spinning(&socket, gone);

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

/// The settler's connection, on which nothing had been sent since, was taken
/// for a second outage.
#[test]
fn a_restart_of_redis_while_idle_is_one_outage_in_the_log() {
    let mut redis = RedisServer::start();
    let (mut daemon, socket) = heard(&redis);
    let mut client = redis.client();
    client.call("get_users", json!({})).ok();
    // When Redis answers this, it has sent the settler's answer, too.
    let _: String = redis::cmd("PING").query(&mut client.redis).unwrap();
    let gone = Instant::now();
    redis.kill();
    assert_tries_without_spinning(&socket, gone);

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

/// It is given up (after some 9 s), goes on with what it was asked on the old
/// connections, and there are requests.
#[test]
fn a_redis_that_hangs_and_goes_on_loses_no_request() {
    let redis = RedisServer::start();
    let (mut daemon, socket) = heard(&redis);
    let mut client = redis.client();
    client.call("create_user", json!(["alice", "secret"])).ok();
    redis.hang();
    let requests = vec![("authenticate_user", json!(["alice", "secret"])); 50];
    let ids = std::thread::scope(|scope| {
        let pushing = scope.spawn(|| client.send_all(requests));
        socket.wait_for(FAILED_TRY);
        redis.go_on();
        pushing.join().unwrap()
    });
    for id in &ids {
        assert_eq!(client.reply(id).ok(), true);
    }
    assert!(daemon.stop().success());
    client.assert_nothing_left();
    assert_one_outage_in_log(&daemon);
}

/// Closes all of the daemon's connections.
fn hang_up(client: &mut Client) {
    redis::cmd("CLIENT")
        .arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"])
        .exec(&mut client.redis)
        .unwrap();
}

#[test]
fn closed_connections_lose_nothing_while_idle() {
    let mut setup = Setup::with_alice(&[]);
    for _ in 0..30 {
        hang_up(&mut setup.client);
        setup.client.call("get_users", json!({})).ok();
    }
    assert!(setup.daemon.stop().success());
    setup.client.assert_nothing_left();
}

#[test]
fn closed_connections_lose_nothing_under_load() {
    disturb_under_load(hang_up);
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

/// Disturbs Redis at many points of the work on a load.
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
fn a_queue_of_another_type_is_waited_out() {
    let redis = RedisServer::start();
    let (mut daemon, socket) = heard(&redis);
    let mut client = redis.client();
    let mut set = redis::cmd("SET");
    set.arg(QUEUE).arg("not a list");
    let gone = Instant::now();
    set.exec(&mut client.redis).unwrap();
    assert_tries_without_spinning(&socket, gone);

    let mut delete = redis::cmd("DEL");
    delete.arg(QUEUE).exec(&mut client.redis).unwrap();
    client.call("create_user", json!(["alice", "secret"])).ok();
    assert!(daemon.stop().success());
    client.assert_nothing_left();
    assert_one_outage_in_log(&daemon);
    assert_eq!(daemon.count_in_log("WRONGTYPE"), 1, "{}", daemon.log());
}

/// Redis refuses only the first write of a script when it is short of memory.
/// Ours began with one that may grow, and a queue that had filled Redis while
/// nobody served stood for ever.
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

/// The fence of an earlier run stood in the snapshot, and shut the daemon out of
/// its own queue until it was started again.
#[test]
fn a_redis_that_goes_back_to_an_earlier_run_is_served() {
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
