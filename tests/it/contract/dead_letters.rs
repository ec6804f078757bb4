//! What becomes of messages that cannot be run.

use std::fmt::Write as _;

use redis::Commands as _;
use serde_json::{Value, json};

use super::shape::{TIME, assert_shape};
use super::{ask, next_dead_letter, send_with, settle, waiting_replies};
use crate::support::{Client, QUEUE, REPLIES, Setup};

/// Stands for a password in the messages here. It must turn up nowhere.
const PLANTED: &str = "hunter2-planted";

/// Looks for the planted password in what is left in Redis, and in the log.
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

/// Waits for the next dead letter, and takes it.
#[track_caller]
fn next_letter(client: &mut Client) -> Value {
    let letter = next_dead_letter(client);
    assert!(!letter.to_string().contains(PLANTED), "{letter}");
    letter
}

/// What cannot be decoded leaves no more than reason, time and length.
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
        let said = letter["reason"].as_str().unwrap();
        assert!(said.contains(reason), "{said}");
    }
    settle(&mut setup);
    assert_eq!(waiting_replies(&mut setup.client), Vec::<String>::new());
    assert_not_leaked(&mut setup);
}

/// What can be decoded leaves who sent it and what it was about.
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

/// What is taken over from a message is bounded.
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

/// The error reply of a request that could be read, but not whole.
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
    // Neither of a foreign type nor of one whose id cannot be read.
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
    settle(&mut setup);
    assert_eq!(waiting_replies(&mut setup.client), Vec::<String>::new());
    assert_not_leaked(&mut setup);
}

/// Depth alone, without anything around it.
#[test]
fn nothing_but_depth() {
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
        // More than is taken at once.
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
        mixed(&mut setup.client, &many);
        for _ in many {
            let letter = next_letter(&mut setup.client);
            assert_eq!(letter["length"], length);
        }
        settle(&mut setup);
        assert_eq!(waiting_replies(&mut setup.client), Vec::<String>::new());
        assert_not_leaked(&mut setup);
    }
}

/// Bad messages of every kind, good ones between them.
fn mixed(client: &mut Client, bad: &[Vec<u8>]) {
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

/// However many come: the newest 1,000 are kept, the log has one line, and
/// the good messages among them are answered.
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
    mixed(&mut setup.client, &bad);
    let kept: usize = setup.client.redis.llen(format!("{QUEUE}:dead")).unwrap();
    assert_eq!(kept, 1000);

    let _: () = setup.client.redis.del(format!("{QUEUE}:dead")).unwrap();
    mixed(&mut setup.client, &vec![over_long; 1500]);
    let letters = setup.client.dead_letters();
    assert_eq!(letters.len(), 1000);
    assert!(
        letters
            .iter()
            .all(|letter| letter["length"].as_u64() > Some(2048))
    );

    settle(&mut setup);
    assert_not_leaked(&mut setup);
}

/// Anybody can send such messages: the log must not grow with them.
#[test]
fn one_warning_in_the_log() {
    for message in ["garbage", &"x".repeat(2000)] {
        let mut setup = Setup::with(&[("MAX_MESSAGE_SIZE", "1024")]);
        for _ in 0..20 {
            setup.client.push(message);
            next_letter(&mut setup.client);
        }
        settle(&mut setup);
        let log = setup.daemon.log();
        let warnings = log.lines().filter(|line| line.contains("dead letter"));
        assert_eq!(warnings.count(), 1, "{log}");
    }
}

/// A reply that Redis does not take is given up; its request is done with.
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
    settle(&mut setup);
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

/// The dead-letter list itself may be of another type: then nothing is kept,
/// and nothing else suffers.
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
    mixed(
        &mut setup.client,
        &[b"garbage".to_vec(), over_long.into_bytes()],
    );
    // So much that Redis itself sets it aside.
    mixed(&mut setup.client, &[vec![b' '; 5 << 20]]);
    let _: () = setup.client.redis.del(format!("{REPLIES}x")).unwrap();
    settle(&mut setup);
}
