//! Reads the layers: the defaults, the file and the environment, each of which overrides the one
//! before.
//!
//! Each value gets the type of its key. `check.rs` checks the meaning of the values.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Environment;
use super::keys::{self, ENV_PREFIX, Key, Kind};
use super::problem::{Problem, SettingSource};
use super::suggest;
use super::yaml::{self, Entry, Node};

/// The documented example, which is also the lowest layer.
pub const EXAMPLE: &str = include_str!("../../config.example.yaml");

/// Variables with the prefix of the keys that belong to the command line.
const FILE_VARIABLE: &str = "PLATYPUSH_USERD_CONFIG";
const TOKEN_VARIABLE: &str = "PLATYPUSH_USERD_TOKEN";
/// Set where root runs a command as the owner of the working directory.
pub(crate) const AS_OWNER_VARIABLE: &str = "PLATYPUSH_USERD_AS_OWNER";

/// A value and its source.
///
/// No `Debug`: the value may be a password.
#[derive(Default, Clone)]
pub(super) struct Setting {
    /// A value of the type of its key, or `null`.
    pub value: Value,
    pub source: SettingSource,
    /// The key whose value overrides this one.
    pub overridden_by: Option<&'static Key>,
}

/// The raw configuration: one setting for each key, and the problems that were found.
#[derive(Default)]
pub(super) struct Settings {
    by_path: BTreeMap<&'static str, Setting>,
    pub problems: Vec<Problem>,
}

impl Settings {
    /// Returns the lowest layer.
    pub(super) fn defaults() -> Self {
        let mut settings = Self::default();
        // Without line numbers: the operator cannot fix a problem in it.
        settings.read_yaml(EXAMPLE, &|_| SettingSource::Default);
        settings
    }

    /// Adds a problem.
    pub(super) fn report(&mut self, source: &SettingSource, text: impl Into<String>) {
        self.problems.push(Problem::new(source, text));
    }

    /// Overrides settings with those of a file.
    pub(super) fn read_file(&mut self, path: &Path, text: &str) {
        self.read_yaml(text, &|line| SettingSource::File {
            path: path.to_owned(),
            line,
        });
    }

    /// Overrides settings with those of the environment.
    pub(super) fn read_environment(&mut self, env: &Environment) {
        for name in env.variables.keys() {
            let name = name.to_string_lossy();
            let Some(value) = env.get(&name).filter(|_| name.starts_with(ENV_PREFIX)) else {
                continue;
            };
            let source = SettingSource::Variable(name.escape_debug().to_string());
            let Some(&key) = keys::ALL.iter().find(|key| key.env_name() == name) else {
                if ![FILE_VARIABLE, TOKEN_VARIABLE, AS_OWNER_VARIABLE].contains(&&*name) {
                    self.report(&source, unknown_variable(&name));
                }
                continue;
            };
            match value.to_str() {
                Some(text) => self.set(key, parse_variable(key.kind, text), source),
                None => self.report(&source, format!("{} must be UTF-8", key.path)),
            }
        }
    }

    fn read_yaml(&mut self, text: &str, source_at: &dyn Fn(Option<u64>) -> SettingSource) {
        match yaml::parse(text) {
            Ok(Node::Null) => {}
            Ok(Node::Section(entries)) => self.read_section(None, entries, source_at),
            Ok(other) => self.report(
                &source_at(None),
                format!("must contain keys and values, not {}", other.type_name()),
            ),
            Err(line) => self.report(
                &source_at(line),
                "not valid YAML from here on: look for wrong indentation, a missing colon or \
                 quote, or a tab (the line is not shown, because it may contain a password)",
            ),
        }
    }

    fn read_section(
        &mut self,
        section: Option<&str>,
        entries: Vec<Entry>,
        source_at: &dyn Fn(Option<u64>) -> SettingSource,
    ) {
        let mut seen: BTreeMap<String, u64> = BTreeMap::new();
        for Entry { name, line, node } in entries {
            let source = source_at(Some(line));
            let path = section.map_or_else(|| name.clone(), |section| format!("{section}.{name}"));
            if let Some(first) = seen.insert(name.clone(), line) {
                let key = suggest::display_name(&path);
                self.report(&source, format!("{key} is already on line {first}"));
            }
            let known = keys::find(&path).filter(|key| key.section() == section);
            if let Some(key) = known {
                self.set(key, node, source);
            } else if section.is_none() && keys::in_section(&name).next().is_some() {
                match node {
                    Node::Null => {}
                    Node::Section(entries) => self.read_section(Some(&name), entries, source_at),
                    other => self.report(&source, not_a_section(&name, &other)),
                }
            } else {
                self.report(&source, unknown_key(&path));
            }
        }
    }

    /// Sets a key to the value of a node. Ignores `null`, and reports a wrong type.
    fn set(&mut self, key: &'static Key, node: Node, source: SettingSource) {
        match interpret(key.kind, node) {
            // Keeps the setting of the lower layer.
            Ok(Value::Null) if source != SettingSource::Default => {}
            Ok(value) => self.put(key, value, source),
            Err(text) => self.report(&source, format!("{} {text}", key.path)),
        }
    }

    /// Sets a key to a value.
    pub(super) fn put(&mut self, key: &'static Key, value: Value, source: SettingSource) {
        let setting = Setting {
            value,
            source,
            overridden_by: None,
        };
        self.by_path.insert(key.path, setting);
    }

    /// Returns the setting of a key.
    pub(super) fn get(&self, key: &Key) -> Setting {
        self.by_path.get(key.path).cloned().unwrap_or_default()
    }

    /// Drops the value of a key that another key overrides.
    pub(super) fn override_by(&mut self, key: &Key, by: &'static Key) {
        if let Some(setting) = self.by_path.get_mut(key.path) {
            setting.value = Value::Null;
            setting.overridden_by = Some(by);
        }
    }

    /// Returns the value of a key as YAML; JSON is a subset of it. Secrets are not hidden.
    pub(super) fn yaml(&self, key: &Key) -> String {
        match self.get(key).value {
            Value::Array(texts) => {
                let texts: Vec<_> = texts.iter().map(ToString::to_string).collect();
                format!("[{}]", texts.join(", "))
            }
            value => value.to_string(),
        }
    }
}

/// Parses the text of a variable by the type of its key.
fn parse_variable(kind: Kind, text: &str) -> Node {
    let value = match kind {
        Kind::Boolean => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(Node::Boolean(true)),
            "false" | "no" | "off" => Some(Node::Boolean(false)),
            _ => None,
        },
        Kind::Integer { .. } => text.trim().parse().ok().map(Node::Integer),
        Kind::List => {
            let texts = text.split(',').map(|text| Node::Text(text.trim().into()));
            Some(Node::List(texts.collect()))
        }
        _ => None,
    };
    value.unwrap_or_else(|| Node::Text(text.to_owned()))
}

/// Returns the value of a node. The error says what the value must be.
fn interpret(kind: Kind, node: Node) -> Result<Value, String> {
    let value = match (kind, node) {
        (_, Node::Null) => Some(Value::Null),
        (Kind::Boolean, Node::Boolean(value)) => Some(value.into()),
        (Kind::Integer { min, max }, Node::Integer(number)) => u64::try_from(number)
            .ok()
            .filter(|number| (min..=max).contains(number))
            .map(Value::from),
        (Kind::Choice(words), Node::Text(text)) => words
            .iter()
            .find(|word| word.eq_ignore_ascii_case(&text))
            .map(|&word| word.into()),
        (Kind::Text | Kind::Path | Kind::Secret | Kind::Url, Node::Text(text)) => {
            check_text(kind, &text)?;
            Some(text.into())
        }
        (Kind::List, Node::List(nodes)) => {
            let texts = (1..).zip(nodes).map(list_entry);
            Some(texts.collect::<Result<Vec<_>, _>>()?.into())
        }
        (kind, other) => return Err(mismatch(kind, &other)),
    };
    value.ok_or_else(|| format!("must be {}", expected(kind)))
}

fn expected(kind: Kind) -> String {
    match kind {
        Kind::Boolean => "true or false".to_owned(),
        Kind::Integer { min, max } => format!("a whole number from {min} to {max}"),
        Kind::Choice(words) => format!("one of {}", words.join(", ")),
        Kind::Text | Kind::Path | Kind::Secret | Kind::Url => "text (put it in quotes)".to_owned(),
        Kind::List => "a list of texts, such as [\"a\", \"b\"]".to_owned(),
    }
}

fn mismatch(kind: Kind, found: &Node) -> String {
    format!("must be {}, not {}", expected(kind), found.type_name())
}

/// Returns the text of an entry in a list. The error names its number.
fn list_entry((number, node): (usize, Node)) -> Result<String, String> {
    let error = match node {
        Node::Text(text) => match check_text(Kind::Text, &text) {
            Ok(()) => return Ok(text),
            // An entry has no default that the message could advise.
            Err(_) if text.is_empty() => "must not be empty".to_owned(),
            Err(error) => error.to_owned(),
        },
        other => mismatch(Kind::Text, &other),
    };
    Err(format!("entry {number} {error}"))
}

fn check_text(kind: Kind, text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("must not be empty (for the default write null)");
    }
    if text.contains(char::is_control) {
        return Err("must be one line without control characters");
    }
    if kind == Kind::Path && text.starts_with('~') {
        return Err("must be a full path: ~ is not expanded to the home folder");
    }
    Ok(())
}

fn not_a_section(name: &str, found: &Node) -> String {
    let names: Vec<_> = keys::in_section(name).map(Key::name).collect();
    format!(
        "{name} must be a section, not {}: below it, indented, {}",
        found.type_name(),
        names.join(", ")
    )
}

fn unknown_key(path: &str) -> String {
    if let Some(key) = keys::find(path)
        && let Some(section) = key.section()
    {
        // `redis.url:` in one word, as in Platypush's configuration.
        let name = key.name();
        return format!("write {path} in two lines: {section}: and below it, indented, {name}:");
    }
    let sections = keys::ALL.iter().filter_map(|key| key.section());
    let candidates = keys::ALL.iter().map(|key| key.path).chain(sections);
    let key = suggest::display_name(path);
    match suggest::nearest(path, candidates) {
        Some(nearest) => format!("there is no key {key}; did you mean {nearest}?"),
        None => format!("there is no key {key}; `config dump` shows all keys"),
    }
}

fn unknown_variable(name: &str) -> String {
    let path = |name: &str| {
        let name = name.trim_start_matches(ENV_PREFIX).to_ascii_lowercase();
        name.replace("__", ".")
    };
    let own = [FILE_VARIABLE, TOKEN_VARIABLE].map(path);
    let candidates = keys::ALL.iter().map(|key| key.path);
    let candidates = candidates.chain(own.iter().map(String::as_str));
    match suggest::nearest(&path(name), candidates) {
        Some(nearest) => format!(
            "there is no such variable; did you mean {}?",
            keys::env_name(nearest)
        ),
        None => "there is no such variable; `config dump` shows all keys".to_owned(),
    }
}

/// Returns the configuration file and its text, or `None` if no file was named and none was found.
///
/// # Errors
///
/// When a named file does not exist, or an existing file cannot be read.
pub(super) fn find_file(
    explicit: Option<&Path>,
    env: &Environment,
) -> Result<Option<(PathBuf, String)>, Problem> {
    let by = match env.get(AS_OWNER_VARIABLE) {
        None => " (PLATYPUSH_USERD_CONFIG names it)",
        Some(_) => {
            " (a command of root runs as the owner of the working directory, who must be able to \
             read it)"
        }
    };
    let (named, by) = match (explicit, env.get(FILE_VARIABLE)) {
        (Some(path), _) => (Some(path.to_owned()), ""),
        (None, Some(path)) => (Some(path.into()), by),
        (None, None) => (None, ""),
    };
    let required = named.is_some();
    let candidates = named
        .into_iter()
        .chain(env.search_path().filter(|_| !required));
    for path in candidates {
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                // An editor may have inserted a byte order mark.
                let text = text
                    .strip_prefix('\u{feff}')
                    .map(str::to_owned)
                    .unwrap_or(text);
                return Ok(Some((path, text)));
            }
            Err(error) if !required && is_absent(&path, &error) => {}
            Err(error) => return Err(Problem::unreadable(path, &error, by)),
        }
    }
    Ok(None)
}

/// Returns whether a file does not exist. A file in an inaccessible folder counts as missing, such
/// as one in root's home if root runs a command as another user.
fn is_absent(path: &Path, error: &std::io::Error) -> bool {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => true,
        ErrorKind::PermissionDenied => path.metadata().is_err(),
        _ => false,
    }
}
