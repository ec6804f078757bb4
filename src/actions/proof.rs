//! Authentication of the users of a request, by password, one-time code or session token. A failed
//! attempt is counted in the same step that records its reply.

use secrecy::{ExposeSecret as _, SecretString};

use super::{Call, Name, Output, Password, Secret};
use crate::audit::Identity;
use crate::credentials::{Failure, Verdict, Verified};
use crate::error::Error;
use crate::events::Event;
use crate::model::{Profile, Reason, Session};
use crate::services::Services;
use crate::store::Precondition;

/// A name, a password and an optional one-time code.
#[derive(Clone, Copy)]
pub(super) struct Login<'a> {
    pub(super) username: &'a str,
    password: &'a SecretString,
    code: Option<&'a SecretString>,
}

impl<'a> Login<'a> {
    pub(super) fn new(
        username: &'a Name,
        password: &'a Password,
        code: Option<&'a Secret>,
    ) -> Self {
        Self {
            username: &username.0,
            password: &password.0,
            code: code.map(|code| &code.0),
        }
    }
}

/// The credentials of an executing user: a name and a password, or a session token.
#[derive(Clone, Copy)]
pub(super) struct Executor<'a> {
    pub(super) username: Option<&'a Name>,
    pub(super) password: Option<&'a Password>,
    pub(super) session_token: Option<&'a Secret>,
}

impl<'a> Executor<'a> {
    /// Returns whether the request names no executing user.
    pub(super) const fn is_anonymous(&self) -> bool {
        self.username.is_none() && self.session_token.is_none()
    }

    /// Returns the name under which the request waits for its turn. Without a name, the session
    /// token serves as one.
    pub(super) fn turn_name(self) -> &'a str {
        match (self.username, self.session_token) {
            (Some(Name(name)), _) => name,
            (None, Some(token)) => token.0.expose_secret(),
            (None, None) => "",
        }
    }
}

/// Checks a login, and notes the verdict for the audit trail.
pub(super) async fn verify(
    services: &Services,
    call: &Call,
    login: Login<'_>,
) -> Result<Verdict, Error> {
    let Login {
        username,
        password,
        code,
    } = login;
    let verdict = services
        .credentials
        .verify(username, password, code, &call.last_check)
        .await?;
    if !matches!(verdict, Verdict::Throttled { .. }) {
        call.mark_hashed();
    }
    call.notes.user(match verdict.unknown_name() {
        Some(hash) => Identity::UnknownName(hash),
        None => Identity::User(username.to_owned()),
    });
    if let Verdict::Verified(verified) = &verdict {
        call.notes.factor(verified.precondition.code.as_ref());
    }
    call.notes.refusal(match verdict {
        Verdict::Verified(_) => None,
        Verdict::InvalidCredentials(_) => Some("invalid_credentials"),
        Verdict::InvalidCode(_) => Some("invalid_otp_code"),
        Verdict::MissingCode => Some("missing_otp_code"),
        Verdict::Throttled { .. } => Some("throttled"),
    });
    Ok(verdict)
}

/// Returns the user of a login, or the reason for a refusal as an error. Counts a failed attempt.
pub(super) async fn authenticate(
    services: &Services,
    call: &Call,
    login: Login<'_>,
) -> Result<Verified, Error> {
    match verify(services, call, login).await? {
        Verdict::Verified(verified) => Ok(*verified),
        Verdict::InvalidCredentials(failure) => {
            refuse(services, call, login, failure, || Error::InvalidCredentials).await
        }
        Verdict::InvalidCode(failure) => {
            refuse(services, call, login, failure, || Error::InvalidCode).await
        }
        Verdict::MissingCode => Err(Error::MissingCode),
        Verdict::Throttled { seconds, .. } => Err(Error::Throttled(seconds)),
    }
}

/// Returns the user of a login, as [`authenticate`] does, if the user has a second factor.
pub(super) async fn authenticate_with_second_factor(
    services: &Services,
    call: &Call,
    login: Login<'_>,
) -> Result<Verified, Error> {
    let verified = authenticate(services, call, login).await?;
    if verified.user.second_factor.is_none() {
        return Err(Error::OtpNotEnabled(login.username.to_owned()));
    }
    Ok(verified)
}

/// Returns the valid session of a token, and its user.
pub(super) async fn session(
    services: &Services,
    token: &Secret,
) -> Result<(Session, Profile), Error> {
    let found = services.credentials.session(&token.0).await?;
    found.ok_or(Error::InvalidSession)
}

/// Checks the session token or the password of the executing user, and returns the precondition of
/// the one that is valid. A user with a second factor needs the session token.
pub(super) async fn authorize(
    services: &Services,
    call: &Call,
    executor: Executor<'_>,
) -> Result<Precondition, Error> {
    if let Some(token) = executor.session_token
        && let Some((session, user)) = services.credentials.session(&token.0).await?
    {
        call.notes.by(Identity::User(user.username));
        return Ok(Precondition::Session(session.token));
    }
    let (Some(username), Some(password)) = (executor.username, executor.password) else {
        return Err(Error::InvalidExecutor);
    };
    let login = Login::new(username, password, None);
    let verdict = verify(services, call, login).await?;
    call.notes.executing();
    match verdict {
        Verdict::Verified(verified) => Ok(Precondition::Password(verified.precondition)),
        Verdict::InvalidCredentials(failure) | Verdict::InvalidCode(failure) => {
            refuse(services, call, login, failure, || Error::InvalidExecutor).await
        }
        Verdict::MissingCode => Err(Error::InvalidExecutor),
        Verdict::Throttled { seconds, .. } => Err(Error::Throttled(seconds)),
    }
}

/// Counts a failed attempt as [`answer_failure`] does, and returns the error that answers it.
async fn refuse<T>(
    services: &Services,
    call: &Call,
    login: Login<'_>,
    failure: Failure,
    error: fn() -> Error,
) -> Result<T, Error> {
    let answer = move || Err(error());
    answer_failure(services, call, login.username, failure, answer)
        .await
        .and(Err(error()))
}

/// Counts a failed attempt under a name if the throttle is on, with `answer` as the outcome, and
/// notes the event. Returns the answer.
pub(super) async fn answer_failure(
    services: &Services,
    call: &Call,
    username: &str,
    failure: Failure,
    answer: impl Fn() -> Result<Output, Error> + Clone + Send + 'static,
) -> Result<Output, Error> {
    let attempted = failure.attempted;
    let reason = if failure.wrong_code {
        Reason::InvalidCode
    } else {
        Reason::InvalidCredentials
    };
    let attempts = if services.credentials.counts_failures() {
        let answer = answer.clone();
        let outcome = call.outcome_of(move |_| answer());
        let failures = services.credentials.count(failure, outcome).await?;
        // The count is 0 if the user was deleted meanwhile.
        Some(failures.count).filter(|count| *count > 0)
    } else {
        None
    };
    call.notes
        .event(|| Event::login_failed(attempted, username, attempts, reason));
    answer()
}
