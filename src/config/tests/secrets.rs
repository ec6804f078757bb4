//! Problems, dumps and `Debug` show no secret, and no text causes a panic.

use proptest::prelude::*;
use secrecy::ExposeSecret as _;

use super::keys::{HASH, field};
use super::{env, load_text, problems};
use crate::config::{Environment, load};

#[test]
fn invalid_yaml_is_reported_by_its_line_and_not_shown() {
    for text in [
        "queue: a\nredis:\n  password: \"hunter2\n  host: x\n",
        "redis:\n  password: hunter2: x\n",
        "redis:\n  host: x\n  password:hunter2\n",
        "redis:\n  password:hunter2 x: y\n",
        "redis:\n\tpassword: hunter2\n",
        "redis: {password: hunter2",
        "redis:\n  password: *hunter2\n",
        "redis:\n  password: !!binary hunter2\n",
        "--- {}\n--- {password: hunter2}\n",
        "redis:\n  password: [hunter2]\n",
        "redis:\n  password: {hunter2: 1}\n",
        "redis: hunter2",
        "hunter2",
    ] {
        let found = problems(text, &env());
        assert!(found[0].starts_with("config.yaml:"), "{found:?}");
        assert!(!found.concat().contains("hunter2"), "{found:?}");
    }
    let found = problems("queue: a\nredis:\n  url: 'a\n: :\n", &env());
    assert!(found[0].contains("not valid YAML"), "{found:?}");
}

#[test]
fn secrets_are_neither_in_debug_nor_in_a_dump() {
    let hash = HASH.to_ascii_uppercase();
    for redis in [
        "url: 'redis://me:hunter2@h/0'",
        "url: 'redis://:hunter2@h/0?pass=hunter2'",
        "url: 'unix:///run/redis.sock?db=1&user=me&pass=hunter2'",
        "{password: hunter2, username: me}",
    ] {
        let redis = redis.replacen("url", "\n  url", 1);
        let text = format!("redis: {redis}\ntoken_hash: {hash}\n");
        let loaded = load_text(&text, &env()).unwrap();
        assert!(loaded.config.redis.url.expose_secret().contains("hunter2"));
        let config = &loaded.config;
        let shown = format!("{config:?} {} {}", loaded.dump(), config.redis.display());
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(!shown.to_ascii_lowercase().contains(HASH), "{shown}");
        assert!(config.redis.display().contains("***"), "{shown}");
        assert_eq!(field(config, "token_hash"), HASH, "not in lower case");
        assert!(loaded.dump().contains("token_hash: \"(hidden)\"  # "));
    }
}

/// Returns texts that the parser accepts more often than arbitrary ones.
fn yamlish() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "redis", "url", "queue", "password", "<<", "null", "true", "1", "-1", ".nan", "1e999",
        ": ", ":\n  ", "\n", "\n  ", "- ", "[", "]", "{", "}", ", ", "'", "\"", "&a ", "*a",
        "!!int ", "# ", "|\n  ", "? ", "---\n", "\u{feff}",
    ];
    let words = prop::collection::vec(prop::sample::select(WORDS), 0..24);
    words.prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn loading_any_text_never_panics(text in any::<String>(), yamlish in yamlish()) {
        for text in [text, yamlish] {
            drop(load_text(&text, &env()));
        }
    }

    #[test]
    fn no_problem_shows_a_password(before in "[^\n\r]{0,8}", after in "[^\n\r]{0,8}") {
        for key in ["password", "url", "host"] {
            let text = format!("redis:\n  {key}: {before}hunter2{after}\n  db: no number\n");
            let error = load_text(&text, &env()).err().unwrap();
            prop_assert!(!error.contains("hunter2"), "{}", error);
        }
    }

    #[test]
    fn any_password_reaches_the_address_unchanged(password in "\\PC{1,40}") {
        let env = env().with("PLATYPUSH_USERD_REDIS__PASSWORD", &password);
        let loaded = load(None, &env).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let url = loaded.config.redis.url.expose_secret();
        let info = ::redis::IntoConnectionInfo::into_connection_info(url).unwrap();
        prop_assert_eq!(info.redis_settings().password(), Some(password.as_str()));
    }

    #[test]
    fn any_text_survives_a_dump(text in "[^\\p{Cc}]{1,40}") {
        let env = env().with("PLATYPUSH_USERD_DEVICE_ID", &text);
        let first = load(None, &env).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let second = load_text(first.dump(), &Environment::empty()).map_err(TestCaseError::fail)?;
        prop_assert_eq!(second.config.device_id, text);
    }
}
