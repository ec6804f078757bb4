//! Authentication: passwords, one-time codes, session tokens and API tokens.
//!
//! Every check of a password costs one hash, whether or not the user exists
//! (OWASP ASVS 5.0, 6.3.8). It returns a precondition with the record that was
//! checked, which the store compares when it applies the effect.

mod api_token;
mod blocklist;
mod equalizer;
mod hasher;

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

pub use self::api_token::{draw_api_token_name, new_api_token};
pub use self::blocklist::{Blocklist, BlocklistError};
pub use self::hasher::{Hasher, HasherError};
pub use self::second_factor::{STEP_SECONDS, TotpSecret};
pub use self::throttle::{AttemptPermit, Throttle};
pub use self::token::{new_session_token, token_hash};
pub use self::vault::Vault;
use crate::clock::{Clock, Timestamp};
use crate::error::Error;
use crate::model::{
    Attempted, CodeHash, CodeUse, Failures, ImportedCode, NameHash, PasswordRecord, Profile,
    SecondFactor, Session, SessionLimits, SessionRules, User,
};
use crate::random;
use crate::store::{Outcome, PasswordPrecondition, Store, StoreError, StoreExt as _, operations};

/// Number of times that the use of a session is recorded within an idle time-out.
const TOUCHES_PER_TIMEOUT: i32 = 20;
/// Maximum interval at which the use of a session is recorded.
const MAX_TOUCH_INTERVAL: TimeDelta = TimeDelta::seconds(60);

/// Minimum delay before answering a throttled login. It hides the time of the look-up, some
/// microseconds, and more for a user with a second factor: a throttled login computes no hash that
/// would hide it.
const THROTTLED_DELAY: Duration = Duration::from_millis(2);
/// Unit of the random addition to [`THROTTLED_DELAY`], of which up to 255 are added. A fixed delay
/// that ends at the same tick of a timer leaves a trace of the look-up time.
const THROTTLED_JITTER: Duration = Duration::from_micros(16);

/// Checks credentials against the store.
pub struct Credentials {
    store: Arc<dyn Store>,
    hasher: Hasher,
    /// Seals and hashes credentials for the store.
    pub vault: Vault,
    throttle: Throttle,
    clock: Arc<dyn Clock>,
    session_limits: SessionLimits,
    /// The record that the password of an unknown user is checked against. No password matches it.
    unmatchable: PasswordRecord,
}

/// The last password record that a request was checked against, and the result. A request that is
/// retried after a conflict does not compute the hash again.
#[derive(Debug, Default)]
pub struct LastCheck(Mutex<Option<(PasswordRecord, bool)>>);

impl LastCheck {
    fn get(&self, record: &PasswordRecord) -> Option<bool> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = last.as_ref().filter(|(checked, _)| checked == record);
        same.map(|(_, matches)| *matches)
    }

    fn set(&self, record: &PasswordRecord, matches: bool) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((record.clone(), matches));
    }
}

/// Result of a check of user name, password and code.
#[derive(Debug)]
pub enum Verdict {
    /// All required credentials are valid.
    Verified(Box<Verified>),
    /// Unknown user or wrong password. The caller must count it.
    InvalidCredentials(Failure),
    /// Valid password, but the code of the second factor is missing. It neither counts as a failure
    /// nor clears failures.
    MissingCode,
    /// Valid password, wrong or used code. The caller must count it.
    InvalidCode(Failure),
    /// Not checked, because of too many failures before.
    Throttled {
        /// The user or name.
        attempted: Attempted,
        /// Seconds until the next attempt is allowed.
        seconds: u64,
    },
}

impl Verdict {
    /// Returns the hash of the name, if no user has it.
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

/// An authenticated user, and the precondition for acting as that user. An effect with this
/// precondition clears the failures before.
#[derive(Debug)]
pub struct Verified {
    /// The user as it was read.
    pub user: User,
    /// The record that was checked, for the store to compare.
    pub precondition: PasswordPrecondition,
    permit: AttemptPermit,
}

/// A failed attempt, to be counted by [`Credentials::count`].
#[derive(Debug)]
pub struct Failure {
    /// The user or name.
    pub attempted: Attempted,
    /// Whether the password was valid and the code wrong.
    pub wrong_code: bool,
    at: Timestamp,
    _permit: AttemptPermit,
}

impl Credentials {
    /// Creates the checker.
    ///
    /// # Errors
    /// When the operating system provides no randomness.
    pub fn new(
        store: Arc<dyn Store>,
        hasher: Hasher,
        vault: Vault,
        throttle: Throttle,
        clock: Arc<dyn Clock>,
        session_limits: SessionLimits,
    ) -> Result<Self, Error> {
        let unmatchable = password::unmatchable_record(&hasher.parameters)?;
        Ok(Self {
            store,
            hasher,
            vault,
            throttle,
            clock,
            session_limits,
            unmatchable,
        })
    }

    /// Checks user name, password and, where the user has a second factor,
    /// the one-time code.
    ///
    /// # Errors
    /// When the check itself fails. A wrong password is a [`Verdict`].
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
        let (user, permit) = match entered {
            Ok(((user, _), permit)) => (user, permit),
            Err(((user, _), seconds)) => {
                let attempted = attempted(user.as_ref(), hash);
                // Before the delay: dropping a user with a second factor takes longer.
                drop(user);
                let [random] = random::bytes()?;
                let jitter = THROTTLED_JITTER * u32::from(random);
                sleep_until(start + THROTTLED_DELAY + jitter).await;
                return Ok(Verdict::Throttled { attempted, seconds });
            }
        };
        if self.throttle.is_on() {
            // Reject all logins if a failure could not be counted.
            self.store.run(operations::CanWrite, None).await?;
        }
        let attempted = attempted(user.as_ref(), hash);
        let record = user
            .as_ref()
            .map_or(&self.unmatchable, |user| &user.password);
        let matches = match last.get(record) {
            Some(matches) => matches,
            None => self.hasher.verify(password, record).await?,
        };
        last.set(record, matches);
        let failure = |permit, wrong_code| Failure {
            attempted,
            wrong_code,
            at: self.clock.now(),
            _permit: permit,
        };
        let Some(user) = user.filter(|_| matches) else {
            return Ok(Verdict::InvalidCredentials(failure(permit, false)));
        };
        let code = match (&user.second_factor, code) {
            (None, _) => None,
            (Some(_), None) => return Ok(Verdict::MissingCode),
            (Some(factor), Some(code)) => match self.check_code(&user, factor, code).await? {
                Some(code) => Some(code),
                None => return Ok(Verdict::InvalidCode(failure(permit, true))),
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
            permit,
        })))
    }

    /// Returns the use of a code, if it is valid and unused.
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
        let is_valid = |code: &&ImportedCode| code.expires_at.is_none_or(|at| at > now);
        let codes: Vec<_> = factor.imported_codes.iter().filter(is_valid).collect();
        if codes.is_empty() {
            return Ok(None);
        }
        let records = codes.iter().map(|code| code.record.clone()).collect();
        let found = self.hasher.find(&code, records).await?;
        Ok(found.map(|index| CodeUse::Imported(codes[index].id())))
    }

    /// Returns the user of a name, and the failures under that name.
    async fn look_up(
        &self,
        username: &str,
        hash: NameHash,
    ) -> Result<(Option<User>, Failures), Error> {
        // Always reads both, so that the time does not reveal whether the name is known.
        let failures = self.store.failures(&hash).await?;
        let user = self.store.user_by_name(username).await?;
        let failures = user.as_ref().map_or(failures, |user| user.failures);
        Ok((user, failures))
    }

    /// Returns the hash that the store keeps for the name of no user.
    #[must_use]
    pub fn name_hash(&self, username: &str) -> NameHash {
        self.vault.name_hash(username)
    }

    /// Returns the seconds until a name with these failures may be tried again, if it may not now.
    #[must_use]
    pub fn wait_of(&self, failures: Failures) -> Option<u64> {
        self.throttle.wait_of(failures, self.clock.now())
    }

    /// Whether failed attempts are counted. Without a throttle the counts have no use.
    #[must_use]
    pub const fn counts_failures(&self) -> bool {
        self.throttle.is_on()
    }

    /// Returns the failure of a user whose password was valid and whose code for a new factor was
    /// wrong.
    #[must_use]
    pub fn failure_of(&self, verified: Verified) -> Failure {
        Failure {
            attempted: Attempted::User(verified.user.id),
            wrong_code: true,
            at: self.clock.now(),
            _permit: verified.permit,
        }
    }

    /// Counts a failed attempt, and stores the outcome of its request in the same step. Returns the
    /// failures including this one.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn count(
        &self,
        failure: Failure,
        outcome: Option<Outcome<Failures>>,
    ) -> Result<Failures, Error> {
        let note = operations::NoteFailure {
            attempted: failure.attempted,
            at: failure.at,
        };
        Ok(self.store.run(note, outcome).await?)
    }

    /// Returns the session of a token and its user, or `None` if the session is invalid.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn session(&self, token: &SecretString) -> Result<Option<(Session, Profile)>, Error> {
        let hash = token_hash(token);
        let found = self.store.session(&hash).await?;
        let rules = self.session_rules();
        let found = found.filter(|(session, _)| !session.is_expired(&rules));
        if let (Some((session, _)), Some(timeout)) = (&found, rules.limits.idle_timeout) {
            // Not recorded at each use, because it costs a write.
            let interval = (timeout / TOUCHES_PER_TIMEOUT).min(MAX_TOUCH_INTERVAL);
            if rules.now - session.used_at >= interval {
                self.store.post(operations::TouchSession {
                    token: session.token,
                    at: rules.now,
                    step: interval,
                });
            }
        }
        Ok(found)
    }

    /// Returns the rules by which sessions expire at the current time.
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

    /// Creates a second factor for a user, with its backup codes. Returns `None` if `code` is
    /// wrong.
    ///
    /// The code proves that the user's authenticator knows the secret. Its step counts as used, so
    /// that it cannot log in.
    ///
    /// # Errors
    /// When the operating system provides no randomness.
    pub fn new_second_factor(
        &self,
        user: &User,
        secret: &TotpSecret,
        code: &SecretString,
    ) -> Result<Option<(SecondFactor, Vec<SecretString>)>, Error> {
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

    /// Generates backup codes for a user. Returns them and the hashes that the store keeps.
    ///
    /// # Errors
    /// When the operating system provides no randomness.
    pub fn new_backup_codes(
        &self,
        user: &User,
    ) -> Result<(Vec<SecretString>, Vec<CodeHash>), Error> {
        second_factor::new_backup_codes(&self.vault, user.id)
    }

    /// Rehashes a password whose record is weaker than the current parameters, now that the
    /// password is known.
    async fn rehash(&self, mut user: User, password: &SecretString) -> Result<User, Error> {
        // bcrypt may have read only a part of the password. If its ending is wrong, a new record of
        // it would lock the user out.
        if imported::is_cut(password.expose_secret(), &user.password)
            || !password::is_weaker(&user.password, &self.hasher.parameters)
        {
            return Ok(user);
        }
        let rehashed = self.hasher.hash(password).await?;
        let replace = operations::ReplacePasswordRecord {
            user_id: user.id,
            from: user.password.clone(),
            to: rehashed.clone(),
        };
        match self.store.run(replace, None).await {
            Ok(()) => user.password = rehashed,
            Err(StoreError::Stopped) => return Err(StoreError::Stopped.into()),
            // Another request changed the record. If it changed the password, the precondition with
            // the old record leads to a conflict.
            Err(StoreError::Conflict) => {}
            // The password is valid all the same; the next login retries.
            Err(error) => tracing::warn!(%error, "cannot rehash a password"),
        }
        Ok(user)
    }
}

fn attempted(user: Option<&User>, hash: NameHash) -> Attempted {
    user.map_or(Attempted::UnknownName(hash), |user| {
        Attempted::User(user.id)
    })
}
