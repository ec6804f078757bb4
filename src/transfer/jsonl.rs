//! Reads a file that `export` has written.

use std::collections::HashMap;
use std::io::{self, BufRead};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::export::{
    ExportId, Footer, Header, SessionLine, UserLine, VERSION, footer_context, header_context,
    session_context, user_context,
};
use super::import::Restore;
use super::imported_user::ImportedSessionRecord;
use super::{ImportedUser, ImportedUserRecord, Location, RecordKind, SkipReason, Skipped};
use crate::clock::{Timestamp, is_in_iso_years};
use crate::credentials::imported::is_cut_token;
use crate::keyring::Keyring;
use crate::model::{ApiTokenRecord, PasswordRecord, UserId};

/// Why an export cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JsonlError {
    /// The file cannot be read.
    #[error("cannot read the export: {0}")]
    Io(#[from] io::Error),
    /// The file is not an export.
    #[error("this is not an export of platypush-userd: its first line is not a header")]
    NotAnExport,
    /// A newer program wrote the export.
    #[error(
        "this export has version {0}, but this program reads version {VERSION}: install a newer \
         program"
    )]
    Version(u32),
    /// A line is malformed.
    #[error("line {line} of the export is damaged: {what}")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with the line.
        what: &'static str,
    },
    /// The export was sealed with other keys.
    #[error(
        "the keys do not open this export: give the key file that it was sealed with (--keys FILE)"
    )]
    WrongKeys,
    /// The export has no footer.
    #[error("the export is cut off: its last line is not a footer")]
    CutOff,
    /// Lines are missing.
    #[error(
        "the export is incomplete: it has {found_users} of {users} users and {found_sessions} of \
         {sessions} sessions"
    )]
    Incomplete {
        /// Number of users in the footer.
        users: u64,
        /// Number of sessions in the footer.
        sessions: u64,
        /// Number of users that were read.
        found_users: u64,
        /// Number of sessions that were read.
        found_sessions: u64,
    },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    User(UserLine),
    Session(SessionLine),
    Footer(Footer),
}

/// Contents of an export.
pub struct ExportContents {
    /// Users that can be imported.
    pub users: Vec<ImportedUser>,
    /// Records that cannot be imported.
    pub skipped: Vec<Skipped>,
    /// Data of the export beside its users.
    pub restore: Restore,
}

/// Reads a whole export.
///
/// # Errors
/// When any part of it is missing, damaged or does not open.
pub fn read(export: impl BufRead, keyring: &Keyring) -> Result<ExportContents, JsonlError> {
    let mut lines = export.lines();
    let header = lines.next().transpose()?.unwrap_or_default();
    // An editor may have inserted a byte order mark.
    let header = header.trim_start_matches('\u{feff}');
    let header: Header = serde_json::from_str(header).map_err(|_| JsonlError::NotAnExport)?;
    if header.platypush_userd_export != VERSION {
        return Err(JsonlError::Version(header.platypush_userd_export));
    }
    let export = header.export;
    let restore = open(keyring, &header_context(&export), &header.sealed);
    let restore: Restore = restore.map_err(|_| JsonlError::WrongKeys)?;

    let mut reader = Reader {
        keyring,
        export,
        line: 1,
        users: Vec::new(),
        skipped: Vec::new(),
        indexes: HashMap::new(),
        sessions: 0,
    };
    let mut footer = None;
    for line in lines {
        let line = line?;
        reader.line += 1;
        let number = reader.line;
        let damaged = |what| JsonlError::Line { line: number, what };
        if footer.is_some() {
            return Err(damaged("it follows the footer"));
        }
        match serde_json::from_str(&line) {
            Ok(Line::User(user)) => reader.user(&user).map_err(damaged)?,
            Ok(Line::Session(session)) => reader.session(&session).map_err(damaged)?,
            Ok(Line::Footer(Footer {
                users,
                sessions,
                sealed,
            })) => {
                let context = footer_context(&reader.export, users, sessions);
                reader.open::<()>(&context, &sealed).map_err(damaged)?;
                footer = Some((users, sessions));
            }
            Err(_) => return Err(damaged("it is neither a user nor a session")),
        }
    }
    let (users, sessions) = footer.ok_or(JsonlError::CutOff)?;
    let found_users = reader.indexes.len() as u64;
    if (users, sessions) != (found_users, reader.sessions) {
        return Err(JsonlError::Incomplete {
            users,
            sessions,
            found_users,
            found_sessions: reader.sessions,
        });
    }
    Ok(ExportContents {
        users: reader.users,
        skipped: reader.skipped,
        restore,
    })
}

struct Reader<'a> {
    keyring: &'a Keyring,
    export: ExportId,
    /// Number of the current line, from 1.
    line: usize,
    users: Vec<ImportedUser>,
    skipped: Vec<Skipped>,
    /// Index of each user in `users`, or `None` for a skipped user.
    indexes: HashMap<UserId, Option<usize>>,
    sessions: u64,
}

impl Reader<'_> {
    fn user(&mut self, line: &UserLine) -> Result<(), &'static str> {
        let record: ImportedUserRecord =
            self.open(&user_context(&self.export, line.user), &line.sealed)?;
        let mut imported = record.into_user().map_err(|_| "its user is malformed")?;
        let usable = self.skip_unusable(&mut imported);
        let index = usable.then_some(self.users.len());
        if imported.user.id != line.user || self.indexes.insert(line.user, index).is_some() {
            return Err("its user is a duplicate or has another id");
        }
        if usable {
            self.users.push(imported);
        }
        Ok(())
    }

    /// Skips records that must not be stored: earlier versions imported such records from nodes.
    /// Returns `false` if the user itself is skipped.
    fn skip_unusable(&mut self, imported: &mut ImportedUser) -> bool {
        let user = &mut imported.user;
        let name = user.username.clone();
        if !is_in_iso_years(user.created_at) {
            let reason = SkipReason::YearOutOfRange("created_at".into());
            self.skip(RecordKind::User, Some(&name), None, reason);
            return false;
        }
        // A token may have been created under any name that the user had.
        let token_names = &user.token_names;
        let is_cut = |record: &PasswordRecord| {
            let mut names = token_names.iter().chain([&name]);
            names.all(|name| is_cut_token(name, record))
        };
        user.api_tokens.retain(|token| {
            let reason = match &token.record {
                ApiTokenRecord::Imported(record) if is_cut(record) => Some(SkipReason::CutToken),
                _ => year_out_of_range(token.created_at, token.expires_at),
            };
            let Some(reason) = reason else { return true };
            self.skip(RecordKind::ApiToken, Some(&token.name), Some(&name), reason);
            false
        });
        if let Some(factor) = &mut user.second_factor {
            factor.imported_codes.retain(|code| {
                let reason = year_out_of_range(user.created_at, code.expires_at);
                let Some(reason) = reason else { return true };
                self.skip(RecordKind::BackupCode, None, Some(&name), reason);
                false
            });
        }
        true
    }

    fn skip(
        &mut self,
        kind: RecordKind,
        name: Option<&str>,
        owner: Option<&str>,
        reason: SkipReason,
    ) {
        self.skipped.push(Skipped {
            kind,
            location: Location::Line(self.line),
            name: name.map(str::to_owned),
            owner: owner.map(str::to_owned),
            reason,
        });
    }

    fn open<T: DeserializeOwned>(&self, context: &[u8], sealed: &str) -> Result<T, &'static str> {
        open(self.keyring, context, sealed)
    }

    fn session(&mut self, line: &SessionLine) -> Result<(), &'static str> {
        let record: ImportedSessionRecord =
            self.open(&session_context(&self.export, line.user), &line.sealed)?;
        let session = record
            .into_session()
            .map_err(|_| "its session is malformed")?;
        self.sessions += 1;
        // Ignores sessions of users that were skipped, or that were created or ended all their
        // sessions during the export.
        let index = self.indexes.get(&line.user).copied().flatten();
        let Some(imported) = index.and_then(|index| self.users.get_mut(index)) else {
            return Ok(());
        };
        if let Some(reason) = year_out_of_range(session.created_at, session.expires_at) {
            let owner = imported.user.username.clone();
            self.skip(RecordKind::Session, None, Some(&owner), reason);
        } else if session.belongs_to(&imported.user) {
            imported.sessions.push(session);
        }
        Ok(())
    }
}

/// Returns the reason to skip a record with these dates, if any.
fn year_out_of_range(created_at: Timestamp, expires_at: Option<Timestamp>) -> Option<SkipReason> {
    if !is_in_iso_years(created_at) {
        Some(SkipReason::YearOutOfRange("created_at".into()))
    } else if !expires_at.is_none_or(is_in_iso_years) {
        Some(SkipReason::YearOutOfRange("expires_at".into()))
    } else {
        None
    }
}

fn open<T: DeserializeOwned>(
    keyring: &Keyring,
    context: &[u8],
    sealed: &str,
) -> Result<T, &'static str> {
    let sealed = STANDARD.decode(sealed).map_err(|_| "it is not base64")?;
    let plain = keyring
        .open_sealed(context, &sealed)
        .ok_or("it does not open")?;
    serde_json::from_slice(&plain).map_err(|_| "its sealed part is malformed")
}
