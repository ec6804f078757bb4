//! Sets, dumps and documents every key.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::TimeDelta;
use secrecy::ExposeSecret as _;

use super::{defaults, env, load_text};
use crate::config::keys::{self, Kind};
use crate::config::{Config, Destination, EXAMPLE, Environment, Loaded, Password, load};

/// Returns the configuration field of a key as text, with secrets exposed.
pub(super) fn field(config: &Config, path: &str) -> String {
    let tls = || config.redis.tls.clone().unwrap();
    let client = || tls().client.unwrap();
    let shown = |file: &Option<PathBuf>| {
        file.as_ref()
            .map_or("none".into(), |file| file.display().to_string())
    };
    let seconds =
        |limit: Option<TimeDelta>| format!("{:?}", limit.map(|limit| limit.to_std().unwrap()));
    match path {
        "device_id" => config.device_id.clone(),
        "workdir" => config.workdir.display().to_string(),
        "redis.url" | "redis.host" | "redis.port" | "redis.username" | "redis.password"
        | "redis.db" | "redis.ssl" => config.redis.url.expose_secret().to_owned(),
        "redis.ssl_ca_certs" => tls().ca_certs.unwrap().display().to_string(),
        "redis.ssl_certfile" => client().certfile.display().to_string(),
        "redis.ssl_keyfile" => client().keyfile.display().to_string(),
        "queue" => config.queue.clone(),
        "reply_prefix" => config.reply_prefix.clone(),
        "reply_ttl" => format!("{:?}", config.reply_ttl),
        "accept_any_target" => config.accept_any_target.to_string(),
        "token_hash" => config
            .token_hash
            .map_or("off".into(), |hash| hex::encode(hash.0)),
        "max_request_age" => format!("{:?}", config.max_request_age),
        "max_login_wait" => format!("{:?}", config.max_login_wait),
        "max_in_flight" => config.max_in_flight.to_string(),
        "max_message_size" => config.max_message_size.to_string(),
        "max_username_length" => config.max_username_length.to_string(),
        "max_id_length" => config.max_id_length.to_string(),
        "secret_keys_file" => shown(&config.secret_keys_file),
        "session.max_lifetime" => seconds(config.session.limits.max_lifetime),
        "session.idle_timeout" => seconds(config.session.limits.idle_timeout),
        "session.revoke_on_password_change" => config.session.revoke_on_password_change.to_string(),
        "throttle.failures" => format!("{:?}", config.throttle.failures),
        "shutdown_timeout" => format!("{:?}", config.shutdown_timeout),
        "write_timeout" => format!("{:?}", config.write_timeout),
        "password.memory_kib" => config.password.argon2.m_cost().to_string(),
        "password.iterations" => config.password.argon2.t_cost().to_string(),
        "password.parallelism" => config.password.argon2.p_cost().to_string(),
        "password.threads" => config.password.threads.to_string(),
        "password.min_length" => config.password.min_length.to_string(),
        "password.max_length" => config.password.max_length.to_string(),
        "password.blocklist_file" => shown(&config.password.blocklist_file),
        "events.publish" => format!("{:?}", config.publish),
        "log.level" => config.log.level.to_string(),
        "log.format" => format!("{:?}", config.log.format),
        other => panic!("{other} has no case: add its field here and a row to CASES"),
    }
}

/// A key, a value that is not its default, the resulting field, and other keys that must be set.
type Case = (
    &'static str,
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

pub(super) const HASH: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

const CASES: &[Case] = &[
    ("device_id", "attic", "attic", &[]),
    ("workdir", "/srv/users", "/srv/users", &[]),
    (
        "redis.url",
        "unix:///run/redis.sock?db=3",
        "unix:///run/redis.sock?db=3",
        &[],
    ),
    ("redis.host", "pi.lan", "redis://pi.lan:6379/0", &[]),
    ("redis.port", "6380", "redis://127.0.0.1:6380/0", &[]),
    ("redis.username", "me", "redis://me@127.0.0.1:6379/0", &[]),
    (
        "redis.password",
        "a/b@c#d%é",
        "redis://:a%2Fb%40c%23d%25%C3%A9@127.0.0.1:6379/0",
        &[],
    ),
    ("redis.db", "2", "redis://127.0.0.1:6379/2", &[]),
    ("redis.ssl", "true", "rediss://127.0.0.1:6379/0", &[]),
    (
        "redis.ssl_ca_certs",
        "/etc/ca.pem",
        "/etc/ca.pem",
        &[("redis.url", "rediss://pi.lan")],
    ),
    (
        "redis.ssl_certfile",
        "/etc/me.pem",
        "/etc/me.pem",
        &[("redis.ssl", "true"), ("redis.ssl_keyfile", "/k")],
    ),
    (
        "redis.ssl_keyfile",
        "/etc/me.key",
        "/etc/me.key",
        &[("redis.ssl", "true"), ("redis.ssl_certfile", "/c")],
    ),
    ("queue", "home/users", "home/users", &[]),
    ("reply_prefix", "home/replies/", "home/replies/", &[]),
    ("reply_ttl", "5", "5s", &[]),
    ("accept_any_target", "false", "false", &[]),
    ("token_hash", HASH, HASH, &[]),
    ("max_request_age", "0", "None", &[]),
    ("max_login_wait", "30", "30s", &[]),
    ("max_in_flight", "1", "1", &[]),
    ("max_message_size", "1024", "1024", &[]),
    ("max_username_length", "64", "64", &[]),
    ("max_id_length", "32", "32", &[]),
    ("shutdown_timeout", "3600", "3600s", &[]),
    ("write_timeout", "7", "7s", &[]),
    ("secret_keys_file", "/etc/keys", "/etc/keys", &[]),
    ("session.max_lifetime", "86400", "Some(86400s)", &[]),
    ("session.idle_timeout", "600", "Some(600s)", &[]),
    ("session.revoke_on_password_change", "true", "true", &[]),
    ("throttle.failures", "3", "3", &[]),
    ("password.memory_kib", "47104", "47104", &[]),
    ("password.iterations", "3", "3", &[]),
    ("password.parallelism", "4", "4", &[]),
    ("password.threads", "6", "6", &[]),
    ("password.min_length", "15", "15", &[]),
    ("password.max_length", "72", "72", &[]),
    ("password.blocklist_file", "/etc/list", "/etc/list", &[]),
    (
        "events.publish",
        "bus/attic,list:home/cellar",
        r#"[Channel("bus/attic"), List("home/cellar")]"#,
        &[],
    ),
    ("log.level", "debug", "DEBUG", &[]),
    ("log.format", "json", "Json", &[]),
];

/// Returns keys and values as a file.
pub(super) fn yaml(settings: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for key in keys::ALL {
        let Some((_, value)) = settings.iter().find(|(path, _)| *path == key.path) else {
            continue;
        };
        let value = match key.kind {
            Kind::Boolean | Kind::Integer { .. } => (*value).to_owned(),
            Kind::List => format!("['{}']", value.replace(',', "', '")),
            _ => format!("'{value}'"),
        };
        let section = key.section().map(|name| format!("{name}:\n"));
        if let Some(section) = section {
            if !text.contains(&section) {
                text += &section;
            }
            text += "  ";
        }
        text += &format!("{}: {value}\n", key.name());
    }
    text
}

/// Returns the key of a case and the other keys that it needs.
fn settings(case: &Case) -> Vec<(&'static str, &'static str)> {
    let mut settings = case.3.to_vec();
    settings.push((case.0, case.1));
    settings
}

#[test]
fn every_key_has_a_case() {
    let cases: Vec<_> = CASES.iter().map(|case| case.0).collect();
    let keys: Vec<_> = keys::ALL.iter().map(|key| key.path).collect();
    assert_eq!(cases, keys);
}

#[test]
fn every_key_can_be_set_by_the_file() {
    for case in CASES {
        let loaded = load_text(&yaml(&settings(case)), &env()).unwrap();
        assert_eq!(field(&loaded.config, case.0), case.2, "{}", case.0);
    }
}

#[test]
fn every_key_can_be_set_by_a_variable() {
    for case in CASES {
        let env = settings(case).into_iter().fold(env(), |env, (path, text)| {
            env.with(keys::find(path).unwrap().env_name(), text)
        });
        let loaded = load(None, &env).map_err(|error| error.to_string());
        assert_eq!(field(&loaded.unwrap().config, case.0), case.2, "{}", case.0);
    }
}

#[test]
fn no_case_sets_the_default() {
    let defaults = defaults();
    for case in CASES.iter().filter(|case| case.3.is_empty()) {
        assert_ne!(field(&defaults.config, case.0), case.2, "{}", case.0);
    }
}

#[test]
fn a_dump_loads_to_the_same_configuration() {
    let no_secret = |case: &&Case| !matches!(case.0, "redis.password" | "token_hash");
    let texts = CASES.iter().filter(no_secret);
    let texts = texts.map(|case| yaml(&settings(case)));
    for text in texts.chain([String::new()]) {
        let first = load_text(&text, &env()).unwrap();
        // The dump contains all computed values, so the environment does not matter.
        let second = load_text(first.dump(), &Environment::empty()).unwrap();
        let debug = |loaded: &Loaded| format!("{:#?}", loaded.config);
        assert_eq!(debug(&first), debug(&second), "{text}");
        let url = |loaded: &Loaded| loaded.config.redis.url.expose_secret().to_owned();
        assert_eq!(url(&first), url(&second), "{text}");
    }
}

#[test]
fn the_example_contains_the_defaults() {
    let from_example = load_text(EXAMPLE, &env()).unwrap();
    let debug = |loaded: &Loaded| format!("{:#?}", loaded.config);
    assert_eq!(debug(&from_example), debug(&defaults()));
    assert_eq!(
        load_text("", &env()).unwrap().dump(),
        defaults().dump(),
        "an empty file changes the defaults"
    );
}

#[test]
fn the_example_has_every_key_in_order_and_explains_it() {
    let mut section = String::new();
    let mut found = Vec::new();
    let mut explained = false;
    for line in EXAMPLE.lines() {
        let content = line.trim_start();
        if content.is_empty() {
            explained = false;
        } else if content.starts_with('#') {
            explained = true;
        } else if let Some(name) = content.strip_suffix(':') {
            assert!(explained, "section {name} has no comment above it");
            section = format!("{name}.");
            explained = false;
        } else {
            let (name, _) = content.split_once(':').unwrap();
            assert!(explained, "{name} has no comment above it");
            if line == content {
                section.clear();
            }
            found.push(format!("{section}{name}"));
            explained = false;
        }
    }
    let keys: Vec<_> = keys::ALL.iter().map(|key| key.path.to_owned()).collect();
    assert_eq!(found, keys);
}

#[test]
fn the_table_is_consistent() {
    let names: BTreeSet<_> = keys::ALL.iter().map(|key| key.env_name()).collect();
    assert_eq!(names.len(), keys::ALL.len(), "two keys share a variable");
    let sections: Vec<_> = keys::ALL.iter().map(|key| key.section()).collect();
    let runs = sections.chunk_by(|a, b| a == b).map(|run| run[0]);
    let runs: Vec<_> = runs.flatten().collect();
    assert_eq!(
        runs,
        ["redis", "session", "throttle", "password", "events", "log"],
        "the keys of a section are not adjacent"
    );
    assert!(keys::ALL.iter().all(|key| !key.doc.is_empty()));
    assert_eq!(keys::REDIS_URL.env_name(), "PLATYPUSH_USERD_REDIS__URL");
    assert_eq!(keys::QUEUE.default_text(), "\"platypush/user\"");
    assert_eq!(keys::WORKDIR.default_text(), "null");
    assert_eq!(keys::REPLY_TTL.default_text(), "60");
}

#[test]
fn the_defaults_are_as_documented() {
    let config = defaults().config;
    assert_eq!(config.device_id, "localhost");
    let workdir = Path::new("/home/demo/.local/share/platypush-userd");
    assert_eq!(config.workdir, workdir);
    assert_eq!(config.redis.display(), "redis://127.0.0.1:6379/0");
    assert!(config.redis.tls.is_none());
    assert!(config.token_hash.is_none());
    assert_eq!(config.max_request_age, Some(Duration::from_secs(60)));
    assert_eq!(config.max_message_size, 1_048_576);
    let password = Password {
        argon2: argon2::Params::new(19456, 2, 1, None).unwrap(),
        threads: NonZeroUsize::MIN,
        min_length: 1,
        max_length: 4096,
        blocklist_file: None,
    };
    assert_eq!(config.password, password);
    assert_eq!(config.publish, Vec::<Destination>::new());
    assert_eq!(config.log.level, tracing::Level::INFO);
    assert_eq!(config.warnings, Vec::<String>::new());
}
