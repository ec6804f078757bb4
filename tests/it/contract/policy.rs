//! Requests that are refused because of their target, token or age.

use platypush_userd::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::shape::is_time;
use super::{ask, send_with, stop_when_idle};
use crate::support::{Reply, Setup};

#[track_caller]
fn reply_to(setup: &mut Setup, members: Value) -> Reply {
    let id = send_with(&mut setup.client, members);
    setup.client.reply(&id)
}

#[test]
fn any_target_is_accepted_by_default() {
    let mut setup = Setup::new();
    for target in [
        json!("other-node"),
        json!("test-node"),
        json!(""),
        json!(null),
        json!(5),
        json!({}),
    ] {
        reply_to(&mut setup, json!({"target": target})).ok();
    }
}

#[test]
fn another_target_is_refused_without_accept_any_target() {
    let mut setup = Setup::with(&[("ACCEPT_ANY_TARGET", "false")]);
    for members in [
        json!({}),
        json!({"target": null}),
        json!({"target": "test-node"}),
    ] {
        reply_to(&mut setup, members).ok();
    }
    for (target, shown) in [
        (json!("other-node"), "other-node"),
        (json!("TEST-NODE"), "TEST-NODE"),
        (json!("test-node "), "test-node "),
        (json!(""), ""),
        (json!(5), "integer"),
        (json!(["test-node"]), "list"),
    ] {
        let reply = reply_to(&mut setup, json!({"target": target}));
        reply.fails(&format!(
            "This request is for {shown}, not for test-node (accept_any_target is off)"
        ));
    }
}

#[test]
fn the_token_is_required_if_token_hash_is_set() {
    let hash = hex::encode(Sha256::digest("1234567"));
    let mut setup = Setup::with(&[("TOKEN_HASH", &hash)]);
    for token in [json!("1234567"), json!(1_234_567)] {
        reply_to(&mut setup, json!({"token": token})).ok();
    }
    let literal = "{'type': 'request', 'action': 'user.get_users', 'id': 'l', 'token': 1234567}";
    ask(&mut setup.client, "l", literal).ok();

    for token in [
        json!("7654321"),
        json!(""),
        json!("1234567 "),
        json!(hash),
        json!(7_654_321),
        json!(1_234_567.0),
        json!(null),
        json!(true),
        json!(["1234567"]),
        json!({"1234567": "1234567"}),
    ] {
        reply_to(&mut setup, json!({"token": token})).fails("Unauthorized");
    }
    reply_to(&mut setup, json!({})).fails("Unauthorized");
    // A client without the token gets no other error.
    for members in [
        json!({"action": "user.nope"}),
        json!({"action": "user.get_users", "args": "odd"}),
        json!({"action": "user.authenticate_user", "args": {}}),
    ] {
        reply_to(&mut setup, members).fails("Unauthorized");
    }
    stop_when_idle(&mut setup);
    let log = setup.daemon.log();
    assert!(
        !log.contains("1234567") && !log.contains("7654321"),
        "{log}"
    );
    assert!(!log.contains(&hash), "{log}");
}

#[test]
fn a_token_is_ignored_without_token_hash() {
    let mut setup = Setup::new();
    for token in [json!("1234567"), json!(null), json!([])] {
        reply_to(&mut setup, json!({"token": token})).ok();
    }
}

/// Returns the time in this many seconds, in seconds since the epoch.
#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds since the epoch have 51 bits, an f64 keeps 53"
)]
fn seconds_from_now(seconds: f64) -> f64 {
    SystemClock.now().timestamp_micros() as f64 / 1e6 + seconds
}

#[test]
fn an_old_request_is_not_run() {
    let mut setup = Setup::new();
    let ten_minutes_ago = seconds_from_now(-600.0);
    for (timestamp, sent) in [
        (json!(1_000_000_000), Some("2001-09-09T01:46:40.000000")),
        (json!(1_000_000_000.5), Some("2001-09-09T01:46:40.500000")),
        (json!(0), Some("1970-01-01T00:00:00.000000")),
        (json!(-1e300), None),
        (json!(ten_minutes_ago), None),
    ] {
        let members = json!({"action": "user.create_user", "args": ["alice", "secret"],
            "_timestamp": timestamp});
        let before = SystemClock.now();
        let reply = reply_to(&mut setup, members);
        let after = SystemClock.now();
        assert_eq!(reply.output(), &json!({"success": false}));
        let [error] = reply.errors()[..] else {
            panic!("{reply:?}");
        };
        if let Some(sent) = sent {
            assert!(error.contains(sent), "{error}");
        }
        let iso = |moment: chrono::DateTime<_>| moment.format("%Y-%m-%dT%H:%M:%S%.6f").to_string();
        let (before, after) = (iso(before), iso(after));
        let names_now = error
            .split([' ', ','])
            .filter(|word| is_time(word))
            .any(|time| (&*before..=&*after).contains(&time));
        assert!(names_now, "{error} was not between {before} and {after}");
        assert!(error.contains("max_request_age"), "{error}");
    }
    assert_eq!(reply_to(&mut setup, json!({})).ok(), &json!([]));
}

#[test]
fn a_recent_request_or_one_without_timestamp_is_run() {
    let mut setup = Setup::new();
    for timestamp in [
        json!(seconds_from_now(0.0)),
        json!(seconds_from_now(-20.0)),
        json!(seconds_from_now(-20.0).floor()),
        json!(seconds_from_now(1e6)),
        json!(seconds_from_now(3e7)),
        json!(null),
    ] {
        reply_to(&mut setup, json!({"_timestamp": timestamp})).ok();
    }
}

#[test]
fn a_timestamp_of_another_type_is_refused() {
    let mut setup = Setup::with(&[("MAX_REQUEST_AGE", "0")]);
    let refused = |reply: Reply, what: &str| {
        reply.fails(&format!(
            "_timestamp must be a number, the seconds since the epoch at which the request was \
             sent, not {what}; without it the age of a request counts from when it is taken"
        ));
    };
    for (timestamp, what) in [
        (json!("1000000000"), "text"),
        (json!("2001-09-09T01:46:40"), "text"),
        (json!(""), "text"),
        (json!(true), "boolean"),
        (json!(false), "boolean"),
        (json!([1_000_000_000]), "list"),
        (json!({}), "object"),
    ] {
        refused(reply_to(&mut setup, json!({"_timestamp": timestamp})), what);
    }
    let message = r#"{"action": "user.get_users", "id": "odd", "_timestamp": NaN}"#;
    refused(ask(&mut setup.client, "odd", message), "NaN");
}

/// Milliseconds are the likely cause. Taken for seconds, they would disable the check of the age.
#[test]
fn a_timestamp_in_the_far_future_is_refused() {
    let mut setup = Setup::new();
    let year = 365.0 * 24.0 * 60.0 * 60.0;
    for timestamp in [
        json!(SystemClock.now().timestamp_millis()),
        json!(seconds_from_now(year + 60.0)),
        json!(1e300),
    ] {
        let reply = reply_to(&mut setup, json!({"_timestamp": timestamp}));
        assert_eq!(reply.output(), &json!({"success": false}));
        let [error] = reply.errors()[..] else {
            panic!("{reply:?}");
        };
        assert!(
            error.starts_with("_timestamp must be in seconds since the epoch: it stands for "),
            "{error}"
        );
        assert!(error.contains("Milliseconds"), "{error}");
    }
    for infinite in ["Infinity", &"9".repeat(400)] {
        let message =
            format!(r#"{{"action": "user.get_users", "id": "far", "_timestamp": {infinite}}}"#);
        let reply = ask(&mut setup.client, "far", &message);
        assert!(
            reply.errors()[0].contains("an impossible time"),
            "{reply:?}"
        );
    }
    let message = r#"{"action": "user.get_users", "id": "old", "_timestamp": -Infinity}"#;
    let reply = ask(&mut setup.client, "old", message);
    assert!(reply.errors()[0].contains("expired"), "{reply:?}");
}

/// The request waits behind logins that take far longer than the maximum age.
#[test]
fn the_age_without_a_timestamp_counts_from_the_fetch() {
    let slow = [
        ("MAX_REQUEST_AGE", "1"),
        ("PASSWORD__THREADS", "1"),
        ("PASSWORD__MEMORY_KIB", "16384"),
        ("PASSWORD__ITERATIONS", "2"),
    ];
    let mut setup = Setup::with(&slow);
    let logins = (0..1_000).map(|n| {
        let name = format!("unknown-{n}");
        ("authenticate_user", json!([name, "secret"]))
    });
    let ids = setup.client.send_all(logins);
    let last = setup.client.reply(&ids[999]);
    let last = last.errors();
    assert!(
        last[0].starts_with("The request has expired: it was taken at "),
        "{last:?}"
    );
    assert!(last[0].contains("max_request_age"), "{last:?}");
}

/// Regression: an expired request got "Too busy, retry", although its sender had timed out long
/// before.
#[test]
fn an_expired_request_does_not_wait_for_a_turn() {
    let slow = [
        ("MAX_REQUEST_AGE", "60"),
        ("MAX_LOGIN_WAIT", "1"),
        ("PASSWORD__THREADS", "1"),
        ("PASSWORD__MEMORY_KIB", "16384"),
        ("PASSWORD__ITERATIONS", "2"),
    ];
    let mut setup = Setup::with(&slow);
    let logins = (0..1_000).map(|n| {
        let name = format!("unknown-{n}");
        ("authenticate_user", json!([name, "secret"]))
    });
    setup.client.send_all(logins);
    let members = json!({"action": "user.authenticate_user", "args": ["alice", "secret"],
        "_timestamp": seconds_from_now(-120.0)});
    let reply = reply_to(&mut setup, members);
    let [error] = reply.errors()[..] else {
        panic!("{reply:?}");
    };
    let start = "The request has expired: it was sent at ";
    assert!(error.starts_with(start), "{error}");
}

#[test]
fn the_maximum_age_is_configurable() {
    let mut setup = Setup::with(&[("MAX_REQUEST_AGE", "100000")]);
    let hours_ago = |hours: f64| json!({"_timestamp": seconds_from_now(-3600.0 * hours)});
    reply_to(&mut setup, hours_ago(27.0)).ok();
    let reply = reply_to(&mut setup, hours_ago(28.0));
    assert!(reply.errors()[0].contains("100000"), "{reply:?}");
}

#[test]
fn a_maximum_age_of_0_disables_the_check() {
    let mut setup = Setup::with(&[("MAX_REQUEST_AGE", "0")]);
    reply_to(&mut setup, json!({"_timestamp": 0})).ok();
    reply_to(&mut setup, json!({"_timestamp": -1e300})).ok();
}
