//! What is wrong with a configuration, and where.
//!
//! No problem ever shows a value: any of them may be a password.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::failure::{HasRemedy, Remedy, advice};

/// Where a value came from or a problem is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The default of `config.example.yaml`.
    Default,
    /// Found out when the configuration was read; the text says from what.
    Computed(&'static str),
    /// A file, or one line of it.
    File {
        /// As it was named or found.
        path: PathBuf,
        /// Counted from 1; none where the whole file is meant.
        line: Option<u64>,
    },
    /// An environment variable.
    Variable(String),
}

impl fmt::Display for Place {
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

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What, and what to do about it.
    pub text: String,
    /// What ends it.
    pub remedy: Remedy,
}

impl Problem {
    pub(super) fn new(place: &Place, text: impl Into<String>) -> Self {
        Self {
            place: place.clone(),
            text: text.into(),
            remedy: Remedy::Person,
        }
    }

    /// One with a file that could not be read.
    pub(super) fn unreadable(path: PathBuf, error: &io::Error, by: &str) -> Self {
        let remedy = match error.kind() {
            // The owner or the mode of a configuration is a person's choice.
            io::ErrorKind::PermissionDenied => Remedy::Person,
            _ => Remedy::of_io(error),
        };
        let text = format!("cannot be read: {error}{by}{}", advice(&path, error));
        let place = Place::File { path, line: None };
        Self {
            place,
            text,
            remedy,
        }
    }
}

/// As compilers write it, so that editors find the line: `config.yaml:12: …`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            // Nothing was set, so there is no place to look at.
            Place::Default | Place::Computed(_) => f.write_str(&self.text),
            Place::Variable(name) => write!(f, "{name}: {}", self.text),
            file @ Place::File { .. } => write!(f, "{file}: {}", self.text),
        }
    }
}

/// Everything that is wrong with a configuration, at least one thing: the
/// file's problems by line, then the environment's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems(Vec<Problem>);

impl HasRemedy for Problems {
    fn remedy(&self) -> Remedy {
        // Where the file could not be read, all else may be for want of what stands in it.
        if self
            .0
            .iter()
            .all(|problem| problem.remedy == Remedy::Person)
        {
            Remedy::Person
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

    /// Each of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }
}

/// One problem a line, without a line break at the end.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}
