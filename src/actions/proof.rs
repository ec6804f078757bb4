//! Who asks: what actions do with the verdict on a password, a code or a
//! session. A failed attempt is counted together with the answer to it.

use secrecy::SecretString;

use super::{Call, Output, Reason, Services};
use crate::audit::Who;
use crate::credentials::{Executor, Failure, Verdict, Verified};
use crate::error::Error;
use crate::events::Event;
use crate::store::Precondition;

/// Checks who somebody is, and notes it for the audit trail.
pub(super) async fn verify(
    services: &Services,
    call: &Call,
    username: &str,
    password: &SecretString,
    code: Option<&SecretString>,
) -> Result<Verdict, Error> {
    let verdict = services
        .credentials
        .verify(username, password, code)
        .await?;
    if !matches!(verdict, Verdict::Throttled { .. }) {
        call.hashed();
    }
    call.notes.user(match verdict.unknown_name() {
        Some(hash) => Who::UnknownName(hash),
        None => Who::User(username.to_owned()),
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

/// The user of a name, password and code, for actions that fail with what was
/// wrong.
pub(super) async fn prove(
    services: &Services,
    call: &Call,
    username: &str,
    password: &SecretString,
    code: Option<&SecretString>,
) -> Result<Verified, Error> {
    match verify(services, call, username, password, code).await? {
        Verdict::Verified(verified) => Ok(*verified),
        Verdict::InvalidCredentials(failure) => {
            count(services, call, username, failure, || {
                Err(Error::InvalidCredentials)
            })
            .await?;
            Err(Error::InvalidCredentials)
        }
        Verdict::InvalidCode(failure) => {
            count(services, call, username, failure, || {
                Err(Error::InvalidCode)
            })
            .await?;
            Err(Error::InvalidCode)
        }
        Verdict::MissingCode => Err(Error::MissingCode),
        Verdict::Throttled { seconds, .. } => Err(Error::Throttled(seconds)),
    }
}

/// The same for actions on the second factor, which has to be on.
pub(super) async fn prove_second_factor(
    services: &Services,
    call: &Call,
    username: &str,
    password: &SecretString,
    code: Option<&SecretString>,
) -> Result<Verified, Error> {
    let verified = prove(services, call, username, password, code).await?;
    if verified.user.second_factor.is_none() {
        return Err(Error::OtpNotEnabled(username.to_owned()));
    }
    Ok(verified)
}

/// A precondition of an executing user's password or session token, either of which
/// is enough. A user with a second factor needs the session token.
pub(super) async fn authorize(
    services: &Services,
    call: &Call,
    executor: &Executor,
) -> Result<Precondition, Error> {
    if let Some(token) = &executor.session_token
        && let Some((session, user)) = services.credentials.session(token).await?
    {
        call.notes.by(Who::User(user.username));
        return Ok(Precondition::Session(session.token));
    }
    let (Some(username), Some(password)) = (&executor.username, &executor.password) else {
        return Err(Error::InvalidExecutor);
    };
    let verdict = verify(services, call, username, password, None).await?;
    call.notes.executing();
    match verdict {
        Verdict::Verified(verified) => Ok(Precondition::Password(verified.precondition)),
        Verdict::InvalidCredentials(failure) | Verdict::InvalidCode(failure) => {
            count(services, call, username, failure, || {
                Err(Error::InvalidExecutor)
            })
            .await?;
            Err(Error::InvalidExecutor)
        }
        Verdict::MissingCode => Err(Error::InvalidExecutor),
        Verdict::Throttled { seconds, .. } => Err(Error::Throttled(seconds)),
    }
}

/// Counts a failed attempt under a name, where that is done, leaves `answer` as
/// its outcome, and notes it.
pub(super) async fn count(
    services: &Services,
    call: &Call,
    username: &str,
    failure: Failure,
    answer: impl FnOnce() -> Result<Output, Error> + Send + 'static,
) -> Result<(), Error> {
    let attempted = failure.attempted;
    let reason = if failure.wrong_code {
        Reason::InvalidCode
    } else {
        Reason::InvalidCredentials
    };
    let attempts = if services.credentials.counts_failures() {
        let outcome = call.outcome_of(move |_| answer())?;
        let failures = services.credentials.count(failure, outcome).await?;
        // None of a user who was deleted meanwhile.
        Some(failures.count).filter(|count| *count > 0)
    } else {
        None
    };
    call.notes
        .event(|| Event::login_failed(attempted, username, attempts, reason));
    Ok(())
}
