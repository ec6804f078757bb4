//! Problems of a configuration, with their sources.
//!
//! No problem shows a value: any value may be a password.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::failure::{HasRemedy, Remedy, advice};

/// Source of a value or problem.
#[derive(Debug, Default, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SettingSource {
    /// The default of `config.example.yaml`.
    #[default]
    Default,
    /// Computed when the configuration was read; the text names the origin.
    Computed(&'static str),
    /// A file, or one line of it.
    File {
        /// Path as it was named or found.
        path: PathBuf,
        /// Number of the line, from 1; `None` for the whole file.
        line: Option<u64>,
    },
    /// An environment variable.
    Variable(String),
}

impl fmt::Display for SettingSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Computed(from) => write!(f, "computed: {from}"),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::File {
                path,
                line: Some(line),
            } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "environment {name}"),
        }
    }
}

/// One problem of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Source of the problem.
    pub source: SettingSource,
    /// Description, with advice.
    pub text: String,
    /// What resolves the problem.
    pub remedy: Remedy,
}

impl Problem {
    pub(super) fn new(source: &SettingSource, text: impl Into<String>) -> Self {
        Self {
            source: source.clone(),
            text: text.into(),
            remedy: Remedy::Operator,
        }
    }

    /// Creates the problem of a file that cannot be read.
    pub(super) fn unreadable(path: PathBuf, error: &io::Error, by: &str) -> Self {
        let remedy = match error.kind() {
            // Only the operator changes the owner or mode of a configuration.
            io::ErrorKind::PermissionDenied => Remedy::Operator,
            _ => Remedy::of_io(error),
        };
        let text = format!("cannot be read: {error}{by}{}", advice(&path, error));
        let source = SettingSource::File { path, line: None };
        Self {
            source,
            text,
            remedy,
        }
    }
}

/// Format of compilers, so that editors find the line: `config.yaml:12: …`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            // The operator set nothing, so no location is shown.
            SettingSource::Default | SettingSource::Computed(_) => f.write_str(&self.text),
            SettingSource::Variable(name) => write!(f, "{name}: {}", self.text),
            file @ SettingSource::File { .. } => write!(f, "{file}: {}", self.text),
        }
    }
}

/// All problems of a configuration, at least one: those of the file by line, then those of the
/// environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems(Vec<Problem>);

impl HasRemedy for Problems {
    fn remedy(&self) -> Remedy {
        // If the file could not be read, the other problems may only be a consequence of that.
        if self
            .0
            .iter()
            .all(|problem| problem.remedy == Remedy::Operator)
        {
            Remedy::Operator
        } else {
            Remedy::Restart
        }
    }
}

impl Problems {
    pub(super) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort();
        Self(problems)
    }

    /// Returns an iterator over the problems.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }
}

/// One problem per line, without a line break at the end.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}
