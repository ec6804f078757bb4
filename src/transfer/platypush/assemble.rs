//! Assembles users from the rows of a node, and skips unusable and expired records.

use std::collections::{HashMap, HashSet};

use secrecy::SecretString;

use super::database::Database;
use super::error::ReadError;
use super::otp_key::OtpKey;
use super::rows::{API_TOKENS, BACKUP_CODES, Row, SECOND_FACTORS, SESSIONS, USERS};
use super::{NodeContents, ReadProgress};
use crate::clock::Timestamp;
use crate::credentials::imported::{
    UnusableHash, bcrypt_record, is_cut_token, looks_like_bcrypt, pbkdf2_record,
};
use crate::credentials::token_hash;
use crate::model::{
    ApiToken, ApiTokenRecord, ImportedCode, PasswordRecord, Sealed, SecondFactor,
    SecretFingerprint, Session, TokenHash, User,
};
use crate::transfer::{ImportedUser, Location, RecordKind, SkipReason, Skipped};

/// Maximum number of backup codes of a user, as many as Platypush creates. A wrong code costs a
/// hash for each bcrypt code.
pub const MAX_BACKUP_CODES: usize = 10;
/// Maximum number of API tokens of a user.
pub const MAX_TOKENS: usize = 1_000;
/// Maximum number of bcrypt API tokens of a user. A wrong token costs a hash for each of them.
pub const MAX_BCRYPT_TOKENS: usize = 10;

/// A snapshot of all tables.
pub(super) struct Tables {
    users: Vec<Row>,
    /// Rows of the other tables.
    records: Vec<(RecordKind, Vec<Row>)>,
}

impl Tables {
    /// Reads all tables and closes the database, because a node may not be able to write while it
    /// is open.
    pub(super) fn read(mut database: Database) -> Result<Self, ReadError> {
        let Some(users) = database.rows(&USERS)? else {
            return Err(ReadError::NoUsers(database.path));
        };
        let mut records = Vec::new();
        for (kind, table) in [
            (RecordKind::SecondFactor, &SECOND_FACTORS),
            (RecordKind::BackupCode, &BACKUP_CODES),
            (RecordKind::ApiToken, &API_TOKENS),
            (RecordKind::Session, &SESSIONS),
        ] {
            records.push((kind, database.rows(table)?.unwrap_or_default()));
        }
        Ok(Self { users, records })
    }
}

/// Assembles all users with their records.
///
/// # Errors
/// When the key of the second factors cannot be read, or decrypts none of them.
pub(super) fn assemble(
    tables: &Tables,
    key: OtpKey,
    now: Timestamp,
    progress: &mut dyn FnMut(ReadProgress),
) -> Result<NodeContents, ReadError> {
    let total = tables.users.len();
    let mut assembler = Assembler {
        key,
        now,
        skipped: Vec::new(),
        known_ids: HashSet::new(),
        known_names: HashSet::new(),
        known_sessions: HashSet::new(),
    };
    let known = tables.users.iter().filter_map(|user| user.user_id().ok());
    let known: HashSet<i64> = known.collect();
    let owned = assembler.by_owner(&tables.records, &known);

    let mut users = Vec::with_capacity(total);
    for (number, user) in tables.users.iter().enumerate() {
        match assembler.user(user, &owned) {
            Ok(user) => users.push(user),
            Err(UserError::Abort(error)) => return Err(error),
            Err(UserError::Skip(reason)) => assembler.skip(RecordKind::User, user, None, reason),
        }
        progress(ReadProgress {
            done: number + 1,
            total,
        });
    }
    assembler.key.check_use()?;
    Ok(NodeContents {
        users,
        skipped: assembler.skipped,
    })
}

/// Rows of all tables but that of the users, by their kind and the id of the user.
type ByOwner<'t> = HashMap<(RecordKind, i64), Vec<&'t Row>>;

/// Why a user cannot be assembled.
#[derive(Debug, thiserror::Error)]
enum UserError {
    /// Only this user cannot be imported.
    #[error(transparent)]
    Skip(#[from] SkipReason),
    /// No user can be imported.
    #[error(transparent)]
    Abort(#[from] ReadError),
}

struct Assembler<'t> {
    key: OtpKey,
    now: Timestamp,
    skipped: Vec<Skipped>,
    /// Ids of the users that were processed.
    known_ids: HashSet<i64>,
    /// Names of the users that were processed.
    known_names: HashSet<&'t str>,
    known_sessions: HashSet<TokenHash>,
}

/// Returns the record of a hash. A user has a salt and iterations for the PBKDF2 hashes of its
/// password, tokens and codes, or only bcrypt hashes.
///
/// The text of the hash decides between bcrypt and PBKDF2, because a user that changed from bcrypt
/// to PBKDF2 keeps its older tokens. Platypush rejects all bcrypt tokens and codes, because it
/// compares them under a new salt. They are imported all the same, because users were given them.
fn hash_record(user: &Row, text: &str) -> Result<PasswordRecord, SkipReason> {
    if looks_like_bcrypt(text) {
        return bcrypt_record(text).map_err(SkipReason::Hash);
    }
    let salt = user.text("password_salt")?;
    let iterations = user.integer("hmac_iterations")?;
    match (salt, iterations.filter(|count| *count != 0)) {
        (Some(salt), Some(iterations)) => {
            pbkdf2_record(text, salt, iterations).map_err(SkipReason::Hash)
        }
        _ if text.len() == 64 => Err(SkipReason::NoSalt),
        _ => Err(SkipReason::Hash(UnusableHash::NotBcrypt)),
    }
}

impl<'t> Assembler<'t> {
    /// Groups rows by user. Skips rows without an existing user.
    fn by_owner(
        &mut self,
        records: &'t [(RecordKind, Vec<Row>)],
        known: &HashSet<i64>,
    ) -> ByOwner<'t> {
        let mut owned = ByOwner::new();
        for (kind, rows) in records {
            for row in rows {
                match row.user_id() {
                    Ok(id) if known.contains(&id) => {
                        owned.entry((*kind, id)).or_default().push(row);
                    }
                    Ok(id) => self.skip(*kind, row, None, SkipReason::Orphaned(id)),
                    Err(reason) => self.skip(*kind, row, None, reason),
                }
            }
        }
        owned
    }

    fn skip(&mut self, kind: RecordKind, row: &Row, owner: Option<&str>, reason: SkipReason) {
        self.skipped.push(Skipped {
            kind,
            location: Location::Row(row.number),
            name: name_of(row),
            owner: owner.map(str::to_owned),
            reason,
        });
    }

    /// Assembles a user with all its records.
    fn user(&mut self, user: &'t Row, owned: &ByOwner<'t>) -> Result<ImportedUser, UserError> {
        let source_id = user.user_id()?;
        if !self.known_ids.insert(source_id) {
            return Err(SkipReason::Duplicate("user_id".into()).into());
        }
        let username = user.required_text("username")?;
        let password = user.text("password")?.ok_or(SkipReason::NoPassword)?;
        let password = hash_record(user, password)?;
        let created_at = user.date("created_at")?.unwrap_or(self.now);
        let origin = user.fingerprint()?;
        if !self.known_names.insert(username) {
            return Err(SkipReason::Duplicate("username".into()).into());
        }
        let of = |kind| owned.get(&(kind, source_id)).map_or(&[][..], Vec::as_slice);
        // Uses the first row, as Platypush does. No node creates several.
        let totp_secret = match of(RecordKind::SecondFactor).first() {
            Some(row) => Some(self.key.decrypt(row.required_text("otp_secret")?)??),
            None => None,
        };
        let has_second_factor = totp_secret.is_some();
        let mut records = UserRecords {
            assembler: self,
            user,
            username,
        };
        let codes = records.backup_codes(of(RecordKind::BackupCode), has_second_factor);
        let mut imported = User::new(0, username.to_owned(), created_at, password);
        imported.origin = Some(origin);
        imported.second_factor = has_second_factor.then(|| SecondFactor {
            // The import seals the secret.
            secret: Sealed(Vec::new()),
            fingerprint: SecretFingerprint::UNKNOWN,
            last_step: 0,
            backup_codes: Vec::new(),
            imported_codes: codes,
        });
        imported.api_tokens = records.api_tokens(of(RecordKind::ApiToken));
        let sessions = records.sessions(of(RecordKind::Session), &imported);
        Ok(ImportedUser {
            user: imported,
            totp_secret,
            sessions,
        })
    }
}

/// Converts the rows of one user.
struct UserRecords<'a, 't> {
    assembler: &'a mut Assembler<'t>,
    user: &'t Row,
    username: &'t str,
}

impl UserRecords<'_, '_> {
    /// Converts rows, the last one first, so that a limit keeps the newest ones. Skips a row if
    /// `convert` fails.
    fn convert<T>(
        &mut self,
        kind: RecordKind,
        rows: &[&Row],
        mut convert: impl FnMut(&mut Self, &Row) -> Result<T, SkipReason>,
    ) -> Vec<T> {
        let mut converted = Vec::with_capacity(rows.len());
        for row in rows.iter().rev() {
            match convert(self, row) {
                Ok(record) => converted.push(record),
                Err(reason) => self.assembler.skip(kind, row, Some(self.username), reason),
            }
        }
        converted.reverse();
        converted
    }

    /// Returns the expiry of a row, if it has one. Fails if the row has expired.
    fn expiry(&self, row: &Row) -> Result<Option<Timestamp>, SkipReason> {
        match row.date("expires_at")? {
            Some(at) if at <= self.assembler.now => Err(SkipReason::Expired(at)),
            at => Ok(at),
        }
    }

    fn created_at(&self, row: &Row) -> Result<Timestamp, SkipReason> {
        Ok(row.date("created_at")?.unwrap_or(self.assembler.now))
    }

    /// Skips expired codes: Platypush sets their expiry, but does not check it.
    fn backup_codes(&mut self, rows: &[&Row], has_second_factor: bool) -> Vec<ImportedCode> {
        let mut known = HashSet::new();
        self.convert(RecordKind::BackupCode, rows, |this, row| {
            if !has_second_factor {
                return Err(SkipReason::NoSecondFactor);
            }
            let expires_at = this.expiry(row)?;
            let record = hash_record(this.user, row.required_text("code")?)?;
            if known.len() == MAX_BACKUP_CODES {
                return Err(SkipReason::TooMany(MAX_BACKUP_CODES));
            }
            if !known.insert(record.expose().to_owned()) {
                return Err(SkipReason::Duplicate("code".into()));
            }
            Ok(ImportedCode { record, expires_at })
        })
    }

    fn api_tokens(&mut self, rows: &[&Row]) -> Vec<ApiToken> {
        let (mut known, mut names, mut bcrypts) = (HashSet::new(), HashSet::new(), 0);
        self.convert(RecordKind::ApiToken, rows, |this, row| {
            let name = row.required_text("name")?;
            let expires_at = this.expiry(row)?;
            let created_at = this.created_at(row)?;
            let record = hash_record(this.user, row.required_text("token")?)?;
            if is_cut_token(this.username, &record) {
                return Err(SkipReason::CutToken);
            }
            let is_bcrypt = looks_like_bcrypt(record.expose());
            if known.len() == MAX_TOKENS {
                return Err(SkipReason::TooMany(MAX_TOKENS));
            }
            if is_bcrypt && bcrypts == MAX_BCRYPT_TOKENS {
                return Err(SkipReason::TooMany(MAX_BCRYPT_TOKENS));
            }
            if known.contains(record.expose()) {
                return Err(SkipReason::Duplicate("token".into()));
            }
            if !names.insert(name.to_owned()) {
                return Err(SkipReason::Duplicate("name".into()));
            }
            known.insert(record.expose().to_owned());
            bcrypts += usize::from(is_bcrypt);
            Ok(ApiToken {
                id: 0,
                name: name.to_owned(),
                created_at,
                expires_at,
                record: ApiTokenRecord::Imported(record),
            })
        })
    }

    fn sessions(&mut self, rows: &[&Row], user: &User) -> Vec<Session> {
        self.convert(RecordKind::Session, rows, |this, row| {
            let expires_at = this.expiry(row)?;
            let created_at = this.created_at(row)?;
            let token = token_hash(&SecretString::from(row.required_text("session_token")?));
            if !this.assembler.known_sessions.insert(token) {
                return Err(SkipReason::Duplicate("session_token".into()));
            }
            Ok(Session {
                token,
                user_id: user.id,
                generation: user.generation,
                created_at,
                expires_at,
                used_at: created_at,
            })
        })
    }
}

/// Returns the name of a user or API token for the list of skipped records. Only the table of users
/// has a column `username`.
fn name_of(row: &Row) -> Option<String> {
    let text = |column| row.text(column).ok().flatten();
    text("username").or_else(|| text("name")).map(str::to_owned)
}
