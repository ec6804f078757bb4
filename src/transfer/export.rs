//! Everything that is kept of users and sessions, as JSON lines. What is secret
//! in a line is sealed as a whole with the key of the moment; the rest of it is
//! for whoever looks.
//!
//! The first line is a [`Heading`], the last one a [`Footing`]. All lines are
//! sealed under the random id of the export, and the last one under how many
//! there are: a file that was cut off, or put together from several, is
//! recognised.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::import::{Restore, pause};
use super::{Person, PersonRecord};
use crate::clock::Iso;
use crate::error::Error;
use crate::keyring::Keyring;
use crate::model::{Session, TokenHash, User, UserId};
use crate::random;
use crate::services::Services;
use crate::store::record::SessionRecord;

/// The form that is written, and the only one that is read.
pub(super) const VERSION: u32 = 1;
/// Users in a part.
const USERS: usize = 64;
/// Sessions in a part.
const SESSIONS: usize = 256;

/// The first line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Heading {
    /// Which form it is.
    pub(super) platypush_userd_export: u32,
    pub(super) exported_at: String,
    pub(super) export: ExportId,
    /// [`Restore`].
    pub(super) sealed: String,
}

/// A user.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserLine {
    pub(super) user: UserId,
    pub(super) username: String,
    pub(super) created_at: String,
    pub(super) second_factor: bool,
    pub(super) api_tokens: usize,
    /// [`PersonRecord`].
    pub(super) sealed: String,
}

/// A session.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionLine {
    pub(super) session: String,
    pub(super) user: UserId,
    pub(super) created_at: String,
    pub(super) expires_at: Option<String>,
    /// The hash of the token in hexadecimal, and a [`SessionRecord`].
    pub(super) sealed: String,
}

/// The last line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Footing {
    pub(super) users: u64,
    pub(super) sessions: u64,
    /// Nothing, under the two.
    pub(super) sealed: String,
}

/// Random id of an export, in hexadecimal.
pub type ExportId = String;

/// Which part of an export. The first one is the heading, and each says which
/// is next.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The first line.
    Heading,
    /// From the user of that number on.
    Users(ExportId, UserId),
    /// From the session on whose token has that hash, in hexadecimal.
    Sessions(ExportId, String),
    /// The last line, behind so many users and sessions.
    Footing(ExportId, u64, u64),
}

/// A part of an export.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported {
    /// Its lines.
    pub lines: Vec<String>,
    /// How many of them are of users…
    pub users: u64,
    /// …and how many of sessions.
    pub sessions: u64,
    /// Number of the key that they are sealed with: all parts must have the
    /// same.
    pub key: u8,
}

/// Writes a part; gives it, and which one is next: before the footing, the
/// counts in it are for whoever asks.
///
/// # Errors
/// When the store fails, something does not open, or the key is rotated.
pub async fn export(
    services: &Services,
    keyring: &Keyring,
    part: Part,
) -> Result<(Exported, Option<Part>), Error> {
    let _lease = keyring.lease();
    let mut writer = Writer {
        services,
        keyring,
        exported: Exported {
            lines: Vec::new(),
            users: 0,
            sessions: 0,
            key: keyring.newest().unwrap_or_default(),
        },
    };
    let next = match part {
        Part::Heading => {
            let export = new_id()?;
            writer.heading(&export).await?;
            Some(Part::Users(export, 0))
        }
        Part::Users(export, from) => {
            let page = services.store.users_from(from, USERS).await?;
            for (number, user) in page.items.into_iter().enumerate() {
                pause(number).await;
                writer.user(&export, user)?;
            }
            Some(match page.next {
                Some(from) => Part::Users(export, from),
                None => Part::Sessions(export, hex::encode([0; 32])),
            })
        }
        Part::Sessions(export, from) => {
            let mut token = [0; 32];
            hex::decode_to_slice(from, &mut token)
                .map_err(|_| Error::Internal("no part of an export begins there".into()))?;
            let page = services
                .store
                .sessions_from(TokenHash(token), SESSIONS)
                .await?;
            for (number, session) in page.items.iter().enumerate() {
                pause(number).await;
                writer.session(&export, session)?;
            }
            Some(match page.next {
                Some(token) => Part::Sessions(export, hex::encode(token.0)),
                None => Part::Footing(export, 0, 0),
            })
        }
        Part::Footing(export, users, sessions) => {
            writer.footing(&export, users, sessions)?;
            None
        }
    };
    Ok((writer.exported, next))
}

fn new_id() -> Result<ExportId, Error> {
    Ok(hex::encode(random::bytes::<16>()?))
}

struct Writer<'a> {
    services: &'a Services,
    keyring: &'a Keyring,
    exported: Exported,
}

impl Writer<'_> {
    async fn heading(&mut self, export: &ExportId) -> Result<(), Error> {
        let next = self.services.store.next_ids().await?;
        let restore = Restore {
            next_user_id: next.user,
            next_api_token_id: next.api_token,
            hash_key: self.services.credentials.hash_key(),
        };
        let heading = Heading {
            platypush_userd_export: VERSION,
            exported_at: Iso(self.services.clock.now()).to_string(),
            export: export.clone(),
            sealed: self.seal(&heading_context(export), &restore)?,
        };
        self.line(&heading)
    }

    fn user(&mut self, export: &ExportId, user: User) -> Result<(), Error> {
        let factor = user.second_factor.as_ref();
        let totp_secret = factor
            .map(|factor| {
                self.services
                    .credentials
                    .open_second_factor(user.id, factor)
            })
            .transpose()?;
        let mut line = UserLine {
            user: user.id,
            username: user.username.clone(),
            created_at: Iso(user.created_at).to_string(),
            second_factor: totp_secret.is_some(),
            api_tokens: user.api_tokens.len(),
            sealed: String::new(),
        };
        let person = PersonRecord::of(&Person {
            user,
            totp_secret,
            sessions: Vec::new(),
        });
        line.sealed = self.seal(&user_context(export, line.user), &person)?;
        self.exported.users += 1;
        self.line(&line)
    }

    fn session(&mut self, export: &ExportId, session: &Session) -> Result<(), Error> {
        let kept = (hex::encode(session.token.0), SessionRecord::of(session));
        let line = SessionLine {
            session: session.id(),
            user: session.user_id,
            created_at: Iso(session.created_at).to_string(),
            expires_at: session.expires_at.map(|at| Iso(at).to_string()),
            sealed: self.seal(&session_context(export, session.user_id), &kept)?,
        };
        self.exported.sessions += 1;
        self.line(&line)
    }

    fn footing(&mut self, export: &ExportId, users: u64, sessions: u64) -> Result<(), Error> {
        let footing = Footing {
            users,
            sessions,
            sealed: self.seal(&footing_context(export, users, sessions), &())?,
        };
        self.line(&footing)
    }

    fn seal(&self, context: &[u8], secret: &impl Serialize) -> Result<String, Error> {
        let plain = Zeroizing::new(serde_json::to_vec(secret).map_err(unwritable)?);
        let sealer = self.keyring.sealer();
        let sealer = sealer.map_err(|error| Error::Internal(error.to_string()))?;
        let sealed = sealer.seal(context, &plain);
        if Keyring::number_of(&sealed) != Some(self.exported.key) {
            return Err(Error::Internal(
                "the key was rotated meanwhile: run it again".into(),
            ));
        }
        Ok(STANDARD.encode(sealed))
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_string(line).map_err(unwritable)?;
        self.exported.lines.push(text);
        Ok(())
    }
}

/// Without serde's own words, which can quote.
fn unwritable(_: serde_json::Error) -> Error {
    Error::Internal("a line of an export could not be written".into())
}

/// What the secret part of a heading is sealed as…
pub(super) fn heading_context(export: &ExportId) -> Vec<u8> {
    format!("export {export} heading").into()
}

/// …that of a user: it opens in the line of no other…
pub(super) fn user_context(export: &ExportId, id: UserId) -> Vec<u8> {
    format!("export {export} user {id}").into()
}

/// …that of a session…
pub(super) fn session_context(export: &ExportId, id: UserId) -> Vec<u8> {
    format!("export {export} session of {id}").into()
}

/// …and that of the last line.
pub(super) fn footing_context(export: &ExportId, users: u64, sessions: u64) -> Vec<u8> {
    format!("export {export} of {users} users and {sessions} sessions").into()
}
