//! What hostile messages may cost: memory in proportion to what they hold for a
//! request, and no look-up its turn.

use std::sync::mpsc;

use futures_util::FutureExt as _;
use platypush_userd::actions::{ACTIONS, Kind};
use platypush_userd::store::Store;
use redis::Commands as _;
use serde_json::{Value, json};

use crate::store_conformance::bench::{noon, rules};
use crate::support::{Client, Setup, open_store};

const MIB: usize = 1 << 20;

/// One hashing thread, and hashes of some 100 ms: whatever waits for a hash waits
/// long.
const SLOW_HASHES: &[(&str, &str)] = &[
    ("PASSWORD__THREADS", "1"),
    ("PASSWORD__MEMORY_KIB", "1024"),
    ("PASSWORD__ITERATIONS", "10"),
    ("LOG__LEVEL", "info"),
];

/// A login of 1 MiB, most of it `unit` where `%` stands in `args`.
fn filled(id: &str, args: &str, unit: &str) -> String {
    let frame =
        format!(r#"{{"action": "user.authenticate_user", "id": "{id}", "args": {{{args}}}}}"#);
    let count = (MIB - frame.len()) / unit.len();
    frame.replacen('%', &unit.repeat(count), 1)
}

/// 64 messages of 1 MiB with `password: [[[[…]]]]` took 4 GB: a value takes 32
/// bytes of memory and two of the message, and the lists were kept until it was
/// the turn of their request.
#[test]
fn messages_of_many_values_do_not_fill_the_memory() {
    // The hashes of the first logins take longer than everything behind them.
    let settings = [SLOW_HASHES, &[("PASSWORD__ITERATIONS", "1000")]].concat();
    let mut setup = Setup::with_alice(&settings);
    let login = ("authenticate_user", json!(["alice", "wrong"]));
    setup.client.send_all(vec![login; 16]);
    let waiting = [
        (
            r#""username": "alice", "password": "x", "code": "%""#,
            "\\n",
        ),
        (r#""username": "alice", "password": "x"%"#, " "),
    ];
    let refused = [
        (r#""username": "alice", "password": [%0]"#, "[],"),
        (r#""username": "alice", "password": [%0]"#, "0,"),
        (r#""username": "alice", "password": [[[[%0]]]]"#, "[0],"),
        (r#""username": "alice", "password": [%0]"#, "\"\","),
        (r#""username": "alice", "password": {%"":0}"#, "\"\":[],"),
        (r#""username": ["alice"], "password": "%""#, "\\u0041"),
    ];
    for (args, unit) in waiting.iter().cycle().take(8) {
        let message = filled(&Client::new_id(), args, unit);
        setup.client.push(message);
    }
    let ids: Vec<_> = refused
        .iter()
        .cycle()
        .take(36)
        .map(|(args, unit)| {
            let id = Client::new_id();
            setup.client.push(filled(&id, args, unit));
            id
        })
        .collect();
    for id in ids {
        assert_eq!(setup.client.reply(&id).errors().len(), 1);
    }
    let peak = peak_memory(&setup);
    assert!(peak <= 200 * MIB, "{} MiB", peak / MIB);
}

/// The most memory that the daemon has had so far, in bytes.
fn peak_memory(setup: &Setup) -> usize {
    let file = format!("/proc/{}/status", setup.daemon.pid().as_raw_nonzero());
    let status = std::fs::read_to_string(file).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().split_whitespace().next().unwrap();
    kib.parse::<usize>().unwrap() * 1024
}

/// Arguments of a wrong type waited for the hash of every login before them.
#[test]
fn arguments_are_checked_before_a_request_waits() {
    let mut setup = Setup::with_alice(SLOW_HASHES);
    // All replies go to one list, where their order is seen.
    let message = |action: &str, args: &Value| {
        json!({"action": format!("user.{action}"), "id": "x", "args": args}).to_string()
    };
    let login = message("authenticate_user", &json!(["alice", "wrong"]));
    let mut messages = vec![login; 5];
    let mut bad = 0;
    for action in ACTIONS {
        let signature = action.signature();
        if signature
            .parameters
            .iter()
            .any(|p| p.kind == Kind::Name && p.required)
        {
            let required = signature.parameters.iter().filter(|p| p.required);
            let mut args: Value = required.map(|p| (p.name, json!("x"))).collect();
            args["username"] = json!([[1]]);
            messages.push(message(signature.name, &args));
            bad += 1;
        }
    }
    assert!(bad >= 8, "{bad} actions");
    setup.client.push(messages);
    for _ in 0..bad {
        let errors = setup.client.reply("x").errors().join("");
        assert!(
            errors.starts_with("'username' must be text, not list"),
            "{errors}"
        );
    }
    for _ in 0..5 {
        assert_eq!(setup.client.reply("x").ok(), &json!(false));
    }
}

/// A list as Platypush makes it of text that looks like JSON is told as such; what
/// no argument can be gets the limit.
#[test]
fn limits_of_values_and_depth_are_told() {
    let mut setup = Setup::new();
    let list = |values: usize| vec!["0"; values].join(",");
    for (password, error) in [
        (
            "[[1]]".to_owned(),
            "'password' must be text, not list. Platypush decodes",
        ),
        // With the object, its action and id, its arguments and the name.
        (
            format!("[{}]", list(994)),
            "'password' must be text, not list. Platypush decodes",
        ),
        (
            format!("[{}]", list(995)),
            "The message has 1001 values, at most 1000 are allowed",
        ),
        (
            format!("{}{}", "[".repeat(7), "]".repeat(7)),
            "The message is nested 9 levels deep, at most 8 are allowed",
        ),
    ] {
        let message = format!(
            r#"{{"action": "user.authenticate_user", "args": {{"username": "a", "password": {password}}}, "id": "y"}}"#
        );
        setup.client.push(message);
        let reply = setup.client.reply("y");
        let errors = reply.errors().join("");
        assert!(errors.starts_with(error), "{errors}");
    }
    let dead: usize = setup.client.redis.llen("platypush/user:dead").unwrap();
    assert_eq!(dead, 2);
}

/// The list of 10,000 sessions kept the one thread of all look-ups for 0.3 s.
#[test]
fn reads_of_many_records_leave_the_thread_of_look_ups() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = open_store(folder.path()).unwrap();
        // The one other thread is occupied: what needs it cannot get on.
        let (release, occupied) = mpsc::channel::<()>();
        let other = tokio::task::spawn_blocking(move || occupied.recv());
        let store: &dyn Store = &store;
        assert!(store.sessions_of(1, 0).now_or_never().is_none());
        assert!(store.profiles().now_or_never().is_none());
        assert!(store.users().now_or_never().is_none());
        assert!(store.users_from(1, 256).now_or_never().is_none());
        let sweep = store.sweep_sessions(None, 256, rules(noon()));
        assert!(sweep.now_or_never().is_none());
        // A look-up can.
        let looked_up = store.user_by_name("alice").now_or_never();
        assert!(matches!(looked_up, Some(Ok(None))));
        // And that of an API token, as long as no imported one has the name.
        let looked_up = store.users_by_token_name("a").now_or_never();
        assert!(looked_up.unwrap().unwrap().is_empty());
        drop(release);
        other.await.unwrap().unwrap_err();
        assert!(store.sessions_of(1, 0).await.unwrap().is_empty());
    });
}
