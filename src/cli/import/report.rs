//! The report of an import.

use std::fmt;

use crate::cli::table;
use crate::model::PasswordRecord;
use crate::text::{check_name, printable_cell, usable_name};
use crate::transfer::import::ImportOutcome;
use crate::transfer::{ImportedUser, Skipped};

/// The outcome of an import, displayed as a table with a summary.
pub(super) struct Report {
    pub users: Vec<(ImportedUser, ImportOutcome)>,
    pub dry_run: bool,
    /// Records that could not be imported.
    pub skipped: Vec<Skipped>,
    /// Whether the source is a Platypush node.
    pub is_from_node: bool,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heading = [
            "USER", "ID", "PASSWORD", "2FA", "CODES", "TOKENS", "SESSIONS", "RESULT",
        ];
        f.write_str(&table::align(&heading, self.users.iter().map(row)))?;
        if !self.skipped.is_empty() {
            writeln!(f, "\nNot imported:")?;
            for record in &self.skipped {
                writeln!(f, "  {record}")?;
            }
        }
        let renamed = renamed_tokens(&self.users);
        if !renamed.is_empty() {
            writeln!(
                f,
                "\nRenamed API tokens (the tokens themselves are unchanged):"
            )?;
            for token in renamed {
                writeln!(f, "  {token}")?;
            }
        }
        writeln!(f)?;
        let outcomes = self.users.iter().map(|(_, outcome)| outcome);
        let is_imported = |outcome: &&_| matches!(outcome, ImportOutcome::Imported { .. });
        let (imported, total) = (outcomes.filter(is_imported).count(), self.users.len());
        if self.dry_run {
            writeln!(
                f,
                "Would import {imported} of {total} users. Nothing was changed (--dry-run)."
            )?;
        } else {
            writeln!(f, "Imported {imported} of {total} users.")?;
        }
        if self.is_from_node {
            writeln!(
                f,
                "JSON web tokens of the node are not imported: each contains a password. Use API \
                 tokens instead (create_api_token)."
            )?;
        }
        Ok(())
    }
}

fn row((imported, outcome): &(ImportedUser, ImportOutcome)) -> [String; 8] {
    let user = &imported.user;
    let factor = user.second_factor.as_ref();
    let kept_codes = match outcome {
        ImportOutcome::Imported {
            loses_codes: true, ..
        } => 0,
        _ => factor.map_or(0, |factor| factor.backup_codes.len()),
    };
    let codes = kept_codes + factor.map_or(0, |factor| factor.imported_codes.len());
    let (id, result) = result(&user.username, outcome);
    [
        // Clients chose the names: control characters must not reach a terminal.
        printable_cell(&user.username),
        id,
        scheme(&user.password).into(),
        if factor.is_some() { "on" } else { "-" }.into(),
        codes.to_string(),
        user.api_tokens.len().to_string(),
        imported.sessions.len().to_string(),
        result,
    ]
}

/// Returns the cells of the columns ID and RESULT.
fn result(username: &str, outcome: &ImportOutcome) -> (String, String) {
    let is_renamed = |name: &String| name != username;
    match outcome {
        ImportOutcome::Imported {
            id,
            name,
            loses_codes,
            ..
        } => {
            let mut text = String::from("imported");
            if is_renamed(name) {
                text += &format!(
                    " as {}: {}",
                    printable_cell(name),
                    why_renamed(username, name)
                );
            }
            if *loses_codes {
                text += ", without backup codes (refresh_backup_codes creates new ones)";
            }
            (id.to_string(), text)
        }
        ImportOutcome::Exists { id, name } if is_renamed(name) => (
            id.to_string(),
            format!("skipped: already exists as {}", printable_cell(name)),
        ),
        ImportOutcome::Exists { id, .. } => (id.to_string(), "skipped: already exists".into()),
        ImportOutcome::Deleted => (
            "-".into(),
            "skipped: deleted here since an earlier import (--bring-deleted)".into(),
        ),
        ImportOutcome::NameTaken => {
            let name = usable_name(username);
            let text = if *name == *username {
                "another user has this name".into()
            } else {
                format!(
                    "would be renamed to {}, which is taken",
                    printable_cell(&name)
                )
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

/// Returns why a user was renamed.
fn why_renamed(username: &str, name: &str) -> String {
    let Err(unusable) = check_name(username) else {
        return "the name is taken".into();
    };
    let taken = if name == usable_name(username) {
        ""
    } else {
        ", and the name without it is taken"
    };
    format!("its own name contains {unusable}{taken}")
}

/// Returns a line for each API token that was renamed.
fn renamed_tokens(users: &[(ImportedUser, ImportOutcome)]) -> Vec<String> {
    let renamed = users.iter().flat_map(|(imported, outcome)| {
        let renamed: &[_] = match outcome {
            ImportOutcome::Imported { renamed_tokens, .. } => renamed_tokens,
            _ => &[],
        };
        let user = &imported.user.username;
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
