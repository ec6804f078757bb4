//! Redis executes a command, but the connection breaks before the answer: the daemon does not
//! know the result.

use serde_json::json;

use super::{BUSY, CHEAP};
use crate::support::line::{Lose, Proxy};
use crate::support::{Client, Load, QUEUE, REPLIES, RedisServer, Setup};

/// Starts a daemon with these settings that reaches Redis through a proxy.
fn behind_proxy(settings: &[(&str, &str)]) -> (Setup, Proxy) {
    let redis = RedisServer::start();
    let proxy = Proxy::to(&redis);
    let url = proxy.url();
    let settings = [settings, &[("REDIS__URL", &url)]].concat();
    (Setup::with_alice_on(redis, &settings), proxy)
}

/// The daemon finds the requests that Redis moved for it.
#[test]
fn a_lost_answer_to_a_fetch_loses_no_request() {
    let (mut setup, proxy) = behind_proxy(&[]);
    let token = setup.session_of_alice();
    for (round, lost) in [0, 4, 9].into_iter().enumerate() {
        let load = Load::new(&token, 10);
        let id = load.ids().nth(lost).unwrap();
        proxy.lose(Lose::AnswerWith(format!("\"{id}\"")));
        load.push(&mut setup.client);
        load.assert_answered(&mut setup.client);
        assert_eq!(proxy.lost_answers(), round + 1);
    }
    assert!(setup.daemon.stop().success());
    setup.client.assert_nothing_left();
}

/// The daemon does not send the reply again.
#[test]
fn a_lost_answer_to_a_reply_sends_no_second_reply() {
    let (mut setup, proxy) = behind_proxy(&[]);
    let token = setup.session_of_alice();
    for (round, lost) in [0, 4, 9].into_iter().enumerate() {
        let load = Load::new(&token, 10);
        let id = load.ids().nth(lost).unwrap();
        proxy.lose(Lose::AnswerTo(format!("{REPLIES}{id}\r\n")));
        load.push(&mut setup.client);
        load.assert_answered(&mut setup.client);
        assert_eq!(proxy.lost_answers(), round + 1);
    }
    assert!(setup.daemon.stop().success());
    setup.client.assert_nothing_left();
}

/// The daemon does not requeue the requests again.
#[test]
fn a_lost_answer_to_a_requeue_requeues_nothing_twice() {
    let (mut setup, proxy) = behind_proxy(BUSY);
    let load = Load::new(&setup.session_of_alice(), 300);
    load.push(&mut setup.client);
    setup.client.await_reply(load.logins()[0]);
    // Only the requeue script pushes to the head of the queue. (With a text that the
    // fencing script also contains, this test lost the answer to a fetch when the
    // daemon was slow to stop.)
    proxy.lose(Lose::AnswerTo("redis.call('LPUSH', KEYS[3], entry)".into()));
    assert!(setup.daemon.stop().success());
    assert_eq!(proxy.lost_answers(), 1);
    let queued = load.assert_answered_or_queued(&mut setup.client);
    assert!(queued > 0);

    setup.daemon.restart_with(CHEAP);
    load.assert_answered(&mut setup.client);
    assert!(setup.daemon.stop().success());
    setup.client.assert_nothing_left();
}

/// Redis closes the connection after the blocking command has moved a request and before the fetch
/// script runs.
#[test]
fn a_request_that_was_moved_but_not_fetched_is_run() {
    let mut setup = Setup::with_alice(&[]);
    for _ in 0..20 {
        let (id, message) = Client::request("get_users", json!({}));
        redis::pipe()
            .rpush(QUEUE, message)
            .cmd("CLIENT")
            .arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"])
            .exec(&mut setup.client.redis)
            .unwrap();
        setup.client.reply(&id).ok();
    }
    assert!(setup.daemon.stop().success());
    setup.client.assert_nothing_left();
}
