//! Layers: the defaults, over them the file, over that the environment.
//!
//! Here every value gets the type its key asks for; what the values mean
//! together is looked at in `check.rs`.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::Environment;
use super::keys::{self, ENV_PREFIX, Key, Kind};
use super::problem::{Place, Problem};
use super::suggest;
use super::yaml::{self, Entry, Node};

/// The documented example. It is also the lowest layer.
pub const EXAMPLE: &str = include_str!("../../config.example.yaml");

/// Variables that begin like a key's and belong to the command line.
const FILE_VARIABLE: &str = "PLATYPUSH_USERD_CONFIG";
const TOKEN_VARIABLE: &str = "PLATYPUSH_USERD_TOKEN";

/// A value of the type its key asks for.
///
/// No `Debug`: it may be a password.
#[derive(Clone)]
pub(super) enum Value {
    Boolean(bool),
    Integer(u64),
    Text(String),
    List(Vec<String>),
}

/// A value and where it came from.
#[derive(Clone)]
pub(super) struct Setting {
    /// None: `null`.
    pub value: Option<Value>,
    pub place: Place,
    /// The key whose value makes this one meaningless.
    pub overridden_by: Option<&'static Key>,
}

/// The raw configuration: a setting for each key.
pub(super) struct Settings(BTreeMap<&'static str, Setting>);

impl Settings {
    /// The lowest layer.
    pub(super) fn defaults(problems: &mut Vec<Problem>) -> Self {
        let mut settings = Self(BTreeMap::new());
        // Without lines: a user never has to look for a problem in it.
        settings.read_yaml(EXAMPLE, &|_| Place::Default, problems);
        settings
    }

    /// Lays a file over what is there.
    pub(super) fn read_file(&mut self, path: &Path, text: &str, problems: &mut Vec<Problem>) {
        let place = |line| Place::File {
            path: path.to_owned(),
            line,
        };
        self.read_yaml(text, &place, problems);
    }

    /// Lays the environment over what is there.
    pub(super) fn read_environment(&mut self, env: &Environment, problems: &mut Vec<Problem>) {
        for name in env.variables.keys() {
            let name = name.to_string_lossy();
            let Some(value) = env.get(&name).filter(|_| name.starts_with(ENV_PREFIX)) else {
                continue;
            };
            let place = Place::Variable(name.escape_debug().to_string());
            let Some(&key) = keys::ALL.iter().find(|key| key.env_name() == name) else {
                if name != FILE_VARIABLE && name != TOKEN_VARIABLE {
                    problems.push(Problem::new(&place, unknown_variable(&name)));
                }
                continue;
            };
            match value.to_str() {
                Some(text) => self.set(key, from_text(key.kind, text), place, problems),
                None => {
                    let text = format!("{} must be UTF-8", key.path);
                    problems.push(Problem::new(&place, text));
                }
            }
        }
    }

    fn read_yaml(
        &mut self,
        text: &str,
        place: &dyn Fn(Option<u64>) -> Place,
        problems: &mut Vec<Problem>,
    ) {
        match yaml::parse(text) {
            Ok(Node::Null) => {}
            Ok(Node::Section(entries)) => self.read_section(None, entries, place, problems),
            Ok(other) => problems.push(Problem::new(
                &place(None),
                format!("must hold keys and values, not {}", other.type_name()),
            )),
            Err(line) => problems.push(Problem::new(
                &place(line),
                "not valid YAML from here on: look for wrong indentation, a missing colon \
                 or quote, a tab (the line is not shown, it may hold a password)",
            )),
        }
    }

    fn read_section(
        &mut self,
        section: Option<&str>,
        entries: Vec<Entry>,
        place: &dyn Fn(Option<u64>) -> Place,
        problems: &mut Vec<Problem>,
    ) {
        let mut seen: BTreeMap<String, u64> = BTreeMap::new();
        for Entry { name, line, node } in entries {
            let here = place(Some(line));
            let path = section.map_or_else(|| name.clone(), |section| format!("{section}.{name}"));
            if let Some(first) = seen.insert(name.clone(), line) {
                let text = format!("{} stands on line {first} already", suggest::shown(&path));
                problems.push(Problem::new(&here, text));
            }
            let known = keys::find(&path).filter(|key| key.section() == section);
            if let Some(key) = known {
                self.set(key, node, here, problems);
            } else if section.is_none() && keys::in_section(&name).next().is_some() {
                match node {
                    Node::Null => {}
                    Node::Section(entries) => {
                        self.read_section(Some(&name), entries, place, problems);
                    }
                    other => problems.push(Problem::new(&here, not_a_section(&name, &other))),
                }
            } else {
                problems.push(Problem::new(&here, unknown_key(&path)));
            }
        }
    }

    /// Sets a key, unless the node is of a wrong type or asks for the default.
    fn set(&mut self, key: &'static Key, node: Node, place: Place, problems: &mut Vec<Problem>) {
        match interpret(key.kind, node) {
            // Below a null the default holds, which names its own place.
            Ok(None) if place != Place::Default => {}
            Ok(value) => self.put(key, value, place),
            Err(text) => {
                problems.push(Problem::new(&place, format!("{} {text}", key.path)));
            }
        }
    }

    /// Sets a key.
    pub(super) fn put(&mut self, key: &'static Key, value: Option<Value>, place: Place) {
        let setting = Setting {
            value,
            place,
            overridden_by: None,
        };
        self.0.insert(key.path, setting);
    }

    /// A key's setting.
    pub(super) fn get(&self, key: &Key) -> Setting {
        self.0.get(key.path).cloned().unwrap_or(Setting {
            value: None,
            place: Place::Default,
            overridden_by: None,
        })
    }

    /// Lets a key's value count for nothing.
    pub(super) fn set_aside(&mut self, key: &Key, by: &'static Key) {
        if let Some(setting) = self.0.get_mut(key.path) {
            setting.value = None;
            setting.overridden_by = Some(by);
        }
    }

    /// A key's value as YAML. Secrets are not hidden.
    pub(super) fn text(&self, key: &Key) -> String {
        match self.get(key).value {
            None => "null".to_owned(),
            Some(Value::Boolean(value)) => value.to_string(),
            Some(Value::Integer(value)) => value.to_string(),
            Some(Value::Text(value)) => quoted(&value),
            Some(Value::List(texts)) => {
                let texts: Vec<_> = texts.iter().map(|text| quoted(text)).collect();
                format!("[{}]", texts.join(", "))
            }
        }
    }
}

/// A text as YAML: a JSON string is one.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What a variable's text stands for, where its key asks for that type.
fn from_text(kind: Kind, text: &str) -> Node {
    match kind {
        Kind::Boolean => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Node::Boolean(true),
            "false" | "no" | "off" => Node::Boolean(false),
            _ => Node::Text(text.to_owned()),
        },
        Kind::Integer { .. } => match text.trim().parse() {
            Ok(number) => Node::Integer(number),
            Err(_) => Node::Text(text.to_owned()),
        },
        Kind::List => {
            let texts = text
                .split(',')
                .map(|text| Node::Text(text.trim().to_owned()));
            Node::List(texts.collect())
        }
        _ => Node::Text(text.to_owned()),
    }
}

/// The value of a node, `None` for null; or what it must be instead.
fn interpret(kind: Kind, node: Node) -> Result<Option<Value>, String> {
    let value = match (kind, node) {
        (_, Node::Null) => return Ok(None),
        (Kind::Boolean, Node::Boolean(value)) => Value::Boolean(value),
        (Kind::Integer { min, max }, Node::Integer(number)) => u64::try_from(number)
            .ok()
            .filter(|number| (min..=max).contains(number))
            .map(Value::Integer)
            .ok_or_else(|| format!("must be {}", expected(kind)))?,
        (Kind::Choice(words), Node::Text(text)) => words
            .iter()
            .find(|word| word.eq_ignore_ascii_case(&text))
            .map(|&word| Value::Text(word.to_owned()))
            .ok_or_else(|| format!("must be {}", expected(kind)))?,
        (Kind::Text | Kind::Path | Kind::Secret | Kind::Url, Node::Text(text)) => {
            check_text(kind, &text)?;
            Value::Text(text)
        }
        (Kind::List, Node::List(nodes)) => {
            let texts = (1..).zip(nodes).map(list_entry);
            Value::List(texts.collect::<Result<_, _>>()?)
        }
        (kind, other) => {
            let found = other.type_name();
            return Err(format!("must be {}, not {found}", expected(kind)));
        }
    };
    Ok(Some(value))
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

/// The text of a list's entry.
fn list_entry((number, node): (usize, Node)) -> Result<String, String> {
    let wrong = |text: String| format!("entry {number} {text}");
    match node {
        Node::Text(text) => match check_text(Kind::Text, &text) {
            Ok(()) => Ok(text),
            // There is no default for one entry.
            Err(_) if text.is_empty() => Err(wrong("must not be empty".into())),
            Err(text) => Err(wrong(text.into())),
        },
        other => {
            let (expected, found) = (expected(Kind::Text), other.type_name());
            Err(wrong(format!("must be {expected}, not {found}")))
        }
    }
}

fn check_text(kind: Kind, text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("must not be empty (for the default write null)");
    }
    if text.contains(char::is_control) {
        return Err("must be one line without control characters");
    }
    if kind == Kind::Path && text.starts_with('~') {
        return Err("must be a whole path: ~ is not replaced by the home folder here");
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
        // `redis.url:` in one word, as Platypush writes its plugins' names.
        let name = key.name();
        return format!("write {path} in two lines: {section}: and below it, indented, {name}:");
    }
    let sections = keys::ALL.iter().filter_map(|key| key.section());
    let candidates = keys::ALL.iter().map(|key| key.path).chain(sections);
    let key = suggest::shown(path);
    match suggest::nearest(path, candidates) {
        Some(nearest) => format!("there is no key {key}; did you mean {nearest}?"),
        None => format!("there is no key {key}; `config dump` shows all there are"),
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

/// The file that counts, and its text; none where nobody named one and none was
/// found.
///
/// # Errors
///
/// A file that was named does not exist, or one that exists cannot be read.
pub(super) fn find_file(
    explicit: Option<&Path>,
    env: &Environment,
) -> Result<Option<(PathBuf, String)>, Problem> {
    let (named, by) = match (explicit, env.get(FILE_VARIABLE)) {
        (Some(path), _) => (Some(path.to_owned()), ""),
        (None, Some(path)) => (Some(path.into()), " (PLATYPUSH_USERD_CONFIG names it)"),
        (None, None) => (None, ""),
    };
    let required = named.is_some();
    let candidates = named
        .into_iter()
        .chain(env.search_path().filter(|_| !required));
    for path in candidates {
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                // An editor may have put a byte order mark there.
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

/// Whether there is no file. In a folder that may not be entered there is none
/// for us: root's home, where root runs a command as somebody else.
fn is_absent(path: &Path, error: &std::io::Error) -> bool {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => true,
        ErrorKind::PermissionDenied => path.metadata().is_err(),
        _ => false,
    }
}
