//! Problems and their messages.

use super::keys::yaml;
use super::{env, load_text, problems};
use crate::config::{keys, suggest};

#[test]
fn all_problems_are_reported_at_once_with_their_sources() {
    let text = "\
reply_ttl: 0
qeue: \"x\"
redis:
  host: pi.lan
  port: \"6379\"
  prot: 1
queue: 12
queue: [a]
password:
  iterations: 1.5
  memory_kib: -1
  min_lenght: 8
log: debug
max_in_flight:
  a: 1
token_hash: hunter2
logs: null
redis.url: redis://h
max_id_length: 99999999999999999999999
accept_any_target: maybe
";
    let env = env()
        .with("PLATYPUSH_USERD_REDIS_URL", "redis://x")
        .with("PLATYPUSH_USERD_CONFG", "x")
        .with("PLATYPUSH_USERD_ZZZ", "x")
        .with("PLATYPUSH_USERD_LOG__LEVEL", "loud")
        .with("PLATYPUSH_USERD_TOKEN", "belongs to the command line")
        .with("PLATYPUSH_USERD_QUEUE", "");
    assert_eq!(
        problems(text, &env),
        [
            "config.yaml:1: reply_ttl must be a whole number from 1 to 31536000",
            "config.yaml:2: there is no key qeue; did you mean queue?",
            "config.yaml:5: redis.port must be a whole number from 1 to 65535, not text",
            "config.yaml:6: there is no key redis.prot; did you mean redis.port?",
            "config.yaml:7: queue must be text (put it in quotes), not a number",
            "config.yaml:8: queue is already on line 7",
            "config.yaml:8: queue must be text (put it in quotes), not a list",
            "config.yaml:10: password.iterations must be a whole number from 1 to 4294967295, not a fraction or a number with too many digits",
            "config.yaml:11: password.memory_kib must be a whole number from 8 to 4294967295",
            "config.yaml:12: there is no key password.min_lenght; did you mean password.min_length?",
            "config.yaml:13: log must be a section, not text: below it, indented, level, format",
            "config.yaml:14: max_in_flight must be a whole number from 1 to 1000000, not a section",
            "config.yaml:16: token_hash must be 64 hexadecimal digits: the token's SHA-256, not the token",
            "config.yaml:17: there is no key logs; did you mean log?",
            "config.yaml:18: write redis.url in two lines: redis: and below it, indented, url:",
            "config.yaml:19: max_id_length must be a whole number from 1 to 4096, not a fraction or a number with too many digits",
            "config.yaml:20: accept_any_target must be true or false, not text",
            "PLATYPUSH_USERD_CONFG: there is no such variable; did you mean PLATYPUSH_USERD_CONFIG?",
            "PLATYPUSH_USERD_LOG__LEVEL: log.level must be one of error, warn, info, debug, trace",
            "PLATYPUSH_USERD_REDIS_URL: there is no such variable; did you mean PLATYPUSH_USERD_REDIS__URL?",
            "PLATYPUSH_USERD_ZZZ: there is no such variable; `config dump` shows all keys",
        ]
    );
}

#[test]
fn the_right_name_is_suggested_for_a_misspelled_key() {
    for key in keys::ALL {
        let misspelled = key.path.replacen(key.name(), &key.name()[1..], 1);
        let all = keys::ALL.iter().map(|key| key.path);
        assert_eq!(suggest::nearest(&misspelled, all), Some(key.path));
    }
    let outside = problems("memory_kib: 8\nzzzzz: 1\n", &env());
    assert!(outside[0].ends_with("did you mean password.memory_kib?"));
    assert!(outside[1].ends_with("`config dump` shows all keys"));
}

#[test]
fn an_invalid_value_is_rejected() {
    for (path, value, reason) in [
        ("queue", "", "must not be empty"),
        ("queue", "platypush/backend/redis", "Platypush itself"),
        ("reply_prefix", "platypush/us", "conflicts with queue"),
        ("reply_prefix", "platypush/user:", "conflicts with queue"),
        ("reply_prefix", "platypush/user", "conflicts with queue"),
        ("reply_prefix", "platypush/back", "Platypush's own list"),
        ("workdir", "~/users", "~ is not expanded"),
        ("device_id", "a\tb", "control characters"),
        ("token_hash", "abc", "64 hexadecimal digits"),
        ("max_message_size", "1023", "from 1024 to 67108864"),
        ("max_in_flight", "0", "from 1 to"),
        (
            "queue",
            "platypush/responses/x",
            "conflicts with reply_prefix",
        ),
        ("password.parallelism", "2433", "at least 8 KiB for each"),
        ("password.parallelism", "16777216", "from 1 to 16777215"),
        (
            "password.min_length",
            "4097",
            "conflicts with password.max_length",
        ),
        ("events.publish", "", "entry 1 must not be empty"),
        ("events.publish", "a,", "entry 2 must not be empty"),
        ("events.publish", "a\tb", "entry 1 must be one line"),
        ("events.publish", "a,b,a", "entry 3 is the same as entry 1"),
        (
            "events.publish",
            "list:a,a,list:a",
            "entry 3 is the same as entry 1",
        ),
        ("events.publish", "list:", "entry 1 must have the name"),
        ("events.publish", "list: a", "without a space"),
        ("events.publish", "list:platypush/user", "the queue"),
        ("events.publish", "list:platypush/user:dead", "the queue"),
        (
            "events.publish",
            "list:platypush/responses/",
            "reply_prefix",
        ),
        (
            "events.publish",
            "list:platypush/responses/x",
            "reply_prefix",
        ),
        ("redis.port", "65536", "from 1 to 65535"),
        ("redis.host", "a@b", "one machine"),
        ("redis.host", "a:80", "one machine"),
        ("redis.host", "0.0.0.0", "one machine"),
        ("redis.host", "", "must not be empty"),
        ("redis.ssl_certfile", "/c", "needs an encrypted connection"),
        ("redis.url", "http://h", "must be an address"),
        ("redis.url", "redis://", "must be an address"),
        ("redis.url", "redis://h/x", "must be an address"),
        ("redis.url", "redis://h/-1", "must be an address"),
        ("redis.url", "redis://:hunter/2@h/0", "must be an address"),
        ("redis.url", "rediss://h/#insecure", "must not have a part"),
    ] {
        let found = problems(&yaml(&[(path, value)]), &env());
        assert_eq!(found.len(), 1, "{path} {value}: {found:?}");
        assert!(found[0].contains(reason), "{path} {value}: {found:?}");
        assert!(found[0].contains(path), "{path} {value}: {found:?}");
        let line = if path.contains('.') { 2 } else { 1 };
        let source = format!("config.yaml:{line}: ");
        assert!(found[0].starts_with(&source), "{path} {value}: {found:?}");
        assert!(!found[0].contains("hunter"), "{found:?}");
    }
}

#[test]
fn an_invalid_list_entry_is_reported_by_its_number() {
    for (text, reason) in [
        ("text", "must be a list of texts, such as"),
        (
            "[a, 5]",
            "entry 2 must be text (put it in quotes), not a number",
        ),
        (
            "[a, [b]]",
            "entry 2 must be text (put it in quotes), not a list",
        ),
        (
            "[null]",
            "entry 1 must be text (put it in quotes), not null",
        ),
    ] {
        let found = problems(&format!("events:\n  publish: {text}\n"), &env());
        let [found] = &found[..] else {
            panic!("{text}: {found:?}");
        };
        let beginning = format!("config.yaml:2: events.publish {reason}");
        assert!(found.starts_with(&beginning), "{text}: {found}");
    }
    let env = env().with("PLATYPUSH_USERD_EVENTS__PUBLISH", "a, ,b");
    let problem = "PLATYPUSH_USERD_EVENTS__PUBLISH: events.publish entry 2 must not be empty";
    assert_eq!(problems("", &env), [problem]);

    // A list in the syntax of YAML or JSON.
    let env = super::env().with("PLATYPUSH_USERD_EVENTS__PUBLISH", "[\"a\", \"b\"]");
    let found = problems("", &env);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("entry 1 must be a name: in the environment"));
}

#[test]
fn the_configured_names_determine_the_lists_of_the_daemon() {
    let settings = "queue: home/users\nreply_prefix: home/replies/\nevents:\n  publish: ";
    for name in [
        "list:home/users",
        "list:home/users:dead",
        "list:home/replies/1",
    ] {
        let found = problems(&format!("{settings}['{name}']"), &env());
        assert!(
            found[0].contains("entry 1 must not be"),
            "{name}: {found:?}"
        );
    }
    for name in [
        "home/users",
        "home/replies/1",
        "list:home/users2",
        "list:platypush/user",
        "list:platypush/backend/redis",
    ] {
        load_text(&format!("{settings}['{name}']"), &env()).unwrap();
    }
}

#[test]
fn weak_hashes_cause_one_warning_and_are_allowed() {
    let warnings = |memory: u32, iterations: u32| {
        let text = format!("password: {{memory_kib: {memory}, iterations: {iterations}}}");
        load_text(&text, &env()).unwrap().config.warnings
    };
    assert_eq!(warnings(8, 1).len(), 1);
    for (memory, iterations) in [(47104, 1), (19456, 2), (12288, 3), (9216, 4), (7168, 5)] {
        assert!(warnings(memory, iterations).is_empty());
        assert!(warnings(memory * 2, iterations + 1).is_empty());
        assert_eq!(warnings(memory - 1, iterations).len(), 1);
    }
}
