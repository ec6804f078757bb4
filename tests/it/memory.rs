//! Limits on the cost of hostile messages: memory grows with the arguments that a request keeps,
//! not with the number of values in its message, and look-ups are not delayed.

use std::sync::mpsc;

use futures_util::FutureExt as _;
use platypush_userd::actions::{ACTIONS, Kind};
use platypush_userd::store::Store;
use redis::Commands as _;
use serde_json::{Value, json};

use crate::store_changes::Changes as _;
use crate::store_conformance::bench::{noon, rules};
use crate::support::{Client, Setup, open_store};

const MIB: usize = 1 << 20;

/// One hashing thread, and hashes of some 100 ms: requests that need a hash wait long.
const SLOW_HASHES: &[(&str, &str)] = &[
    ("PASSWORD__THREADS", "1"),
    ("PASSWORD__MEMORY_KIB", "1024"),
    ("PASSWORD__ITERATIONS", "10"),
    ("LOG__LEVEL", "info"),
];

/// Returns a login of 1 MiB: `%` in `args` is replaced by as many copies of `unit` as fit.
fn filled(id: &str, args: &str, unit: &str) -> String {
    let frame =
        format!(r#"{{"action": "user.authenticate_user", "id": "{id}", "args": {{{args}}}}}"#);
    let count = (MIB - frame.len()) / unit.len();
    frame.replacen('%', &unit.repeat(count), 1)
}

/// Regression: 64 messages of 1 MiB with `password: [[[[…]]]]` took 4 GB. A value takes two bytes
/// of the message and 32 bytes of memory, and the lists were kept until the request had its turn.
#[test]
fn messages_of_many_values_do_not_fill_the_memory() {
    // The hashes of the first logins take longer than all later requests together.
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

/// Returns the peak memory of the daemon in bytes.
fn peak_memory(setup: &Setup) -> usize {
    let file = format!("/proc/{}/status", setup.daemon.pid().as_raw_nonzero());
    let status = std::fs::read_to_string(file).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().split_whitespace().next().unwrap();
    kib.parse::<usize>().unwrap() * 1024
}

/// Regression: a request with an argument of a wrong type waited for the hashes of all earlier
/// logins.
#[test]
fn arguments_are_checked_before_a_request_waits() {
    let mut setup = Setup::with_alice(SLOW_HASHES);
    // All replies go to one list, which shows their order.
    let message = |action: &str, args: &Value| {
        json!({"action": format!("user.{action}"), "id": "x", "args": args}).to_string()
    };
    let login = message("authenticate_user", &json!(["alice", "wrong"]));
    let mut messages = vec![login; 5];
    let mut rejected = 0;
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
            rejected += 1;
        }
    }
    assert!(rejected >= 8, "{rejected} actions");
    setup.client.push(messages);
    for _ in 0..rejected {
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

/// Platypush decodes text that looks like JSON, so a password may arrive as a list: the error names
/// the type. A message over the limits gets an error that names the limit.
#[test]
fn errors_name_the_limits_of_values_and_depth() {
    let mut setup = Setup::new();
    let list = |values: usize| vec!["0"; values].join(",");
    for (password, error) in [
        (
            "[[1]]".to_owned(),
            "'password' must be text, not list. Platypush decodes",
        ),
        // The other six values: the message, its action and id, `args`, the name and the list.
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

/// Regression: listing 10,000 sessions blocked the thread of all look-ups for 0.3 s.
#[test]
fn reads_of_many_records_leave_the_thread_of_look_ups() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = open_store(folder.path()).unwrap();
        // The only blocking thread is occupied: a read that needs it stays pending.
        let (release, released) = mpsc::channel::<()>();
        let blocker = tokio::task::spawn_blocking(move || released.recv());
        let store: &dyn Store = &store;
        assert!(store.sessions_of(1, 0).now_or_never().is_none());
        assert!(store.profiles().now_or_never().is_none());
        assert!(store.users().now_or_never().is_none());
        assert!(store.users_from(1, 256).now_or_never().is_none());
        let sweep = store.sweep_sessions(None, 256, rules(noon()));
        assert!(sweep.now_or_never().is_none());
        // A look-up completes.
        let looked_up = store.user_by_name("alice").now_or_never();
        assert!(matches!(looked_up, Some(Ok(None))));
        // So does the look-up of an API token while no imported token has the name.
        let looked_up = store.users_by_token_name("a").now_or_never();
        assert!(looked_up.unwrap().unwrap().is_empty());
        drop(release);
        blocker.await.unwrap().unwrap_err();
        assert!(store.sessions_of(1, 0).await.unwrap().is_empty());
    });
}
