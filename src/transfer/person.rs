//! A user on the way, with all that goes along.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::credentials::TotpSecret;
use crate::model::{Session, TokenHash, User, UserId};
use crate::store::record::{Malformed, SessionRecord, UserRecord};

/// A user on the way from one store to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    /// As it was where it comes from, its number included. The secret of its
    /// second factor is not in here: it is sealed for that number there…
    pub user: User,
    /// …and open on the way.
    pub totp_secret: Option<TotpSecret>,
    /// The sessions that it stands behind.
    pub sessions: Vec<Session>,
}

impl Person {
    /// All dates that a reply, an event or an export would write.
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

/// The same as JSON, secrets in clear: for a socket or pipe between processes
/// of one machine.
#[derive(Serialize, Deserialize)]
pub struct PersonRecord {
    id: UserId,
    user: UserRecord,
    /// In base32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    totp_secret: Option<Zeroizing<String>>,
    /// Hashes of tokens, in hexadecimal, and what is kept under them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sessions: Vec<(String, SessionRecord)>,
}

impl std::fmt::Debug for PersonRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PersonRecord(…)")
    }
}

impl PersonRecord {
    /// Of a person.
    #[must_use]
    pub fn of(person: &Person) -> Self {
        let session =
            |session: &Session| (hex::encode(session.token.0), SessionRecord::of(session));
        Self {
            id: person.user.id,
            user: UserRecord::of(&person.user),
            totp_secret: person.totp_secret.as_ref().map(TotpSecret::to_base32),
            sessions: person.sessions.iter().map(session).collect(),
        }
    }

    /// The person.
    ///
    /// # Errors
    /// When a part of it is not what it should be.
    pub fn into_person(self) -> Result<Person, Malformed> {
        let secret = self.totp_secret.as_ref();
        let session = |(hex, record): (String, SessionRecord)| {
            let mut token = [0; 32];
            hex::decode_to_slice(hex, &mut token).map_err(|_| Malformed("a session"))?;
            record.into_session(TokenHash(token))
        };
        Ok(Person {
            user: self.user.into_user(self.id)?,
            totp_secret: secret
                .map(|text| TotpSecret::from_base32(text))
                .transpose()
                .map_err(|_| Malformed("the secret of a second factor"))?,
            sessions: self
                .sessions
                .into_iter()
                .map(session)
                .collect::<Result<_, _>>()?,
        })
    }
}
