//! From rows to users: what belongs together, what can be used, what has
//! expired.

use std::collections::{HashMap, HashSet};

use secrecy::SecretString;

use super::database::Database;
use super::error::ReadError;
use super::found::{Found, ImportedSession, ImportedToken, Newcomer, Progress};
use super::origin;
use super::otp_key::{Opened, OtpKey};
use super::rows::{API_TOKENS, BACKUP_CODES, Row, SECOND_FACTORS, SESSIONS, USERS};
use crate::clock::Timestamp;
use crate::credentials::imported::{
    UnusableHash, bcrypt_record, is_cut_token, looks_like_bcrypt, pbkdf2_record,
};
use crate::credentials::{TotpSecret, token_hash};
use crate::model::{ImportedCode, PasswordRecord, TokenHash};
use crate::transfer::{LeftBehind, Location, What, Why};

/// The most backup codes of a user that are taken, as many as Platypush makes: a
/// wrong code costs a hash for each where they are bcrypt's.
pub const MAX_BACKUP_CODES: usize = 10;
/// The most API tokens of a user that are taken…
pub const MAX_TOKENS: usize = 1_000;
/// …and among them those of bcrypt: a wrong token costs a hash for each.
pub const MAX_BCRYPT_TOKENS: usize = 10;

/// All rows that matter, as they stood at one moment.
pub(super) struct Tables {
    users: Vec<Row>,
    second_factors: Vec<Row>,
    backup_codes: Vec<Row>,
    api_tokens: Vec<Row>,
    sessions: Vec<Row>,
}

impl Tables {
    /// Reads them, and lets go of the database: a node cannot write while it is
    /// read.
    pub(super) fn read(mut database: Database) -> Result<Self, ReadError> {
        let Some(users) = database.rows(&USERS)? else {
            return Err(ReadError::NoUsers(database.path().to_owned()));
        };
        Ok(Self {
            users,
            second_factors: database.rows(&SECOND_FACTORS)?.unwrap_or_default(),
            backup_codes: database.rows(&BACKUP_CODES)?.unwrap_or_default(),
            api_tokens: database.rows(&API_TOKENS)?.unwrap_or_default(),
            sessions: database.rows(&SESSIONS)?.unwrap_or_default(),
        })
    }
}

/// The users, each with what belongs to it.
///
/// # Errors
/// What is wrong with the key of the second factors.
pub(super) fn found(
    tables: &Tables,
    key: OtpKey,
    now: Timestamp,
    progress: &mut dyn FnMut(Progress),
) -> Result<Found, ReadError> {
    let total = tables.users.len();
    let mut assembly = Assembly {
        key,
        now,
        opened: 0,
        unopened: 0,
        left_behind: Vec::new(),
        known_sessions: HashSet::new(),
    };
    let known = tables.users.iter().filter_map(|user| user.user_id().ok());
    let known: HashSet<i64> = known.collect();
    let mut owned = |what, rows| assembly.by_owner(what, rows, &known);
    let owned = Owned {
        second_factors: owned(What::SecondFactor, &tables.second_factors),
        backup_codes: owned(What::BackupCode, &tables.backup_codes),
        api_tokens: owned(What::ApiToken, &tables.api_tokens),
        sessions: owned(What::Session, &tables.sessions),
    };

    let mut newcomers = Vec::with_capacity(total);
    let mut taken = Taken::default();
    for (number, user) in tables.users.iter().enumerate() {
        match assembly.newcomer(user, &owned, &mut taken) {
            Ok(newcomer) => newcomers.push(newcomer),
            Err(Stop::Reading(error)) => return Err(error),
            Err(Stop::Here(why)) => assembly.left_behind.push(LeftBehind {
                what: What::User,
                location: Location::Row(user.number),
                name: name_of(user, "username"),
                whose: None,
                why,
            }),
        }
        progress(Progress {
            done: number + 1,
            total,
        });
    }
    if assembly.unopened > 0 && assembly.opened == 0 {
        return Err(ReadError::WrongKey {
            path: assembly.key.path().to_owned(),
            failed: assembly.unopened,
        });
    }
    Ok(Found {
        newcomers,
        left_behind: assembly.left_behind,
    })
}

type ByOwner<'t> = HashMap<i64, Vec<&'t Row>>;

/// What belongs to users, by their numbers.
struct Owned<'t> {
    second_factors: ByOwner<'t>,
    backup_codes: ByOwner<'t>,
    api_tokens: ByOwner<'t>,
    sessions: ByOwner<'t>,
}

/// Who was there before.
#[derive(Default)]
struct Taken<'t> {
    ids: HashSet<i64>,
    names: HashSet<&'t str>,
}

/// Why a user does not come: for a reason of its own, or because nobody does.
enum Stop {
    Here(Why),
    Reading(ReadError),
}

impl From<Why> for Stop {
    fn from(why: Why) -> Self {
        Self::Here(why)
    }
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Self::Reading(error)
    }
}

struct Assembly {
    key: OtpKey,
    now: Timestamp,
    opened: usize,
    unopened: usize,
    left_behind: Vec<LeftBehind>,
    known_sessions: HashSet<TokenHash>,
}

/// By what the hashes of a user's password, tokens and codes were made; where
/// one of them is missing, by bcrypt.
struct Salt<'t> {
    user: &'t Row,
}

impl Salt<'_> {
    /// Each hash is judged by its own text: a user who came from bcrypt to
    /// PBKDF2 keeps older tokens. Platypush has no use for those any more, and
    /// none for any token or code of bcrypt, because it makes a new salt for
    /// each comparison; they were handed out all the same.
    fn record(&self, text: &str) -> Result<PasswordRecord, Why> {
        if looks_like_bcrypt(text) {
            return bcrypt_record(text).map_err(Why::Hash);
        }
        let salt = self.user.text("password_salt")?;
        let iterations = self.user.integer("hmac_iterations")?;
        match (salt, iterations.filter(|count| *count != 0)) {
            (Some(salt), Some(iterations)) => {
                pbkdf2_record(text, salt, iterations).map_err(Why::Hash)
            }
            _ if text.len() == 64 => Err(Why::NoSalt),
            _ => Err(Why::Hash(UnusableHash::NotBcrypt)),
        }
    }
}

impl Assembly {
    /// Sorts rows by their users; those of nobody are left behind.
    fn by_owner<'t>(&mut self, what: What, rows: &'t [Row], known: &HashSet<i64>) -> ByOwner<'t> {
        let mut owned = ByOwner::new();
        for row in rows {
            match row.user_id() {
                Ok(id) if known.contains(&id) => owned.entry(id).or_default().push(row),
                Ok(id) => self.leave(what, row, None, Why::Orphaned(id)),
                Err(why) => self.leave(what, row, None, why),
            }
        }
        owned
    }

    fn leave(&mut self, what: What, row: &Row, whose: Option<&str>, why: Why) {
        self.left_behind.push(LeftBehind {
            what,
            location: Location::Row(row.number),
            name: name_of(row, "name"),
            whose: whose.map(str::to_owned),
            why,
        });
    }

    /// A user with all that belongs to it, or why it cannot come.
    fn newcomer<'t>(
        &mut self,
        user: &'t Row,
        owned: &Owned<'t>,
        taken: &mut Taken<'t>,
    ) -> Result<Newcomer, Stop> {
        let source_id = user.user_id()?;
        if !taken.ids.insert(source_id) {
            return Err(Why::Duplicate("user_id".into()).into());
        }
        let username = user.some_text("username")?;
        let salt = Salt { user };
        let password = salt.record(user.text("password")?.ok_or(Why::NoPassword)?)?;
        let created_at = user.date("created_at")?.unwrap_or(self.now);
        let origin = origin::of(user)?;
        if !taken.names.insert(username) {
            return Err(Why::Duplicate("username".into()).into());
        }
        let of = |rows: &ByOwner<'t>| rows.get(&source_id).cloned().unwrap_or_default();
        let totp_secret = self.second_factor(&of(&owned.second_factors))?;
        let has_second_factor = totp_secret.is_some();
        let mut belongings = Belongings {
            assembly: self,
            salt,
            username,
        };
        Ok(Newcomer {
            origin,
            source_id,
            username: username.to_owned(),
            created_at,
            password,
            totp_secret,
            backup_codes: belongings.backup_codes(of(&owned.backup_codes), has_second_factor),
            api_tokens: belongings.api_tokens(of(&owned.api_tokens)),
            sessions: belongings.sessions(of(&owned.sessions)),
        })
    }

    /// Of several, which no node makes, the first, as Platypush does.
    fn second_factor(&mut self, rows: &[&Row]) -> Result<Option<TotpSecret>, Stop> {
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        match self.key.open(row.some_text("otp_secret")?)? {
            Opened::Secret(secret) => {
                self.opened += 1;
                Ok(Some(secret))
            }
            Opened::WrongLength => {
                self.opened += 1;
                Err(Why::SecretLength.into())
            }
            Opened::Nothing => {
                self.unopened += 1;
                Err(Why::Unopened.into())
            }
        }
    }
}

/// What belongs to one user.
struct Belongings<'a, 't> {
    assembly: &'a mut Assembly,
    salt: Salt<'t>,
    username: &'t str,
}

impl Belongings<'_, '_> {
    /// Each row as `check` makes it, or why not; the last ones come first.
    fn take<T>(
        &mut self,
        what: What,
        mut rows: Vec<&Row>,
        mut check: impl FnMut(&mut Self, &Row) -> Result<T, Why>,
    ) -> Vec<T> {
        rows.reverse();
        let mut taken = Vec::with_capacity(rows.len());
        for row in rows {
            match check(self, row) {
                Ok(item) => taken.push(item),
                Err(why) => self.assembly.leave(what, row, Some(self.username), why),
            }
        }
        taken.reverse();
        taken
    }

    /// When it expires, if that is still to come.
    fn expiry(&self, row: &Row) -> Result<Option<Timestamp>, Why> {
        match row.date("expires_at")? {
            Some(at) if at <= self.assembly.now => Err(Why::Expired(at)),
            at => Ok(at),
        }
    }

    fn created(&self, row: &Row) -> Result<Timestamp, Why> {
        Ok(row.date("created_at")?.unwrap_or(self.assembly.now))
    }

    /// Platypush forgets to look at when they expire, and means it.
    fn backup_codes(&mut self, rows: Vec<&Row>, has_second_factor: bool) -> Vec<ImportedCode> {
        let mut known = HashSet::new();
        self.take(What::BackupCode, rows, |this, row| {
            if !has_second_factor {
                return Err(Why::NoSecondFactor);
            }
            let expires_at = this.expiry(row)?;
            let record = this.salt.record(row.some_text("code")?)?;
            if known.len() == MAX_BACKUP_CODES {
                return Err(Why::TooMany(MAX_BACKUP_CODES));
            }
            if !known.insert(record.expose().to_owned()) {
                return Err(Why::Duplicate("code".into()));
            }
            Ok(ImportedCode { record, expires_at })
        })
    }

    fn api_tokens(&mut self, rows: Vec<&Row>) -> Vec<ImportedToken> {
        let (mut known, mut names, mut bcrypts) = (HashSet::new(), HashSet::new(), 0);
        self.take(What::ApiToken, rows, |this, row| {
            let name = row.some_text("name")?;
            let expires_at = this.expiry(row)?;
            let created_at = this.created(row)?;
            let record = this.salt.record(row.some_text("token")?)?;
            if is_cut_token(this.username, &record) {
                return Err(Why::CutToken);
            }
            let is_bcrypt = looks_like_bcrypt(record.expose());
            if known.len() == MAX_TOKENS {
                return Err(Why::TooMany(MAX_TOKENS));
            }
            if is_bcrypt && bcrypts == MAX_BCRYPT_TOKENS {
                return Err(Why::TooMany(MAX_BCRYPT_TOKENS));
            }
            if known.contains(record.expose()) {
                return Err(Why::Duplicate("token".into()));
            }
            if !names.insert(name.to_owned()) {
                return Err(Why::Duplicate("name".into()));
            }
            known.insert(record.expose().to_owned());
            bcrypts += usize::from(is_bcrypt);
            Ok(ImportedToken {
                name: name.to_owned(),
                record,
                created_at,
                expires_at,
            })
        })
    }

    fn sessions(&mut self, rows: Vec<&Row>) -> Vec<ImportedSession> {
        self.take(What::Session, rows, |this, row| {
            let expires_at = this.expiry(row)?;
            let created_at = this.created(row)?;
            let token = token_hash(&SecretString::from(row.some_text("session_token")?));
            if !this.assembly.known_sessions.insert(token) {
                return Err(Why::Duplicate("session_token".into()));
            }
            Ok(ImportedSession {
                token,
                created_at,
                expires_at,
            })
        })
    }
}

/// What a user or token is called, for whoever reads why it cannot come.
fn name_of(row: &Row, column: &str) -> Option<String> {
    row.text(column).ok().flatten().map(str::to_owned)
}
