//! What counts, what does not, and what starts the count anew.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    FIVE, HUNDRED, NAMES, WIDE, assert_waits_an_hour, count_after_kill, fail_long_ago, fail_now,
    guess, guess_at_once, is_tried, seconds_to_wait,
};
use crate::support::{Client, Codes, Setup, enrol, wait_until_closed};

/// How often a name can be tried in so much time, with the limit at five:
/// five times at once and then after 1, 2, 4… seconds.
fn most_tries_in(time: Duration) -> usize {
    let waits = (0..6).map(|doublings| Duration::from_secs((1 << doublings) - 1));
    4 + waits.take_while(|after| *after <= time).count()
}

#[test]
fn five_guesses_at_once_are_tried_and_the_others_wait() {
    let mut setup = Setup::with_alice(&[FIVE, WIDE]);
    assert_eq!(most_tries_in(Duration::from_millis(999)), 5);
    for name in NAMES {
        let start = Instant::now();
        let ids = setup.client.send_all(vec![guess(name); 50]);
        let replies = ids.iter().map(|id| setup.client.reply(id));
        let (tried, refused): (Vec<_>, Vec<_>) = replies.partition(is_tried);
        let most = most_tries_in(start.elapsed());
        assert!((5..=most).contains(&tried.len()), "{} tried", tried.len());
        if most == 5 {
            assert!(refused.iter().all(|it| seconds_to_wait(it) == Some(1)));
        }
        let counted = count_after_kill(&mut setup, name);
        assert_eq!(usize::try_from(counted).unwrap(), tried.len());
        setup.daemon.restart();
    }
}

/// All hashing threads are free for them: only the count holds them back.
#[test]
fn guesses_at_once_are_tried_up_to_the_hundredth_failure() {
    let mut setup = Setup::with_alice(&[HUNDRED, WIDE]);
    for name in NAMES {
        assert_eq!(guess_at_once(&mut setup.client, name, 150), 100);
        assert_eq!(guess_at_once(&mut setup.client, name, 10), 0);
    }
}

#[test]
fn after_a_hundred_failures_one_guess_an_hour_is_tried() {
    let mut setup = Setup::with_alice(&[FIVE, WIDE]);
    fail_long_ago(&mut setup, &NAMES, 120);
    for name in NAMES {
        assert_eq!(guess_at_once(&mut setup.client, name, 20), 1);
    }
}

#[test]
fn a_success_starts_the_count_anew() {
    let mut setup = Setup::with_alice(&[HUNDRED, WIDE]);
    let login = json!(["alice", "secret"]);
    let change = json!(["alice", "secret", "secret"]);
    let executed = json!({
        "username": "bob", "password": "x",
        "executing_user": "alice", "executing_user_password": "secret",
    });
    for (action, args) in [
        ("authenticate_user", login.clone()),
        ("create_session", login.clone()),
        ("update_password", change),
        ("delete_sessions", login),
        ("create_user", executed),
    ] {
        fail_now(&mut setup, &["alice"], 99);
        setup.client.call(action, args).ok();
        assert_eq!(guess_at_once(&mut setup.client, "alice", 2), 2, "{action}");
        assert_eq!(count_after_kill(&mut setup, "alice"), 2, "{action}");
        setup.daemon.restart();
        // Back to none, for the next action.
        let login = json!(["alice", "secret"]);
        assert_eq!(setup.client.call("authenticate_user", login).ok(), true);
    }
}

/// With alice, and bob who has a second factor.
fn with_bob(settings: &[(&str, &str)]) -> Setup {
    let mut setup = Setup::with_alice(settings);
    let token = setup.session_of_alice();
    let bob = json!({"username": "bob", "password": "secret", "session_token": token});
    setup.client.call("create_user", bob).ok();
    setup.daemon.kill();
    enrol(&setup.daemon.workdir(), "bob");
    wait_until_closed(&setup.daemon.workdir());
    setup.daemon.restart();
    setup
}

#[test]
fn the_right_password_without_the_code_neither_counts_nor_clears() {
    let mut setup = with_bob(&[HUNDRED]);
    fail_now(&mut setup, &["bob"], 99);
    let client = &mut setup.client;
    let executed = json!({
        "username": "carol", "password": "x",
        "executing_user": "bob", "executing_user_password": "secret",
    });
    for _ in 0..3 {
        let login = client.call("create_session", json!(["bob", "secret"]));
        login.fails("missing_otp_code");
        let details = json!(["bob", "secret", null, true]);
        let details = client.call("authenticate_user", details);
        assert_eq!(details.ok(), &json!([false, "missing_otp_code"]));
        let refused = client.call("create_user", executed.clone());
        refused.fails("Invalid credentials and/or session_token");
    }
    assert_eq!(guess_at_once(client, "bob", 5), 1);
}

#[test]
fn a_wrong_code_counts_and_a_right_one_clears() {
    let mut setup = with_bob(&[HUNDRED]);
    let bob = Codes::of("bob");
    let login = |client: &mut Client, code: String| {
        let args = json!(["bob", "secret", code, true]);
        client.call("authenticate_user", args)
    };
    fail_now(&mut setup, &["bob"], 98);
    let wrong = login(&mut setup.client, bob.wrong());
    assert_eq!(wrong.ok(), &json!([false, "invalid_otp_code"]));
    assert_eq!(count_after_kill(&mut setup, "bob"), 99);
    setup.daemon.restart();

    let code = bob.now();
    assert_eq!(
        login(&mut setup.client, code.clone()).ok(),
        &json!([true, ""])
    );
    assert_eq!(count_after_kill(&mut setup, "bob"), 0);
    setup.daemon.restart();

    // A used one is a wrong one.
    fail_now(&mut setup, &["bob"], 99);
    let used = login(&mut setup.client, code);
    assert_eq!(used.ok(), &json!([false, "invalid_otp_code"]));
    let throttled = login(&mut setup.client, bob.next());
    assert_eq!(throttled.output(), &json!([false, "invalid_credentials"]));
    assert_waits_an_hour(&throttled);
}

#[test]
fn a_name_waits_on_after_kill_9() {
    let mut setup = Setup::with_alice(&[FIVE]);
    fail_long_ago(&mut setup, &NAMES, 99);
    for name in NAMES {
        let (action, args) = guess(name);
        assert!(is_tried(&setup.client.call(action, args.clone())));
        setup.daemon.kill();
        setup.daemon.restart();
        assert_waits_an_hour(&setup.client.call(action, args));
    }
}

/// Not a request that is refused for something else, before it costs a hash.
#[test]
fn what_is_refused_before_the_password_is_looked_at_does_not_count() {
    let mut setup = Setup::with_alice(&[FIVE]);
    for args in [
        json!({"username": "alice", "password": 1.5}),
        json!({"username": "alice", "password": "x", "bogus": 1}),
        json!({"username": "alice"}),
        json!({"username": "alice", "password": Value::Null}),
    ] {
        let reply = setup.client.call("authenticate_user", args);
        assert_eq!(reply.output(), &json!({"success": false}));
    }
    assert_eq!(count_after_kill(&mut setup, "alice"), 0);
}
