//! Writes all users and sessions as JSON lines.
//!
//! The secrets of a line are sealed together with the current key. The other fields are only for
//! readers of the file.
//!
//! The first line is a [`Header`], the last one a [`Footer`]. The context of each seal includes
//! the random id of the export, and that of the footer also the numbers of users and sessions, so
//! that a file that was cut off or put together from several exports is rejected.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::import::{Restore, pause};
use super::imported_user::ImportedSessionRecord;
use super::{ImportedUser, ImportedUserRecord};
use crate::clock::Iso;
use crate::error::Error;
use crate::keyring::Keyring;
use crate::model::{Session, TokenHash, User, UserId};
use crate::random;
use crate::services::Services;

/// Version of the format. Exports of other versions are not read.
pub(super) const VERSION: u32 = 1;
/// Number of users that are read from the store at a time.
const USERS: usize = 64;
/// Number of sessions that are read from the store at a time.
const SESSIONS: usize = 256;

/// The first line of an export.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    /// Version of the format.
    pub(super) platypush_userd_export: u32,
    pub(super) exported_at: String,
    pub(super) export: ExportId,
    /// A sealed [`Restore`].
    pub(super) sealed: String,
}

/// The line of a user.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserLine {
    pub(super) user: UserId,
    pub(super) username: String,
    pub(super) created_at: String,
    pub(super) second_factor: bool,
    pub(super) api_tokens: usize,
    /// A sealed [`ImportedUserRecord`].
    pub(super) sealed: String,
}

/// The line of a session.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionLine {
    pub(super) session: String,
    pub(super) user: UserId,
    pub(super) created_at: String,
    pub(super) expires_at: Option<String>,
    /// A sealed [`ImportedSessionRecord`].
    pub(super) sealed: String,
}

/// The last line of an export.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Footer {
    pub(super) users: u64,
    pub(super) sessions: u64,
    /// A sealed `()`, which authenticates the two numbers.
    pub(super) sealed: String,
}

/// Random id of an export, in hexadecimal.
pub(super) type ExportId = String;

/// Receives an export, some lines at a time.
pub type Lines = mpsc::Sender<Vec<String>>;

/// Writes all users and sessions. Holds some lines in memory at a time, and stops without an error
/// when the receiver is dropped.
///
/// # Errors
/// When the store fails, a secret does not open, or the key is rotated meanwhile.
pub async fn export(services: &Services, keyring: &Keyring, lines: &Lines) -> Result<(), Error> {
    let mut writer = Writer {
        services,
        keyring,
        export: random::hex_id()?,
        key: keyring.newest(),
        lines: Vec::new(),
    };
    writer.header().await?;
    let mut users = 0;
    let mut next = Some(0);
    while let Some(from) = next {
        if !writer.flush(lines).await {
            return Ok(());
        }
        let _lease = keyring.lease();
        let page = services.store.users_from(from, USERS).await?;
        for (number, user) in page.items.into_iter().enumerate() {
            pause(number).await;
            writer.user(user)?;
            users += 1;
        }
        next = page.next;
    }
    let mut sessions = 0;
    let mut next = Some(TokenHash([0; 32]));
    while let Some(from) = next {
        if !writer.flush(lines).await {
            return Ok(());
        }
        let _lease = keyring.lease();
        let page = services.store.sessions_from(from, SESSIONS).await?;
        for (number, session) in page.items.iter().enumerate() {
            pause(number).await;
            writer.session(session)?;
            sessions += 1;
        }
        next = page.next;
    }
    writer.footer(users, sessions)?;
    writer.flush(lines).await;
    Ok(())
}

struct Writer<'a> {
    services: &'a Services,
    keyring: &'a Keyring,
    export: ExportId,
    /// Number of the key that seals the whole export.
    key: u8,
    lines: Vec<String>,
}

impl Writer<'_> {
    /// Sends the lines that were written, and waits until the receiver takes them: no lease is held
    /// while it writes them. Returns `false` when the receiver is dropped.
    async fn flush(&mut self, lines: &Lines) -> bool {
        let sent = lines.send(std::mem::take(&mut self.lines)).await;
        sent.is_ok() && lines.reserve().await.is_ok()
    }

    async fn header(&mut self) -> Result<(), Error> {
        let next = self.services.store.counters().await?.next;
        let restore = Restore {
            next_user_id: next.user,
            next_api_token_id: next.api_token,
            hash_key: self.services.credentials.vault.expose_hash_key(),
        };
        let header = Header {
            platypush_userd_export: VERSION,
            exported_at: Iso(self.services.clock.now()).to_string(),
            export: self.export.clone(),
            sealed: self.seal(&header_context(&self.export), &restore)?,
        };
        self.line(&header)
    }

    fn user(&mut self, user: User) -> Result<(), Error> {
        let vault = &self.services.credentials.vault;
        let factor = user.second_factor.as_ref();
        let totp_secret = factor
            .map(|factor| vault.open_totp(user.id, &factor.secret))
            .transpose()?;
        let mut line = UserLine {
            user: user.id,
            username: user.username.clone(),
            created_at: Iso(user.created_at).to_string(),
            second_factor: totp_secret.is_some(),
            api_tokens: user.api_tokens.len(),
            sealed: String::new(),
        };
        let record = ImportedUserRecord::of(&ImportedUser {
            user,
            totp_secret,
            sessions: Vec::new(),
        });
        line.sealed = self.seal(&user_context(&self.export, line.user), &record)?;
        self.line(&line)
    }

    fn session(&mut self, session: &Session) -> Result<(), Error> {
        let secret = ImportedSessionRecord::of(session);
        let line = SessionLine {
            session: session.id(),
            user: session.user_id,
            created_at: Iso(session.created_at).to_string(),
            expires_at: session.expires_at.map(|at| Iso(at).to_string()),
            sealed: self.seal(&session_context(&self.export, session.user_id), &secret)?,
        };
        self.line(&line)
    }

    fn footer(&mut self, users: u64, sessions: u64) -> Result<(), Error> {
        let footer = Footer {
            users,
            sessions,
            sealed: self.seal(&footer_context(&self.export, users, sessions), &())?,
        };
        self.line(&footer)
    }

    fn seal(&self, context: &[u8], secret: &impl Serialize) -> Result<String, Error> {
        let plain = Zeroizing::new(serde_json::to_vec(secret).map_err(encode_error)?);
        let sealed = self.keyring.sealer()?.seal(context, &plain);
        if Keyring::number_of(&sealed) != Some(self.key) {
            return Err(Error::Internal(
                "the key was rotated during the export: run it again".into(),
            ));
        }
        Ok(STANDARD.encode(sealed))
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_string(line).map_err(encode_error)?;
        self.lines.push(text);
        Ok(())
    }
}

/// Returns the error for a line that cannot be encoded. Drops serde's message, which can quote the
/// value.
fn encode_error(_: serde_json::Error) -> Error {
    Error::Internal("a line of an export could not be written".into())
}

/// Returns the context that the secrets of a header are sealed under.
pub(super) fn header_context(export: &ExportId) -> Vec<u8> {
    format!("export {export} heading").into()
}

/// Returns the context that the secrets of a user are sealed under, so that they do not open in the
/// line of another user.
pub(super) fn user_context(export: &ExportId, id: UserId) -> Vec<u8> {
    format!("export {export} user {id}").into()
}

/// Returns the context that the secrets of a session are sealed under.
pub(super) fn session_context(export: &ExportId, id: UserId) -> Vec<u8> {
    format!("export {export} session of {id}").into()
}

/// Returns the context that the footer is sealed under.
pub(super) fn footer_context(export: &ExportId, users: u64, sessions: u64) -> Vec<u8> {
    format!("export {export} of {users} users and {sessions} sessions").into()
}
