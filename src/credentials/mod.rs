//! Who somebody is: passwords, one-time codes, session tokens.
//!
//! Every check of a password costs one hash, whether or not the user exists
//! (OWASP ASVS 5.0, 6.3.8), and hands out a precondition of what it was checked
//! against, for the store to compare when it acts on it.

mod api_token;
mod blocklist;
mod equalizer;
mod error;
mod hasher;
mod keeping;

pub mod imported;
mod password;
mod qr_picture;
mod second_factor;
mod throttle;
mod token;
mod vault;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::{Instant, sleep_until};

pub use self::api_token::{ApiTokenText, draw_name as draw_api_token_name};
pub use self::blocklist::{Blocklist, BlocklistError};
pub use self::error::HasherError;
pub use self::hasher::Hasher;
pub use self::password::Argon2Parameters;
pub use self::second_factor::{BackupCode, STEP_SECONDS, TotpSecret};
pub use self::throttle::{Pass, Throttle};
pub use self::token::SessionToken;
pub use self::vault::Vault;
use crate::clock::{Clock, Timestamp};
use crate::error::Error;
use crate::model::{
    Attempted, CodeHash, CodeUse, Failures, ImportedCode, NameHash, PasswordRecord, Profile,
    SecondFactor, Session, SessionLimits, SessionRules, TokenHash, User,
};
use crate::random;
use crate::store::{Outcome, PasswordPrecondition, Store, StoreError};

/// How often within an idle time-out the use of a session is noted…
const USE_NOTED_TIMES: i32 = 20;
/// …and how rarely at most.
const LONGEST_USE_STEP: TimeDelta = TimeDelta::seconds(60);

/// When a name that is not even tried is answered at the earliest. No hash
/// hides there what looking up takes: some microseconds, and more with a second
/// factor…
const REFUSED_AFTER: Duration = Duration::from_millis(2);
/// …of which a trace is left behind a pause that always ends at the same tick
/// of a clock: it is longer by up to 256 of these, at random.
const REFUSED_LATER: Duration = Duration::from_micros(16);

/// Checks credentials against the store.
pub struct Credentials {
    store: Arc<dyn Store>,
    hasher: Hasher,
    vault: Vault,
    throttle: Throttle,
    clock: Arc<dyn Clock>,
    session_limits: SessionLimits,
    /// What the password of an unknown user is checked against.
    nobody: PasswordRecord,
}

/// The last password record that a request was checked against, and whether its password was right:
/// a request that is decided again computes no hash again.
#[derive(Debug, Default)]
pub struct LastCheck(Mutex<Option<(PasswordRecord, bool)>>);

impl LastCheck {
    fn of(&self, record: &PasswordRecord) -> Option<bool> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = last.as_ref().filter(|(checked, _)| checked == record);
        same.map(|(_, right)| *right)
    }

    fn set(&self, record: &PasswordRecord, right: bool) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((record.clone(), right));
    }
}

/// What a check of user name, password and code found.
#[derive(Debug)]
pub enum Verdict {
    /// All that is needed was right.
    Verified(Box<Verified>),
    /// Unknown user or wrong password: to be counted.
    InvalidCredentials(Failure),
    /// Right password, but the user's second factor is missing. It neither
    /// counts nor clears.
    MissingCode,
    /// Right password, wrong or used code: to be counted.
    InvalidCode(Failure),
    /// Not even tried: too many failures before. To be tried again in so many
    /// seconds.
    Throttled {
        /// Whose name.
        attempted: Attempted,
        /// How long.
        seconds: u64,
    },
}

impl Verdict {
    /// The hash of the name, where nobody has it.
    #[must_use]
    pub const fn unknown_name(&self) -> Option<NameHash> {
        match self {
            Self::InvalidCredentials(Failure { attempted, .. })
            | Self::Throttled { attempted, .. } => match attempted {
                Attempted::UnknownName(hash) => Some(*hash),
                Attempted::User(_) => None,
            },
            Self::Verified(_) | Self::MissingCode | Self::InvalidCode(_) => None,
        }
    }
}

/// A user who has proved who it is, and the precondition of it. Acting on the
/// precondition forgets the failures before.
#[derive(Debug)]
pub struct Verified {
    /// The user as it was read.
    pub user: User,
    /// What was checked, for the store to compare.
    pub precondition: PasswordPrecondition,
    pass: Pass,
}

/// A failed attempt, to be counted by [`Credentials::count`].
#[derive(Debug)]
pub struct Failure {
    /// Whose name.
    pub attempted: Attempted,
    /// Whether the password was right, and the code wrong.
    pub wrong_code: bool,
    at: Timestamp,
    _pass: Pass,
}

impl Credentials {
    /// Ready to check.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn new(
        store: Arc<dyn Store>,
        hasher: Hasher,
        vault: Vault,
        throttle: Throttle,
        clock: Arc<dyn Clock>,
        session_limits: SessionLimits,
    ) -> Result<Self, Error> {
        let nobody = hasher.parameters().unmatchable_record()?;
        Ok(Self {
            store,
            hasher,
            vault,
            throttle,
            clock,
            session_limits,
            nobody,
        })
    }

    /// Checks user name, password and, where the user has a second factor,
    /// the one-time code.
    ///
    /// # Errors
    /// Only when the check itself failed; a wrong password is a [`Verdict`].
    pub async fn verify(
        &self,
        username: &str,
        password: &SecretString,
        code: Option<&SecretString>,
        last: &LastCheck,
    ) -> Result<Verdict, Error> {
        let start = Instant::now();
        let hash = self.vault.name_hash(username);
        let entered = self
            .throttle
            .enter(
                username,
                || self.look_up(username, hash),
                |(_, failures)| (*failures, self.clock.now()),
            )
            .await?;
        let (user, pass) = match entered {
            Ok(((user, _), pass)) => (user, pass),
            Err(((user, _), seconds)) => {
                let attempted = attempted(user.as_ref(), hash);
                // Not behind the pause: there is more of one with a second factor.
                drop(user);
                let [random] = random::bytes()?;
                let later = REFUSED_LATER * u32::from(random);
                sleep_until(start + REFUSED_AFTER + later).await;
                return Ok(Verdict::Throttled { attempted, seconds });
            }
        };
        if self.throttle.is_on() {
            // Nobody is let in whose failure could not be counted.
            self.store.can_write().await?;
        }
        let attempted = attempted(user.as_ref(), hash);
        let record = user.as_ref().map_or(&self.nobody, |user| &user.password);
        let right = match last.of(record) {
            Some(right) => right,
            None => self.hasher.verify(password, record).await?,
        };
        last.set(record, right);
        let failure = |pass, wrong_code| Failure {
            attempted,
            wrong_code,
            at: self.clock.now(),
            _pass: pass,
        };
        let Some(user) = user.filter(|_| right) else {
            return Ok(Verdict::InvalidCredentials(failure(pass, false)));
        };
        let code = match (&user.second_factor, code) {
            (None, _) => None,
            (Some(_), None) => return Ok(Verdict::MissingCode),
            (Some(factor), Some(code)) => match self.check_code(&user, factor, code).await? {
                Some(code) => Some(code),
                None => return Ok(Verdict::InvalidCode(failure(pass, true))),
            },
        };
        let user = self.rehash(user, password).await?;
        let precondition = PasswordPrecondition {
            user_id: user.id,
            record: user.password.clone(),
            generation: user.generation,
            code,
        };
        Ok(Verdict::Verified(Box::new(Verified {
            user,
            precondition,
            pass,
        })))
    }

    /// The code of a user, if it is right and not used yet.
    async fn check_code(
        &self,
        user: &User,
        factor: &SecondFactor,
        code: &SecretString,
    ) -> Result<Option<CodeUse>, Error> {
        let (code, now) = (code.expose_secret(), self.clock.now());
        if let Some(known) = second_factor::check(&self.vault, user.id, factor, code, now)? {
            return Ok(Some(known));
        }
        let Some(code) = second_factor::imported_code(code) else {
            return Ok(None);
        };
        let is_good = |code: &&ImportedCode| code.expires_at.is_none_or(|at| at > now);
        let codes: Vec<_> = factor.imported_codes.iter().filter(is_good).collect();
        if codes.is_empty() {
            return Ok(None);
        }
        let records = codes.iter().map(|code| code.record.clone()).collect();
        let found = self.hasher.find(&code, records).await?;
        Ok(found.map(|index| CodeUse::Imported(codes[index].id())))
    }

    /// The user of a name and the failures under it.
    async fn look_up(
        &self,
        username: &str,
        hash: NameHash,
    ) -> Result<(Option<User>, Failures), Error> {
        // Both, whoever has the name: the work tells nothing.
        let failures = self.store.failures(&hash).await?;
        let user = self.store.user_by_name(username).await?;
        let failures = user.as_ref().map_or(failures, |user| user.failures);
        Ok((user, failures))
    }

    /// What the store keeps of a name that nobody has.
    #[must_use]
    pub fn name_hash(&self, username: &str) -> NameHash {
        self.vault.name_hash(username)
    }

    /// Seconds for which a name with these failures is not tried.
    #[must_use]
    pub fn wait_of(&self, failures: Failures) -> Option<u64> {
        self.throttle.wait_of(failures, self.clock.now())
    }

    /// Whether failed attempts are to be counted: without a throttle nobody
    /// would look at the counts.
    #[must_use]
    pub const fn counts_failures(&self) -> bool {
        self.throttle.is_on()
    }

    /// The failure of somebody whose password was right, and a new code wrong.
    #[must_use]
    pub fn failure_of(&self, verified: Verified) -> Failure {
        Failure {
            attempted: Attempted::User(verified.user.id),
            wrong_code: true,
            at: self.clock.now(),
            _pass: verified.pass,
        }
    }

    /// Counts a failed attempt, with what its request is answered; gives the
    /// failures with it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn count(
        &self,
        failure: Failure,
        outcome: Option<Outcome<Failures>>,
    ) -> Result<Failures, Error> {
        Ok(self
            .store
            .note_failure(failure.attempted, failure.at, outcome)
            .await?)
    }

    /// The valid session of that token and its user.
    ///
    /// # Errors
    /// When the store fails; an invalid token is `None`.
    pub async fn session(&self, token: &SecretString) -> Result<Option<(Session, Profile)>, Error> {
        let hash = token_hash(token);
        let found = self.store.session(&hash).await?;
        let rules = self.session_rules();
        let found = found.filter(|(session, _)| !session.is_expired(&rules));
        if let (Some((session, _)), Some(timeout)) = (&found, rules.limits.idle_timeout) {
            // Not at each use: it is a write.
            let step = (timeout / USE_NOTED_TIMES).min(LONGEST_USE_STEP);
            if rules.now - session.used_at >= step {
                self.store.touch_session(&session.token, rules.now, step);
            }
        }
        Ok(found)
    }

    /// By what sessions are judged now.
    #[must_use]
    pub fn session_rules(&self) -> SessionRules {
        self.session_limits.at(self.clock.now())
    }

    /// Hashes a new password.
    ///
    /// # Errors
    /// When hashing fails.
    pub async fn hash(&self, password: &SecretString) -> Result<PasswordRecord, Error> {
        Ok(self.hasher.hash(password).await?)
    }

    /// A second factor for a user, with its backup codes, once `code` shows
    /// that the user's authenticator knows the secret. The step of that code
    /// is used: it does not log in.
    ///
    /// `None` where it does not.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn new_second_factor(
        &self,
        user: &User,
        secret: &TotpSecret,
        code: &SecretString,
    ) -> Result<Option<(SecondFactor, Vec<BackupCode>)>, Error> {
        let now = self.clock.now();
        let code = second_factor::totp_code(code.expose_secret());
        let Some(last_step) = code.and_then(|code| secret.step_of(&code, now)) else {
            return Ok(None);
        };
        let (codes, backup_codes) = self.new_backup_codes(user)?;
        let factor = SecondFactor {
            secret: self.vault.seal_totp(user.id, secret)?,
            fingerprint: self.vault.secret_fingerprint(user.id, secret),
            last_step,
            backup_codes,
            imported_codes: Vec::new(),
        };
        Ok(Some((factor, codes)))
    }

    /// New backup codes of a user, and what is kept of them.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn new_backup_codes(&self, user: &User) -> Result<(Vec<BackupCode>, Vec<CodeHash>), Error> {
        second_factor::new_backup_codes(&self.vault, user.id)
    }

    /// Brings a record with weaker parameters up to today's, now that the
    /// password is at hand.
    async fn rehash(&self, mut user: User, password: &SecretString) -> Result<User, Error> {
        // A match of which bcrypt has read a part tells nothing about the rest: the
        // record of another ending would shut the user out.
        if imported::is_cut(password.expose_secret(), &user.password)
            || !self.hasher.parameters().is_weaker(&user.password)
        {
            return Ok(user);
        }
        let stronger = self.hasher.hash(password).await?;
        match self
            .store
            .replace_password_record(user.id, user.password.clone(), stronger.clone())
            .await
        {
            Ok(()) => user.password = stronger,
            Err(StoreError::Stopped) => return Err(StoreError::Stopped.into()),
            // Somebody else changed the password meanwhile: if that matters,
            // the precondition of the old record will tell.
            Err(StoreError::Conflict) => {}
            // The password was right all the same; the next login tries again.
            Err(error) => tracing::warn!(%error, "a password record could not be renewed"),
        }
        Ok(user)
    }
}

fn attempted(user: Option<&User>, hash: NameHash) -> Attempted {
    user.map_or(Attempted::UnknownName(hash), |user| {
        Attempted::User(user.id)
    })
}

/// The hash under which the store knows a session token.
#[must_use]
pub fn token_hash(token: &SecretString) -> TokenHash {
    token::hash(token.expose_secret())
}

impl From<HasherError> for Error {
    fn from(error: HasherError) -> Self {
        Self::Internal(error.to_string())
    }
}
