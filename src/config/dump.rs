//! The effective configuration as YAML, each value with its source.

use super::Config;
use super::keys::{self, Key, Kind};
use super::source::{Settings, quoted};

/// Placeholder for a secret.
const HIDDEN: &str = "(hidden)";

/// Returns all keys as YAML. Without secrets, the text is a file of the same configuration.
pub(super) fn dump(settings: &Settings, config: &Config) -> String {
    let mut text = String::new();
    let mut section = None;
    for key in keys::ALL {
        if key.section() != section {
            section = key.section();
            if let Some(name) = section {
                text += &format!("{name}:\n");
            }
        }
        let indent = if section.is_some() { "  " } else { "" };
        let value = value(settings, config, key);
        let source = source(settings, key);
        text += &format!("{indent}{}: {value}  # {source}\n", key.name());
    }
    text
}

fn value(settings: &Settings, config: &Config, key: &Key) -> String {
    match (key.kind, &settings.get(key).value) {
        (Kind::Secret, Some(_)) => quoted(HIDDEN),
        (Kind::Url, Some(_)) => quoted(config.redis.display()),
        _ => settings.text(key),
    }
}

fn source(settings: &Settings, key: &Key) -> String {
    let setting = settings.get(key);
    match setting.overridden_by {
        None => setting.source.to_string(),
        Some(by) => {
            let overriding = settings.get(by).source;
            format!(
                "{}, overridden by {} ({overriding})",
                setting.source, by.path
            )
        }
    }
}
