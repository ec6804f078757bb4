//! Everything that is kept of users and sessions, as JSON lines. What is secret
//! in a line is sealed as a whole with the key of the moment; the rest of it is
//! for whoever looks.
//!
//! The first line is a [`Heading`], the last one a [`Footing`], so that a file
//! that was cut off is recognised.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::admission::Restore;
use super::{Person, PersonRecord};
use crate::actions::World;
use crate::clock::Iso;
use crate::error::Error;
use crate::keyring::Keyring;
use crate::model::{Session, TokenHash, User, UserId};
use crate::store::record::SessionRecord;

/// The form that is written, and the only one that is read.
pub(super) const VERSION: u32 = 1;
/// Users in a part.
const USERS: usize = 256;
/// Sessions in a part.
const SESSIONS: usize = 2_048;

/// The first line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Heading {
    /// Which form it is.
    pub(super) platypush_userd_export: u32,
    pub(super) exported_at: String,
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
pub struct Footing {
    /// How many lines of users there are.
    pub users: u64,
    /// How many lines of sessions there are.
    pub sessions: u64,
}

/// Where a part begins.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// With the heading.
    Heading,
    /// With the user of that number.
    Users(UserId),
    /// With the session whose token has that hash, in hexadecimal.
    Sessions(String),
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

/// Writes a part; gives it, and where the next one begins.
///
/// # Errors
/// When the store fails or something does not open.
pub async fn export(
    world: &World,
    keyring: &Keyring,
    part: &Part,
) -> Result<(Exported, Option<Part>), Error> {
    let _lease = keyring.lease();
    let mut writer = Writer {
        world,
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
            writer.heading().await?;
            Some(Part::Users(0))
        }
        Part::Users(from) => {
            let page = world.store.users_from(*from, USERS).await?;
            page.items
                .into_iter()
                .try_for_each(|user| writer.user(user))?;
            let first_session = || Part::Sessions(hex::encode([0; 32]));
            Some(page.next.map_or_else(first_session, Part::Users))
        }
        Part::Sessions(from) => {
            let mut token = [0; 32];
            hex::decode_to_slice(from, &mut token)
                .map_err(|_| Error::Internal("no part of an export begins there".into()))?;
            let page = world
                .store
                .sessions_from(TokenHash(token), SESSIONS)
                .await?;
            page.items
                .iter()
                .try_for_each(|session| writer.session(session))?;
            page.next.map(|token| Part::Sessions(hex::encode(token.0)))
        }
    };
    Ok((writer.exported, next))
}

struct Writer<'a> {
    world: &'a World,
    keyring: &'a Keyring,
    exported: Exported,
}

impl Writer<'_> {
    async fn heading(&mut self) -> Result<(), Error> {
        let next = self.world.store.next_ids().await?;
        let restore = Restore {
            next_user_id: next.user,
            next_api_token_id: next.api_token,
            hash_key: self.world.credentials.hash_key(),
        };
        let heading = Heading {
            platypush_userd_export: VERSION,
            exported_at: Iso(self.world.clock.now()).to_string(),
            sealed: self.seal(&heading_context(), &restore)?,
        };
        self.line(&heading)
    }

    fn user(&mut self, user: User) -> Result<(), Error> {
        let factor = user.second_factor.as_ref();
        let totp_secret = factor
            .map(|factor| self.world.credentials.open_second_factor(user.id, factor))
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
        line.sealed = self.seal(&user_context(line.user), &person)?;
        self.exported.users += 1;
        self.line(&line)
    }

    fn session(&mut self, session: &Session) -> Result<(), Error> {
        let kept = (hex::encode(session.token.0), SessionRecord::of(session));
        let line = SessionLine {
            session: session.id(),
            user: session.user_id,
            created_at: Iso(session.created_at).to_string(),
            expires_at: session.expires_at.map(|at| Iso(at).to_string()),
            sealed: self.seal(&session_context(session.user_id), &kept)?,
        };
        self.exported.sessions += 1;
        self.line(&line)
    }

    fn seal(&self, context: &[u8], secret: &impl Serialize) -> Result<String, Error> {
        let plain = Zeroizing::new(serde_json::to_vec(secret).map_err(unwritable)?);
        let sealer = self.keyring.sealer();
        let sealer = sealer.map_err(|error| Error::Internal(error.to_string()))?;
        Ok(STANDARD.encode(sealer.seal(context, &plain)))
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
pub(super) fn heading_context() -> Vec<u8> {
    b"export heading".into()
}

/// …that of a user: it opens in the line of no other…
pub(super) fn user_context(id: UserId) -> Vec<u8> {
    [b"export user:", &id.to_be_bytes()[..]].concat()
}

/// …and that of a session.
pub(super) fn session_context(id: UserId) -> Vec<u8> {
    [b"export session:", &id.to_be_bytes()[..]].concat()
}
