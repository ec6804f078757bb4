//! `user.authenticate_user`

use async_trait::async_trait;
use secrecy::SecretString;

use super::signature::{CODE, USERNAME};
use super::{
    Action, Arguments, Call, Cost, Kind, Output, Parameter, Reason, Services, Signature, proof,
    retry_on_conflict,
};
use crate::credentials::Verdict;
use crate::error::Error;

/// Checks a user's password and code.
pub(super) struct AuthenticateUser;

static SIGNATURE: Signature = Signature {
    name: "authenticate_user",
    parameters: &[
        USERNAME,
        Parameter::required("password", Kind::Password, "Password of the user."),
        CODE,
        Parameter::optional(
            "return_details",
            Kind::Flag,
            "Return the reason of a refusal too.",
        ),
    ],
    keywords_of: None,
    doc: "Check the password of a user and, where the user has a second factor, the one-time \
          code. A one-time code is good once.",
    returns: "`true` or `false`; with `return_details` `[true, \"\"]` or `[false, reason]`, the \
              reason being `invalid_credentials`, `missing_otp_code` or `invalid_otp_code`",
};

#[async_trait]
impl Action for AuthenticateUser {
    fn signature(&self) -> &'static Signature {
        &SIGNATURE
    }

    fn cost(&self, _: &Arguments) -> Cost {
        Cost::Hash
    }

    fn refused(&self, mut arguments: Arguments, error: Error) -> Result<Output, Error> {
        Ok(refused(arguments.flag("return_details")?, error))
    }

    async fn run(
        &self,
        services: &Services,
        call: &Call,
        mut arguments: Arguments,
    ) -> Result<Output, Error> {
        let username = arguments.text("username")?;
        let password = arguments.secret("password")?;
        let code = arguments.optional_secret("code")?;
        let details = arguments.flag("return_details")?;

        retry_on_conflict(|| {
            authenticate(services, call, details, &username, &password, code.as_ref())
        })
        .await
    }
}

fn answer(reason: Reason, details: bool) -> Output {
    let right = reason == Reason::None;
    if details {
        Output::Detailed(right, reason)
    } else {
        Output::Flag(right)
    }
}

async fn authenticate(
    services: &Services,
    call: &Call,
    details: bool,
    username: &str,
    password: &SecretString,
    code: Option<&SecretString>,
) -> Result<Output, Error> {
    match proof::verify(services, call, username, password, code).await? {
        Verdict::Verified(verified) => {
            // A plain success changes nothing that would have to be written.
            if verified.precondition.code.is_some() || verified.user.failures.count > 0 {
                let outcome = call.outcome(move |()| answer(Reason::None, details))?;
                services
                    .store
                    .accept(verified.precondition, outcome)
                    .await?;
            }
            Ok(answer(Reason::None, details))
        }
        Verdict::InvalidCredentials(failure) => {
            let answer = move || Ok(answer(Reason::InvalidCredentials, details));
            proof::count(services, call, username, failure, answer).await?;
            answer()
        }
        Verdict::InvalidCode(failure) => {
            let answer = move || Ok(answer(Reason::InvalidCode, details));
            proof::count(services, call, username, failure, answer).await?;
            answer()
        }
        Verdict::MissingCode => Ok(answer(Reason::MissingCode, details)),
        Verdict::Throttled { seconds, .. } => Ok(refused(details, Error::Throttled(seconds))),
    }
}

fn refused(details: bool, error: Error) -> Output {
    Output::refused(answer(Reason::InvalidCredentials, details), error)
}
