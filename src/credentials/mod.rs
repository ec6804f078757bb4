//! Who somebody is: passwords, one-time codes, session tokens.
//!
//! Every check of a password costs one hash, whether or not the user exists
//! (OWASP ASVS 5.0, 6.3.8), and hands out a witness of what it was checked
//! against, for the store to compare when it acts on it.

mod hasher;
pub mod one_time_code;
mod password;
mod token;

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

pub use self::hasher::{Hasher, HasherError};
pub use self::password::Argon2Parameters;
pub use self::token::SessionToken;
use crate::clock::Clock;
use crate::error::Error;
use crate::model::{PasswordRecord, Session, TokenHash, User};
use crate::store::{PasswordWitness, Store, StoreError, Witness};

/// Checks credentials against the store.
pub struct Credentials {
    store: Arc<dyn Store>,
    hasher: Hasher,
    clock: Arc<dyn Clock>,
    /// What the password of an unknown user is checked against.
    nobody: PasswordRecord,
}

/// What a check of user name, password and code found.
#[derive(Debug)]
pub enum Verdict {
    /// All that is needed was right.
    Verified(Verified),
    /// Unknown user or wrong password.
    InvalidCredentials,
    /// Right password, but the user's second factor is missing.
    MissingCode,
    /// Right password, wrong or used one-time code.
    InvalidCode,
}

/// A user who has proved who it is, and the witness of it.
#[derive(Debug)]
pub struct Verified {
    /// The user as it was read.
    pub user: User,
    /// What was checked, for the store to compare.
    pub witness: PasswordWitness,
}

/// Whoever asks for something that only a user may do.
#[derive(Debug, Default)]
pub struct Executor {
    /// Name of the executing user.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<SecretString>,
    /// Or, instead of both, a session token of any user.
    pub session_token: Option<SecretString>,
}

impl Executor {
    /// Whether nothing was given to tell who is asking.
    #[must_use]
    pub const fn is_anonymous(&self) -> bool {
        self.username.is_none() && self.session_token.is_none()
    }
}

impl Credentials {
    /// Ready to check.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn new(
        store: Arc<dyn Store>,
        hasher: Hasher,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let nobody = hasher.parameters().unmatchable_record()?;
        Ok(Self {
            store,
            hasher,
            clock,
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
    ) -> Result<Verdict, Error> {
        let user = self.store.user_by_name(username).await?;
        let record = user.as_ref().map_or(&self.nobody, |user| &user.password);
        let right = self.hasher.verify(password, record).await?;
        let Some(user) = user.filter(|_| right) else {
            return Ok(Verdict::InvalidCredentials);
        };
        let step = match (&user.second_factor, code) {
            (None, _) => None,
            (Some(_), None) => return Ok(Verdict::MissingCode),
            (Some(factor), Some(code)) => {
                match one_time_code::check(factor, code.expose_secret(), self.clock.now()) {
                    Some(step) => Some(step),
                    None => return Ok(Verdict::InvalidCode),
                }
            }
        };
        let user = self.strengthen(user, password).await?;
        let witness = PasswordWitness {
            user_id: user.id,
            record: user.password.clone(),
            generation: user.generation,
            step,
        };
        Ok(Verdict::Verified(Verified { user, witness }))
    }

    /// Checks an executing user's password or session token, either of which
    /// is enough. A user with a second factor needs the session token.
    ///
    /// # Errors
    /// [`Error::InvalidExecutor`] when neither is good.
    pub async fn authorize(&self, executor: &Executor) -> Result<Witness, Error> {
        if let Some(token) = &executor.session_token
            && let Some((session, _)) = self.session(token).await?
        {
            return Ok(Witness::Session(session.token));
        }
        let (Some(username), Some(password)) = (&executor.username, &executor.password) else {
            return Err(Error::InvalidExecutor);
        };
        match self.verify(username, password, None).await? {
            Verdict::Verified(verified) => Ok(Witness::Password(verified.witness)),
            _ => Err(Error::InvalidExecutor),
        }
    }

    /// The valid session of that token and its user.
    ///
    /// # Errors
    /// When the store fails; an invalid token is `None`.
    pub async fn session(&self, token: &SecretString) -> Result<Option<(Session, User)>, Error> {
        let hash = token_hash(token);
        let found = self.store.session(&hash).await?;
        let now = self.clock.now();
        Ok(found.filter(|(session, user)| session.is_valid(user, now)))
    }

    /// Hashes a new password.
    ///
    /// # Errors
    /// When hashing fails.
    pub async fn hash(&self, password: &SecretString) -> Result<PasswordRecord, Error> {
        Ok(self.hasher.hash(password).await?)
    }

    /// Brings a record with weaker parameters up to today's, now that the
    /// password is at hand.
    async fn strengthen(&self, mut user: User, password: &SecretString) -> Result<User, Error> {
        if !self.hasher.parameters().is_weaker(&user.password) {
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
            // the witness of the old record will tell.
            Err(StoreError::Changed) => {}
            // The password was right all the same; the next login tries again.
            Err(error) => tracing::warn!(%error, "a password record could not be renewed"),
        }
        Ok(user)
    }
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
