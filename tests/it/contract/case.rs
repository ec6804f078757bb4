//! A case: one call of an action and the expected answer.

use serde_json::{Value, json};

use super::coverage::row;
use super::shape::compare;
use super::stage::{Fixture, Stage};
use crate::support::{Reply, Setup};

/// One call of an action and the expected answer. The call is made with keyword arguments and, if
/// possible, with positional arguments too.
pub struct Case {
    pub name: &'static str,
    /// Keyword arguments.
    pub args: fn(&Fixture) -> Value,
    pub answer: Answer,
    given: Given,
}

pub enum Answer {
    /// Success, with an `output` that matches this template (see `shape.rs`).
    Output(fn(&Fixture) -> Value),
    /// Failure, with exactly this text.
    Error(&'static str),
    /// Failure, with a text that depends on the fixture.
    ErrorOf(fn(&Fixture) -> String),
    /// Failure, with a text that starts with this and continues with a time.
    ErrorBeginning(&'static str),
}

/// Users that exist when the case starts.
#[derive(Clone, Copy, PartialEq)]
enum Given {
    /// `admin` and `alice`, and three sessions of alice.
    Alice,
    /// The same, and a user with a second factor.
    Otto,
    /// No users.
    NoUsers,
}

impl Case {
    pub const fn new(name: &'static str, args: fn(&Fixture) -> Value, answer: Answer) -> Self {
        Self {
            name,
            args,
            answer,
            given: Given::Alice,
        }
    }

    /// Adds a user with a second factor.
    pub const fn with_otto(mut self) -> Self {
        self.given = Given::Otto;
        self
    }

    /// Runs the case on an empty database.
    pub const fn without_users(mut self) -> Self {
        self.given = Given::NoUsers;
        self
    }
}

/// Returns the arguments by position, up to the last given one. Returns `None` if an argument has
/// no position, or if a required argument before the last given one is missing.
pub fn by_position(action: &str, keywords: &Value) -> Option<Value> {
    let keywords = keywords.as_object().unwrap();
    let parameters = row(action).parameters;
    let position = |name: &str| parameters.iter().position(|(known, _)| *known == name);
    let positions: Option<Vec<_>> = keywords.keys().map(|name| position(name)).collect();
    let count = positions?.into_iter().max().map_or(0, |last| last + 1);
    parameters[..count]
        .iter()
        .map(|(name, default)| keywords.get(*name).or(default.as_ref()).cloned())
        .collect::<Option<Vec<_>>>()
        .map(Value::Array)
}

/// Runs all cases of an action and reports every failure.
pub fn run_all(action: &str, cases: &[Case]) {
    let ottos = cases.iter().filter(|case| case.given == Given::Otto);
    let mut stage = Stage::new(ottos.count() * Form::ALL.len());
    let mut failures = Vec::new();
    for case in cases {
        for form in Form::ALL {
            if let Err(failure) = run(action, case, form, &mut stage) {
                failures.push(format!("{action}, {}, {form:?}:\n{failure}", case.name));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// How the arguments are passed.
#[derive(Clone, Copy, Debug)]
enum Form {
    ByKeyword,
    ByPosition,
}

impl Form {
    const ALL: [Self; 2] = [Self::ByKeyword, Self::ByPosition];
}

fn run(action: &str, case: &Case, form: Form, stage: &mut Stage) -> Result<(), String> {
    let mut empty;
    let (fixture, client) = if case.given == Given::NoUsers {
        empty = Setup::new();
        (Fixture::without_users(), &mut empty.client)
    } else {
        stage.fresh(case.given == Given::Otto)
    };
    let keywords = (case.args)(&fixture);
    let args = match form {
        Form::ByKeyword => Some(keywords),
        Form::ByPosition => by_position(action, &keywords),
    };
    match args {
        Some(args) => case.answer.check(&client.call(action, args), &fixture),
        None => Ok(()),
    }
}

impl Answer {
    fn check(&self, reply: &Reply, fixture: &Fixture) -> Result<(), String> {
        let failure = |text: &str| json!({"output": {"success": false}, "errors": [text]});
        let expected = match self {
            Self::Output(output) => json!({"output": output(fixture), "errors": []}),
            Self::Error(text) => failure(text),
            Self::ErrorOf(text) => failure(&text(fixture)),
            Self::ErrorBeginning(text) => match reply.errors()[..] {
                [error] if error.starts_with(text) => failure(error),
                _ => failure(text),
            },
        };
        compare(&reply.0["response"], &expected)
    }
}
