//! A user between two stores, with everything that belongs to it.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::credentials::TotpSecret;
use crate::model::{Session, TokenHash, User, UserId};
use crate::store::record::{Malformed, SessionRecord, UserRecord};

/// A user that is imported or exported.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportedUser {
    /// The user as its store has it, including its id, which is 0 for a user of a node. The sealed
    /// secret of its second factor does not open in another store.
    pub user: User,
    /// That secret, opened.
    pub totp_secret: Option<TotpSecret>,
    /// Sessions of the user.
    pub sessions: Vec<Session>,
}

impl ImportedUser {
    /// Returns all dates that a reply, an event or an export may contain.
    pub(super) fn dates(&self) -> impl Iterator<Item = Timestamp> {
        let user = &self.user;
        let tokens = user.api_tokens.iter();
        let tokens = tokens.flat_map(|token| [Some(token.created_at), token.expires_at]);
        let codes = user.second_factor.iter();
        let codes = codes.flat_map(|factor| factor.imported_codes.iter());
        let codes = codes.map(|code| code.expires_at);
        let sessions = self.sessions.iter();
        let sessions = sessions.flat_map(|session| [Some(session.created_at), session.expires_at]);
        let dates = tokens.chain(codes).chain(sessions).flatten();
        std::iter::once(user.created_at).chain(dates)
    }
}

/// An [`ImportedUser`] as JSON, with secrets in clear: for a socket or pipe between processes of
/// one machine, or to be sealed in an export.
#[derive(Serialize, Deserialize)]
pub struct ImportedUserRecord {
    id: UserId,
    user: UserRecord,
    /// Secret of the second factor, in base32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    totp_secret: Option<Zeroizing<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sessions: Vec<ImportedSessionRecord>,
}

/// A session as JSON: the hash of its token, in hexadecimal, and its record.
#[derive(Serialize, Deserialize)]
pub(super) struct ImportedSessionRecord(String, SessionRecord);

impl ImportedSessionRecord {
    pub(super) fn of(session: &Session) -> Self {
        Self(hex::encode(session.token.0), SessionRecord::of(session))
    }

    pub(super) fn into_session(self) -> Result<Session, Malformed> {
        let mut token = [0; 32];
        hex::decode_to_slice(self.0, &mut token).map_err(|_| Malformed("a session"))?;
        self.1.into_session(TokenHash(token))
    }
}

impl std::fmt::Debug for ImportedUserRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ImportedUserRecord(…)")
    }
}

impl ImportedUserRecord {
    /// Returns the record of a user.
    #[must_use]
    pub fn of(imported: &ImportedUser) -> Self {
        let sessions = imported.sessions.iter();
        Self {
            id: imported.user.id,
            user: UserRecord::of(&imported.user),
            totp_secret: imported.totp_secret.as_ref().map(TotpSecret::to_base32),
            sessions: sessions.map(ImportedSessionRecord::of).collect(),
        }
    }

    /// Returns the user.
    ///
    /// # Errors
    /// When a part of the record is malformed.
    pub fn into_user(self) -> Result<ImportedUser, Malformed> {
        let secret = self.totp_secret.as_ref();
        let sessions = self.sessions.into_iter();
        Ok(ImportedUser {
            user: self.user.into_user(self.id)?,
            totp_secret: secret
                .map(|text| TotpSecret::from_base32(text))
                .transpose()
                .map_err(|_| Malformed("the secret of a second factor"))?,
            sessions: sessions
                .map(ImportedSessionRecord::into_session)
                .collect::<Result<_, _>>()?,
        })
    }
}
