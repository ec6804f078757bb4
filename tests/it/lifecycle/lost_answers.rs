//! Redis has done what it was asked, and the daemon does not know, because
//! the connection broke before the answer came.

use serde_json::json;

use super::{BUSY, CHEAP};
use crate::support::line::{Line, Lose};
use crate::support::{Client, Load, QUEUE, REPLIES, RedisServer, Setup};

/// A daemon with these settings at the other end of a line that can be cut.
fn on_a_line(settings: &[(&str, &str)]) -> (Setup, Line) {
    let redis = RedisServer::start();
    let line = Line::to(&redis);
    let url = line.url();
    let settings = [settings, &[("REDIS__URL", &url)]].concat();
    (Setup::with_alice_on(redis, &settings), line)
}

/// Requests that were taken without the daemon knowing are not stranded.
#[test]
fn the_answer_to_a_take_is_lost() {
    let (mut setup, line) = on_a_line(&[]);
    let token = setup.session_of_alice();
    for (round, lost) in [0, 4, 9].into_iter().enumerate() {
        let load = Load::new(&token, 10);
        let id = load.ids().nth(lost).unwrap();
        line.lose(Lose::AnswerWith(format!("\"{id}\"")));
        load.push(&mut setup.client);
        load.assert_answered(&mut setup.client);
        assert_eq!(line.cuts(), round + 1);
    }
    assert!(setup.daemon.stop().success());
    setup.client.assert_nothing_left();
}

/// A reply that was sent without the daemon knowing is not sent again.
#[test]
fn the_answer_to_a_reply_is_lost() {
    let (mut setup, line) = on_a_line(&[]);
    let token = setup.session_of_alice();
    for (round, lost) in [0, 4, 9].into_iter().enumerate() {
        let load = Load::new(&token, 10);
        let id = load.ids().nth(lost).unwrap();
        line.lose(Lose::AnswerTo(format!("{REPLIES}{id}\r\n")));
        load.push(&mut setup.client);
        load.assert_answered(&mut setup.client);
        assert_eq!(line.cuts(), round + 1);
    }
    assert!(setup.daemon.stop().success());
    setup.client.assert_nothing_left();
}

/// Requests that were given back without the daemon knowing are not given
/// back again.
#[test]
fn the_answer_to_giving_back_is_lost() {
    let (mut setup, line) = on_a_line(BUSY);
    let load = Load::new(&setup.session_of_alice(), 300);
    load.push(&mut setup.client);
    setup.client.await_reply(load.logins()[0]);
    // Only the script that gives back pushes to the queue's head. (Text that the
    // script of the fence contains as well made this test lose a take's answer,
    // when the daemon was slow to stop.)
    line.lose(Lose::AnswerTo("redis.call('LPUSH', KEYS[3], entry)".into()));
    assert!(setup.daemon.stop().success());
    assert_eq!(line.cuts(), 1);
    let queued = load.assert_answered_or_queued(&mut setup.client);
    assert!(queued > 0);

    setup.daemon.restart_with(CHEAP);
    load.assert_answered(&mut setup.client);
    assert!(setup.daemon.stop().success());
    setup.client.assert_nothing_left();
}

/// The blocking command has moved a request and the script behind it did not
/// run any more: Redis closes the connection in between.
#[test]
fn a_request_that_was_moved_but_not_taken_is_taken() {
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
