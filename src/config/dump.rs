//! The effective configuration as text: each value and where it came from.

use super::Config;
use super::keys::{self, Key, Kind};
use super::source::{Settings, quoted};

/// What stands for a secret.
const HIDDEN: &str = "(hidden)";

/// All keys as YAML. Without secrets in it, it can be loaded and gives the same
/// configuration.
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
        let value = shown(settings, config, key);
        let origin = origin(settings, key);
        text += &format!("{indent}{}: {value}  # {origin}\n", key.name());
    }
    text
}

fn shown(settings: &Settings, config: &Config, key: &Key) -> String {
    match (key.kind, &settings.get(key).value) {
        (Kind::Secret, Some(_)) => quoted(HIDDEN),
        (Kind::Url, Some(_)) => quoted(config.redis.display()),
        _ => settings.text(key),
    }
}

fn origin(settings: &Settings, key: &Key) -> String {
    let setting = settings.get(key);
    match setting.overridden_by {
        None => setting.place.to_string(),
        Some(by) => {
            let over = settings.get(by).place;
            format!("{}, set aside by {} ({over})", setting.place, by.path)
        }
    }
}
