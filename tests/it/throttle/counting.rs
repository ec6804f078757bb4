//! Requests that count as failures, requests that do not, and successes that reset the count.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    FIVE, HUNDRED, NAMES, WIDE, add_old_failures, add_recent_failures,
    assert_throttled_for_an_hour, count_after_kill, guess, seconds_to_wait, send_guesses,
    was_checked,
};
use crate::support::{Client, Codes, Setup, enrol, wait_until_closed};

/// Returns how many passwords of a name can be checked in this time with a limit of five: five at
/// once, then one after each wait of 1, 2, 4, … seconds.
fn max_checks_in(time: Duration) -> usize {
    let waits = (0..6).map(|doublings| Duration::from_secs((1 << doublings) - 1));
    4 + waits.take_while(|after| *after <= time).count()
}

#[test]
fn five_simultaneous_guesses_are_checked_and_the_others_throttled() {
    let mut setup = Setup::with_alice(&[FIVE, WIDE]);
    assert_eq!(max_checks_in(Duration::from_millis(999)), 5);
    for name in NAMES {
        let start = Instant::now();
        let ids = setup.client.send_all(vec![guess(name); 50]);
        let replies = ids.iter().map(|id| setup.client.reply(id));
        let (checked, refused): (Vec<_>, Vec<_>) = replies.partition(was_checked);
        let max = max_checks_in(start.elapsed());
        let count = checked.len();
        assert!((5..=max).contains(&count), "{count} checked");
        if max == 5 {
            assert!(refused.iter().all(|it| seconds_to_wait(it) == Some(1)));
        }
        let counted = count_after_kill(&mut setup, name);
        assert_eq!(usize::try_from(counted).unwrap(), count);
        setup.daemon.restart();
    }
}

/// There is a free hashing thread for each guess: only the count limits them.
#[test]
fn simultaneous_guesses_are_checked_up_to_the_hundredth_failure() {
    let mut setup = Setup::with_alice(&[HUNDRED, WIDE]);
    for name in NAMES {
        assert_eq!(send_guesses(&mut setup.client, name, 150), 100);
        assert_eq!(send_guesses(&mut setup.client, name, 10), 0);
    }
}

#[test]
fn after_a_hundred_failures_one_guess_an_hour_is_checked() {
    let mut setup = Setup::with_alice(&[FIVE, WIDE]);
    add_old_failures(&mut setup, &NAMES, 120);
    for name in NAMES {
        assert_eq!(send_guesses(&mut setup.client, name, 20), 1);
    }
}

#[test]
fn a_success_resets_the_count() {
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
        add_recent_failures(&mut setup, &["alice"], 99);
        setup.client.call(action, args).ok();
        assert_eq!(send_guesses(&mut setup.client, "alice", 2), 2, "{action}");
        assert_eq!(count_after_kill(&mut setup, "alice"), 2, "{action}");
        setup.daemon.restart();
        // Reset the count for the next action.
        let login = json!(["alice", "secret"]);
        assert_eq!(setup.client.call("authenticate_user", login).ok(), true);
    }
}

/// Creates alice, and bob with a second factor.
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
fn the_right_password_without_a_code_neither_counts_nor_resets() {
    let mut setup = with_bob(&[HUNDRED]);
    add_recent_failures(&mut setup, &["bob"], 99);
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
    assert_eq!(send_guesses(client, "bob", 5), 1);
}

#[test]
fn a_wrong_code_counts_and_a_right_code_resets() {
    let mut setup = with_bob(&[HUNDRED]);
    let bob = Codes::of("bob");
    let login = |client: &mut Client, code: String| {
        let args = json!(["bob", "secret", code, true]);
        client.call("authenticate_user", args)
    };
    add_recent_failures(&mut setup, &["bob"], 98);
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

    // A used code counts as a wrong code.
    add_recent_failures(&mut setup, &["bob"], 99);
    let used = login(&mut setup.client, code);
    assert_eq!(used.ok(), &json!([false, "invalid_otp_code"]));
    let throttled = login(&mut setup.client, bob.next());
    assert_eq!(throttled.output(), &json!([false, "invalid_credentials"]));
    assert_throttled_for_an_hour(&throttled);
}

#[test]
fn a_throttled_name_stays_throttled_over_kill_9() {
    let mut setup = Setup::with_alice(&[FIVE]);
    add_old_failures(&mut setup, &NAMES, 99);
    for name in NAMES {
        let (action, args) = guess(name);
        assert!(was_checked(&setup.client.call(action, args.clone())));
        setup.daemon.kill();
        setup.daemon.restart();
        assert_throttled_for_an_hour(&setup.client.call(action, args));
    }
}

/// A request that is refused for another reason costs no hash.
#[test]
fn a_request_refused_before_the_password_check_does_not_count() {
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
