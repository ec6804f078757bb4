//! Reading what `export` has written.

use std::collections::HashMap;
use std::io::{self, BufRead};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::export::{
    ExportId, Footing, Heading, SessionLine, UserLine, VERSION, footing_context, heading_context,
    session_context, user_context,
};
use super::import::Restore;
use super::{LeftBehind, Location, Person, PersonRecord, What, Why};
use crate::clock::{Timestamp, is_in_iso_years};
use crate::credentials::imported::is_cut_token;
use crate::keyring::Keyring;
use crate::model::{ApiTokenRecord, PasswordRecord, TokenHash, UserId};
use crate::store::record::SessionRecord;

/// Why an export cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JsonlError {
    /// The file cannot be read.
    #[error("cannot read the export: {0}")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("this is no export of platypush-userd: its first line is no heading")]
    NoExport,
    /// A newer program wrote it.
    #[error("this export has version {0}, and this program reads {VERSION}: install a newer one")]
    Version(u32),
    /// A line is not what it should be.
    #[error("line {line} of the export is damaged: {what}")]
    Line {
        /// Which, from 1 on.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// It was sealed with other keys.
    #[error(
        "the keys do not open this export: name the file of keys that belongs to it with \
         --keys FILE"
    )]
    WrongKeys,
    /// It ends before its last line.
    #[error("the export is cut off: its last line does not say that it is the last one")]
    CutOff,
    /// Lines are missing.
    #[error(
        "the export is incomplete: of {users} users and {sessions} sessions it has {found_users} \
         and {found_sessions}"
    )]
    Incomplete {
        /// As its last line says.
        users: u64,
        /// As its last line says.
        sessions: u64,
        /// As they were found.
        found_users: u64,
        /// As they were found.
        found_sessions: u64,
    },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    User(UserLine),
    Session(SessionLine),
    Footing(Footing),
}

/// What an export holds.
pub struct Found {
    /// Who can come.
    pub people: Vec<Person>,
    /// Who and what cannot, and why.
    pub left_behind: Vec<LeftBehind>,
    /// What it says beside the users.
    pub restore: Restore,
}

/// Reads an export whole.
///
/// # Errors
/// When anything of it is missing, damaged or does not open.
pub fn read(export: impl BufRead, keyring: &Keyring) -> Result<Found, JsonlError> {
    let mut lines = export.lines();
    let heading = lines.next().transpose()?.unwrap_or_default();
    // An editor may have put a byte order mark there.
    let heading = heading.trim_start_matches('\u{feff}');
    let heading: Heading = serde_json::from_str(heading).map_err(|_| JsonlError::NoExport)?;
    if heading.platypush_userd_export != VERSION {
        return Err(JsonlError::Version(heading.platypush_userd_export));
    }
    let export = heading.export;
    let restore = open(keyring, &heading_context(&export), &heading.sealed);
    let restore: Restore = restore.map_err(|_| JsonlError::WrongKeys)?;

    let mut reader = Reader {
        keyring,
        export,
        line: 1,
        people: Vec::new(),
        left_behind: Vec::new(),
        places: HashMap::new(),
        sessions: 0,
    };
    let mut footing = None;
    for line in lines {
        let line = line?;
        reader.line += 1;
        let number = reader.line;
        let damaged = |what| JsonlError::Line { line: number, what };
        if footing.is_some() {
            return Err(damaged("it stands behind the last one"));
        }
        match serde_json::from_str(&line) {
            Ok(Line::User(user)) => reader.user(&user).map_err(damaged)?,
            Ok(Line::Session(session)) => reader.session(&session).map_err(damaged)?,
            Ok(Line::Footing(last)) => {
                reader.footing(&last).map_err(damaged)?;
                footing = Some(last);
            }
            Err(_) => return Err(damaged("it is neither a user nor a session")),
        }
    }
    let Footing {
        users, sessions, ..
    } = footing.ok_or(JsonlError::CutOff)?;
    let found_users = reader.places.len() as u64;
    if (users, sessions) != (found_users, reader.sessions) {
        return Err(JsonlError::Incomplete {
            users,
            sessions,
            found_users,
            found_sessions: reader.sessions,
        });
    }
    Ok(Found {
        people: reader.people,
        left_behind: reader.left_behind,
        restore,
    })
}

struct Reader<'a> {
    keyring: &'a Keyring,
    export: ExportId,
    /// The line that is read, from 1 on.
    line: usize,
    people: Vec<Person>,
    left_behind: Vec<LeftBehind>,
    /// Where each user is among the people; `None` for one that is left behind.
    places: HashMap<UserId, Option<usize>>,
    sessions: u64,
}

impl Reader<'_> {
    fn user(&mut self, line: &UserLine) -> Result<(), &'static str> {
        let person: PersonRecord =
            self.open(&user_context(&self.export, line.user), &line.sealed)?;
        let mut person = person.into_person().map_err(|_| "its user is malformed")?;
        let usable = self.leave_unusable(&mut person);
        let place = usable.then_some(self.people.len());
        if person.user.id != line.user || self.places.insert(line.user, place).is_some() {
            return Err("its user stands there twice, or under another number");
        }
        if usable {
            self.people.push(person);
        }
        Ok(())
    }

    /// Leaves behind what must not be stored; `false` where that is the user. An
    /// earlier version imported such things from nodes.
    fn leave_unusable(&mut self, person: &mut Person) -> bool {
        let user = &mut person.user;
        let name = user.username.clone();
        if !is_in_iso_years(user.created_at) {
            let why = Why::Year("created_at".into());
            self.leave(What::User, Some(name), None, why);
            return false;
        }
        // A token may have been made under any name that the user had.
        let token_names = &user.token_names;
        let is_cut = |record: &PasswordRecord| {
            let mut names = token_names.iter().chain([&name]);
            names.all(|name| is_cut_token(name, record))
        };
        let mut left = Vec::new();
        user.api_tokens.retain(|token| {
            let why = match &token.record {
                ApiTokenRecord::Imported(record) if is_cut(record) => Some(Why::CutToken),
                _ => unwritable(token.created_at, token.expires_at),
            };
            let keep = why.is_none();
            left.extend(why.map(|why| (What::ApiToken, Some(token.name.clone()), why)));
            keep
        });
        if let Some(factor) = &mut user.second_factor {
            factor.imported_codes.retain(|code| {
                let why = unwritable(user.created_at, code.expires_at);
                let keep = why.is_none();
                left.extend(why.map(|why| (What::BackupCode, None, why)));
                keep
            });
        }
        for (what, its_name, why) in left {
            self.leave(what, its_name, Some(name.clone()), why);
        }
        true
    }

    fn leave(&mut self, what: What, name: Option<String>, whose: Option<String>, why: Why) {
        self.left_behind.push(LeftBehind {
            what,
            location: Location::Line(self.line),
            name,
            whose,
            why,
        });
    }

    fn footing(&self, line: &Footing) -> Result<(), &'static str> {
        let context = footing_context(&self.export, line.users, line.sessions);
        self.open(&context, &line.sealed)
    }

    fn open<T: DeserializeOwned>(&self, context: &[u8], sealed: &str) -> Result<T, &'static str> {
        open(self.keyring, context, sealed)
    }

    fn session(&mut self, line: &SessionLine) -> Result<(), &'static str> {
        let (token, record): (String, SessionRecord) =
            self.open(&session_context(&self.export, line.user), &line.sealed)?;
        let malformed = "its session is malformed";
        let mut hash = [0; 32];
        hex::decode_to_slice(token, &mut hash).map_err(|_| malformed)?;
        let session = record
            .into_session(TokenHash(hash))
            .map_err(|_| malformed)?;
        self.sessions += 1;
        // A user who was made, or revoked its sessions, while others were being exported.
        let place = self.places.get(&line.user).copied().flatten();
        let Some(person) = place.and_then(|place| self.people.get_mut(place)) else {
            return Ok(());
        };
        if let Some(why) = unwritable(session.created_at, session.expires_at) {
            let whose = person.user.username.clone();
            self.leave(What::Session, None, Some(whose), why);
        } else if session.belongs_to(&person.user) {
            person.sessions.push(session);
        }
        Ok(())
    }
}

/// Why something with these dates cannot come, if it cannot.
fn unwritable(created_at: Timestamp, expires_at: Option<Timestamp>) -> Option<Why> {
    if !is_in_iso_years(created_at) {
        Some(Why::Year("created_at".into()))
    } else if !expires_at.is_none_or(is_in_iso_years) {
        Some(Why::Year("expires_at".into()))
    } else {
        None
    }
}

fn open<T: DeserializeOwned>(
    keyring: &Keyring,
    context: &[u8],
    sealed: &str,
) -> Result<T, &'static str> {
    let sealed = STANDARD.decode(sealed).map_err(|_| "it is no base64")?;
    let plain = keyring
        .open_sealed(context, &sealed)
        .ok_or("it does not open")?;
    serde_json::from_slice(&plain).map_err(|_| "what is sealed in it is malformed")
}
