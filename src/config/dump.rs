//! The effective configuration as YAML, each value with its source.

use serde_json::Value;

use super::Config;
use super::keys::{self, Key, Kind};
use super::source::Settings;

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
    let is_set = !settings.get(key).value.is_null();
    match key.kind {
        Kind::Secret if is_set => Value::from(HIDDEN).to_string(),
        Kind::Url if is_set => Value::from(config.redis.display()).to_string(),
        _ => settings.yaml(key),
    }
}

fn source(settings: &Settings, key: &Key) -> String {
    let setting = settings.get(key);
    let source = setting.source;
    match setting.overridden_by {
        None => source.to_string(),
        Some(by) => {
            let overriding = settings.get(by).source;
            format!("{source}, overridden by {} ({overriding})", by.path)
        }
    }
}
