//! What an import did, for a person to read.

use std::fmt;

use crate::cli::table;
use crate::model::PasswordRecord;
use crate::text::{check_name, printable_cell, usable_name};
use crate::transfer::import::ImportOutcome;
use crate::transfer::{LeftBehind, Person};

/// What an import did.
pub(super) struct Report {
    people: Vec<(Person, ImportOutcome)>,
    dry_run: bool,
    /// Who and what could not be taken along.
    pub(super) left_behind: Vec<LeftBehind>,
    /// Whether they come from a Platypush node.
    pub(super) is_of_a_node: bool,
}

impl Report {
    pub(super) fn new(people: Vec<Person>, fates: Vec<ImportOutcome>, dry_run: bool) -> Self {
        Self {
            people: people.into_iter().zip(fates).collect(),
            dry_run,
            left_behind: Vec::new(),
            is_of_a_node: false,
        }
    }

    fn brought(&self) -> usize {
        let comes = |(_, outcome): &&(Person, ImportOutcome)| {
            matches!(outcome, ImportOutcome::Comes { .. })
        };
        self.people.iter().filter(comes).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heading = [
            "USER",
            "HERE",
            "PASSWORD",
            "2FA",
            "CODES",
            "TOKENS",
            "SESSIONS",
            "WHAT BECOMES OF IT",
        ];
        f.write_str(&table::align(&heading, self.people.iter().map(row)))?;
        if !self.left_behind.is_empty() {
            writeln!(f, "\nLeft behind:")?;
            for left in &self.left_behind {
                writeln!(f, "  {left}")?;
            }
        }
        let renamed = renamed_tokens(&self.people);
        if !renamed.is_empty() {
            writeln!(
                f,
                "\nAPI tokens with another name here (the tokens are the same):"
            )?;
            for token in renamed {
                writeln!(f, "  {token}")?;
            }
        }
        writeln!(f)?;
        let (brought, of) = (self.brought(), self.people.len());
        if self.dry_run {
            writeln!(
                f,
                "{brought} of {of} users would be brought. Nothing was changed (--dry-run)."
            )?;
        } else {
            writeln!(f, "{brought} of {of} users were brought.")?;
        }
        if self.is_of_a_node {
            writeln!(
                f,
                "JSON web tokens of the node are not brought: each is a container for a password. \
                 API tokens take their place (create_api_token)."
            )?;
        }
        Ok(())
    }
}

fn row((person, outcome): &(Person, ImportOutcome)) -> [String; 8] {
    let user = &person.user;
    let factor = user.second_factor.as_ref();
    let own_codes = match outcome {
        ImportOutcome::Comes {
            loses_codes: true, ..
        } => 0,
        _ => factor.map_or(0, |factor| factor.backup_codes.len()),
    };
    let codes = own_codes + factor.map_or(0, |factor| factor.imported_codes.len());
    let (here, becomes) = result(&user.username, outcome);
    [
        // Names are others' text: they must not reach a terminal as they are.
        printable_cell(&user.username),
        here,
        scheme(&user.password).into(),
        if factor.is_some() { "on" } else { "-" }.into(),
        codes.to_string(),
        user.api_tokens.len().to_string(),
        person.sessions.len().to_string(),
        becomes,
    ]
}

/// The number that somebody has here, and what becomes of it.
fn result(username: &str, outcome: &ImportOutcome) -> (String, String) {
    let renamed = |name: &String| name != username;
    match outcome {
        ImportOutcome::Comes {
            id,
            name,
            loses_codes,
            ..
        } => {
            let mut text = String::from("comes");
            if renamed(name) {
                text += &format!(
                    " as {}: {}",
                    printable_cell(name),
                    why_renamed(username, name)
                );
            }
            if *loses_codes {
                text += ", without backup codes (refresh_backup_codes makes new ones)";
            }
            (id.to_string(), text)
        }
        ImportOutcome::IsHere { id, name } if renamed(name) => (
            id.to_string(),
            format!("is here already, as {}", printable_cell(name)),
        ),
        ImportOutcome::IsHere { id, .. } => (id.to_string(), "is here already".into()),
        ImportOutcome::WasDeleted => (
            "-".into(),
            "skipped: was deleted here since (--bring-deleted)".into(),
        ),
        ImportOutcome::NameTaken => {
            let name = usable_name(username);
            let text = if *name == *username {
                "somebody else has the name".into()
            } else {
                format!("it would come as {}, which is taken", printable_cell(&name))
            };
            (
                "-".into(),
                format!("skipped: {text} (--on-conflict rename)"),
            )
        }
        ImportOutcome::UnusableName { reason } => {
            ("-".into(), format!("skipped: {}", printable_cell(reason)))
        }
    }
}

/// Why a user has another name here.
fn why_renamed(username: &str, name: &str) -> String {
    let Err(unusable) = check_name(username) else {
        return "the name is taken".into();
    };
    let taken = if name == usable_name(username) {
        ""
    } else {
        ", and without it the name is taken"
    };
    format!("its own name contains {unusable}{taken}")
}

/// API tokens that have other names here.
fn renamed_tokens(people: &[(Person, ImportOutcome)]) -> Vec<String> {
    let renamed = people.iter().flat_map(|(person, outcome)| {
        let renamed: &[_] = match outcome {
            ImportOutcome::Comes { renamed_tokens, .. } => renamed_tokens,
            _ => &[],
        };
        let user = &person.user.username;
        renamed
            .iter()
            .map(move |(from, to)| format!("{from:?} of user {user:?}: {to:?}"))
    });
    renamed.collect()
}

fn scheme(record: &PasswordRecord) -> &'static str {
    let record = record.expose();
    if record.starts_with("$pbkdf2") {
        "PBKDF2"
    } else if record.starts_with("$2") {
        "bcrypt"
    } else {
        "Argon2id"
    }
}
