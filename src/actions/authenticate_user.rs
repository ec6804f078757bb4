//! `user.authenticate_user`

use async_trait::async_trait;
use secrecy::SecretString;

use super::signature::{CODE, USERNAME};
use super::{
    Action, Arguments, Call, Cost, Kind, Output, Parameter, Reason, Signature, World, until_settled,
};
use crate::credentials::Verdict;
use crate::error::Error;

/// Checks a user's password and code.
pub(super) struct AuthenticateUser;

static SIGNATURE: Signature = Signature {
    name: "authenticate_user",
    parameters: &[
        USERNAME,
        Parameter::required("password", Kind::Secret, "Password of the user."),
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

    async fn run(
        &self,
        world: &World,
        call: &Call,
        mut arguments: Arguments,
    ) -> Result<Output, Error> {
        let username = arguments.username(&world.limits)?;
        let password = arguments.password("password", &world.limits)?;
        let code = arguments.optional_secret("code")?;
        let details = arguments.flag("return_details")?;

        let reason = until_settled(|| {
            authenticate(world, call, details, &username, &password, code.as_ref())
        })
        .await?;
        Ok(answer(reason, details))
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
    world: &World,
    call: &Call,
    details: bool,
    username: &str,
    password: &SecretString,
    code: Option<&SecretString>,
) -> Result<Reason, Error> {
    match world.credentials.verify(username, password, code).await? {
        Verdict::Verified(verified) => {
            if verified.witness.step.is_some() {
                let outcome = call.outcome(move |()| answer(Reason::None, details))?;
                world.store.use_code(verified.witness, outcome).await?;
            }
            Ok(Reason::None)
        }
        Verdict::InvalidCredentials => Ok(Reason::InvalidCredentials),
        Verdict::MissingCode => Ok(Reason::MissingCode),
        Verdict::InvalidCode => Ok(Reason::InvalidCode),
    }
}
