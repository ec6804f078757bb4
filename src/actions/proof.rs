//! Who asks: what actions do with the verdict on a password, a code or a
//! session. A failed attempt is counted together with the answer to it.

use secrecy::SecretString;

use super::{Call, Output, World};
use crate::credentials::{Executor, Failure, Verdict, Verified};
use crate::error::Error;
use crate::store::Witness;

/// The user of a name, password and code, for actions that fail with what was
/// wrong.
pub(super) async fn prove(
    world: &World,
    call: &Call,
    username: &str,
    password: &SecretString,
    code: Option<&SecretString>,
) -> Result<Verified, Error> {
    match world.credentials.verify(username, password, code).await? {
        Verdict::Verified(verified) => Ok(verified),
        Verdict::InvalidCredentials(failure) => {
            count(world, call, failure, || Err(Error::InvalidCredentials)).await?;
            Err(Error::InvalidCredentials)
        }
        Verdict::InvalidCode(failure) => {
            count(world, call, failure, || Err(Error::InvalidCode)).await?;
            Err(Error::InvalidCode)
        }
        Verdict::MissingCode => Err(Error::MissingCode),
        Verdict::Throttled { seconds, .. } => Err(Error::Throttled(seconds)),
    }
}

/// A witness of an executing user's password or session token, either of which
/// is enough. A user with a second factor needs the session token.
pub(super) async fn authorize(
    world: &World,
    call: &Call,
    executor: &Executor,
) -> Result<Witness, Error> {
    if let Some(token) = &executor.session_token
        && let Some((session, _)) = world.credentials.session(token).await?
    {
        return Ok(Witness::Session(session.token));
    }
    let (Some(username), Some(password)) = (&executor.username, &executor.password) else {
        return Err(Error::InvalidExecutor);
    };
    match world.credentials.verify(username, password, None).await? {
        Verdict::Verified(verified) => Ok(Witness::Password(verified.witness)),
        Verdict::InvalidCredentials(failure) | Verdict::InvalidCode(failure) => {
            count(world, call, failure, || Err(Error::InvalidExecutor)).await?;
            Err(Error::InvalidExecutor)
        }
        Verdict::MissingCode => Err(Error::InvalidExecutor),
        Verdict::Throttled { seconds, .. } => Err(Error::Throttled(seconds)),
    }
}

/// Counts a failed attempt and leaves `answer` as its outcome.
pub(super) async fn count(
    world: &World,
    call: &Call,
    failure: Failure,
    answer: impl FnOnce() -> Result<Output, Error> + Send + 'static,
) -> Result<(), Error> {
    let outcome = call.outcome_of(move |()| answer())?;
    world.credentials.count(failure, outcome).await
}
