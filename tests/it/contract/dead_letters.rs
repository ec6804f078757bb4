//! Dead letters of messages that cannot be run.

use std::fmt::Write as _;

use redis::Commands as _;
use serde_json::{Value, json};

use super::shape::{TIME, assert_shape};
use super::{ask, next_dead_letter, reply_lists, send_with, stop_when_idle};
use crate::support::{Client, QUEUE, REPLIES, Setup};

/// A password in the messages of these tests. It must not leak.
const PLANTED: &str = "hunter2-planted";

/// Asserts that neither Redis nor the log contains the planted password.
#[track_caller]
fn assert_not_leaked(setup: &mut Setup) {
    let redis = &mut setup.client.redis;
    let keys: Vec<Vec<u8>> = redis.keys("*").unwrap();
    for key in keys {
        let dump: Vec<Vec<u8>> = redis.lrange(&key, 0, -1).unwrap_or_default();
        for bytes in dump.iter().chain([&key]) {
            let text = String::from_utf8_lossy(bytes);
            assert!(!text.contains(PLANTED), "{text}");
        }
    }
    let log = setup.daemon.log();
    assert!(!log.contains(PLANTED), "{log}");
}

/// Waits for the next dead letter, removes it and checks that it contains no password.
#[track_caller]
fn next_letter(client: &mut Client) -> Value {
    let letter = next_dead_letter(client);
    assert!(!letter.to_string().contains(PLANTED), "{letter}");
    letter
}

/// The dead letter of a message that cannot be decoded contains only reason, time and length.
#[test]
fn unreadable_messages() {
    let mut setup = Setup::new();
    let mut not_utf8 = br#"{"type": "request", "action": "user.get_users", "id": "x"}"#.to_vec();
    not_utf8[30] = 0xff;
    let not_utf8 = [&not_utf8[..], PLANTED.as_bytes()].concat();
    for (message, reason) in [
        (&not_utf8[..], "not UTF-8"),
        (b"", "neither JSON nor a Python literal"),
        (b"\0", "neither JSON nor a Python literal"),
        (b"hunter2-planted", "neither JSON nor a Python literal"),
        (
            br#"{"type": "request", "id": "x", "args": {"password": "hunter2-planted"}"#,
            "neither JSON nor a Python literal",
        ),
        (
            br#"{"type": "request", "id": "x", "args": {"password": hunter2-planted}}"#,
            "neither JSON nor a Python literal",
        ),
        (
            b"{'type': 'request', 'id': 'x', 'args': __import__('hunter2-planted')}",
            "neither JSON nor a Python literal",
        ),
        (b"\"hunter2-planted\"", "not an object"),
        (br#"["request", "hunter2-planted"]"#, "not an object"),
        (b"('hunter2-planted',)", "not an object"),
        (b"42", "not an object"),
        (b"null", "not an object"),
        (b"True", "not an object"),
    ] {
        setup.client.push(message);
        let letter = next_letter(&mut setup.client);
        let shape = json!({"reason": letter["reason"], "time": TIME, "length": message.len()});
        assert_shape(&letter, &shape);
        let actual = letter["reason"].as_str().unwrap();
        assert!(actual.contains(reason), "{actual}");
    }
    stop_when_idle(&mut setup);
    assert_eq!(reply_lists(&mut setup.client), Vec::<String>::new());
    assert_not_leaked(&mut setup);
}

/// The dead letter of a decoded message also contains type, action, id, origin and the names of
/// the arguments.
#[test]
fn readable_messages() {
    let mut setup = Setup::new();
    for (message, extract) in [
        (
            json!({"type": "event", "action": "user.create_user", "id": "x", "origin": "node",
                "args": {"username": PLANTED, "password": PLANTED, "deep": {"deeper": PLANTED}},
                "token": PLANTED, "more": PLANTED}),
            json!({"type": "event", "action": "user.create_user", "id": "x", "origin": "node",
                "args": ["username", "password", "deep"]}),
        ),
        (
            json!({"type": "event", "name": "user.create_user", "id": 7,
                "args": [PLANTED, PLANTED]}),
            json!({"type": "event", "action": "user.create_user", "id": "7"}),
        ),
        (
            json!({"type": "event", "args": {}}),
            json!({"type": "event", "args": []}),
        ),
        (
            json!({"type": {"a": PLANTED}, "action": [PLANTED], "id": true, "origin": {},
                "args": PLANTED}),
            json!({}),
        ),
        (
            json!({"id": "x", "origin": "node", "password": PLANTED}),
            json!({"id": "x", "origin": "node"}),
        ),
    ] {
        let message = message.to_string();
        setup.client.push(message.as_str());
        let letter = next_letter(&mut setup.client);
        let mut shape = json!({"reason": letter["reason"], "time": TIME, "length": message.len()});
        let extract = extract.as_object().unwrap().clone();
        shape.as_object_mut().unwrap().extend(extract);
        assert_shape(&letter, &shape);
        assert!(!letter["reason"].as_str().unwrap().is_empty());
    }
    assert_not_leaked(&mut setup);
}

/// The values that a dead letter copies from a message are bounded.
#[test]
fn a_dead_letter_is_small() {
    let mut setup = Setup::new();
    let long = "x".repeat(100_000);
    let args: Value = (0..10_000)
        .map(|n| (format!("{long}{n}"), n))
        .take(5)
        .collect();
    let many: Value = (0..10_000).map(|n| (format!("a{n}"), n)).collect();
    for args in [args, many] {
        let message = json!({"type": "event", "action": long, "id": long, "origin": long,
            "args": args});
        setup.client.push(message.to_string());
        let letter = next_letter(&mut setup.client).to_string();
        assert!(letter.len() < 10_000, "{} bytes", letter.len());
    }
}

/// Returns requests that the decoder only partly reads, with a part of the error.
fn flawed_messages() -> [(String, &'static str); 4] {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let request = |value: &str| {
        format!(
            r#"{{"type": "request", "action": "user.create_user", "id": "x", "origin": "node", "args": {{"username": "bob", "password": "{PLANTED}", "foo": {value}}}}}"#
        )
    };
    [
        (request(&deep), "nested 10002 levels deep"),
        (
            request(&format!("[{}0]", "0,".repeat(1_000))),
            "1010 values",
        ),
        (request(r#""\ud800""#), "surrogate"),
        (request(r#""\udc00\ud800""#), "surrogate"),
    ]
}

#[test]
fn a_flawed_request_gets_an_error_reply_too() {
    let mut setup = Setup::new();
    for (message, reason) in flawed_messages() {
        let reply = ask(&mut setup.client, "x", &message);
        let [error] = reply.errors()[..] else {
            panic!("{reply:?}");
        };
        assert!(error.contains(reason), "{error}");
        assert_eq!(reply.output(), &json!({"success": false}));
        assert_eq!(reply.0["target"], "node");
        let letter = next_letter(&mut setup.client);
        let shape = json!({"reason": error, "time": TIME, "length": message.len(),
            "type": "request", "action": "user.create_user", "id": "x", "origin": "node",
            "args": ["username", "password", "foo"]});
        assert_shape(&letter, &shape);
    }
    // No reply to a message of another type or without a usable id.
    for (message, _) in flawed_messages() {
        for (from, to) in [
            (r#""type": "request""#, r#""type": "event""#),
            (r#""id": "x""#, r#""id": null"#),
        ] {
            setup.client.push(message.replace(from, to));
            next_letter(&mut setup.client);
        }
    }
    assert_eq!(setup.client.call("get_users", json!({})).ok(), &json!([]));
    stop_when_idle(&mut setup);
    assert_eq!(reply_lists(&mut setup.client), Vec::<String>::new());
    assert_not_leaked(&mut setup);
}

/// Messages that consist only of opening brackets or signs.
#[test]
fn deeply_nested_messages() {
    let mut setup = Setup::new();
    for bracket in ["[", "{\"a\":", "(", "[{'a':", "[(", "-", "+", "[[{"] {
        setup.client.push(bracket.repeat(100_000));
        let letter = next_letter(&mut setup.client);
        assert_eq!(letter["length"], 100_000 * bracket.len());
    }
    setup.client.call("get_users", json!({})).ok();
}

#[test]
fn over_long_messages() {
    for (settings, length) in [
        (&[("MAX_MESSAGE_SIZE", "1024")][..], 1025),
        (&[], (1 << 20) + 1),
        // Longer than the bytes of one batch.
        (&[], 5 << 20),
    ] {
        let mut setup = Setup::with(settings);
        let message = json!({"type": "request", "action": "user.get_users", "id": "x",
            "args": {"password": PLANTED}});
        let message = message.to_string();
        let message = message.clone() + &" ".repeat(length - message.len());
        setup.client.push(message.as_str());
        let letter = next_letter(&mut setup.client);
        let shape = json!({"reason": "the message is longer than max_message_size",
            "time": TIME, "length": length});
        assert_shape(&letter, &shape);
        let many = vec![message.into_bytes(); 5];
        push_mixed(&mut setup.client, &many);
        for _ in many {
            let letter = next_letter(&mut setup.client);
            assert_eq!(letter["length"], length);
        }
        stop_when_idle(&mut setup);
        assert_eq!(reply_lists(&mut setup.client), Vec::<String>::new());
        assert_not_leaked(&mut setup);
    }
}

/// Pushes bad messages with a good one after each, and waits for the replies to the good ones.
fn push_mixed(client: &mut Client, bad: &[Vec<u8>]) {
    let mut good = Vec::new();
    let mut pipe = redis::pipe();
    for message in bad {
        let id = Client::new_id();
        let request = json!({"action": "user.get_users", "id": id}).to_string();
        pipe.rpush(QUEUE, message).rpush(QUEUE, request);
        good.push(id);
    }
    pipe.exec(&mut client.redis).unwrap();
    for id in good {
        client.reply(&id).ok();
    }
}

/// Only the newest 1,000 are kept, and the good messages between them are answered.
#[test]
fn many_dead_letters() {
    let mut setup = Setup::with(&[("MAX_MESSAGE_SIZE", "2048")]);
    let over_long = format!("{{\"password\": \"{PLANTED}\"}}{:2048}", "").into_bytes();
    let [(deep, _), ..] = flawed_messages();
    let kinds = [
        format!("{{{PLANTED}").into_bytes(),
        [PLANTED.as_bytes(), &[0xff, 0xfe]].concat(),
        format!("[\"{PLANTED}\"]").into_bytes(),
        format!(r#"{{"type": "event", "password": "{PLANTED}"}}"#).into_bytes(),
        over_long.clone(),
        deep.replace(&"[".repeat(10_000), &"[".repeat(300))
            .replace(&"]".repeat(10_000), &"]".repeat(300))
            .into_bytes(),
    ];
    let bad: Vec<_> = kinds.iter().cycle().take(1500).cloned().collect();
    push_mixed(&mut setup.client, &bad);
    let kept: usize = setup.client.redis.llen(format!("{QUEUE}:dead")).unwrap();
    assert_eq!(kept, 1000);

    let _: () = setup.client.redis.del(format!("{QUEUE}:dead")).unwrap();
    push_mixed(&mut setup.client, &vec![over_long; 1500]);
    let letters = setup.client.dead_letters();
    assert_eq!(letters.len(), 1000);
    assert!(
        letters
            .iter()
            .all(|letter| letter["length"].as_u64() > Some(2048))
    );

    stop_when_idle(&mut setup);
    assert_not_leaked(&mut setup);
}

/// Any client can send such messages, so the log must not grow with them.
#[test]
fn dead_letters_cause_one_log_warning() {
    for message in ["garbage", &"x".repeat(2000)] {
        let mut setup = Setup::with(&[("MAX_MESSAGE_SIZE", "1024")]);
        for _ in 0..20 {
            setup.client.push(message);
            next_letter(&mut setup.client);
        }
        stop_when_idle(&mut setup);
        let log = setup.daemon.log();
        let warnings = log.lines().filter(|line| line.contains("dead letter"));
        assert_eq!(warnings.count(), 1, "{log}");
    }
}

/// A reply that Redis refuses becomes a dead letter, and the request is acknowledged.
#[test]
fn a_reply_list_of_another_type() {
    let mut setup = Setup::new();
    let _: () = setup
        .client
        .redis
        .set(format!("{REPLIES}x"), "taken")
        .unwrap();
    let mut others = Vec::new();
    for _ in 0..10 {
        send_with(&mut setup.client, json!({"id": "x"}));
        others.push(send_with(&mut setup.client, json!({})));
    }
    for id in others {
        setup.client.reply(&id).ok();
    }
    stop_when_idle(&mut setup);
    let value: String = setup.client.redis.get(format!("{REPLIES}x")).unwrap();
    assert_eq!(value, "taken");
    let letters = setup.client.dead_letters();
    assert_eq!(letters.len(), 10);
    for letter in letters {
        assert_eq!(letter["id"], "x");
        let reason = letter["reason"].as_str().unwrap();
        assert!(reason.contains("reply"), "{reason}");
    }
}

/// If the dead-letter key is not a list, no dead letter is kept, and requests are still answered.
#[test]
fn a_dead_letter_list_of_another_type() {
    let mut setup = Setup::with(&[("MAX_MESSAGE_SIZE", "1024")]);
    let dead = format!("{QUEUE}:dead");
    let _: () = setup.client.redis.set(&dead, "taken").unwrap();
    let _: () = setup
        .client
        .redis
        .set(format!("{REPLIES}x"), "taken")
        .unwrap();
    send_with(&mut setup.client, json!({"id": "x"}));
    let mut over_long = String::new();
    write!(over_long, "{:2000}", "{").unwrap();
    push_mixed(
        &mut setup.client,
        &[b"garbage".to_vec(), over_long.into_bytes()],
    );
    // So long that the fetch script itself makes it a dead letter.
    push_mixed(&mut setup.client, &[vec![b' '; 5 << 20]]);
    let _: () = setup.client.redis.del(format!("{REPLIES}x")).unwrap();
    stop_when_idle(&mut setup);
}
