//! `user.authenticate_user`

use async_trait::async_trait;

use super::parameter::{CODE, PASSWORD, USERNAME};
use super::{Action, Call, Cost, Name, Output, Password, Run, Secret, proof};
use crate::arguments;
use crate::credentials::Verdict;
use crate::error::Error;
use crate::model::Reason;
use crate::services::{Services, retry_on_conflict};
use crate::store::{StoreExt as _, operations};

pub(super) const ACTION: Action = Action::new::<AuthenticateUser>(
    "authenticate_user",
    "Check the password of a user and, if the user has a second factor, the one-time code. A \
     one-time code is valid once.",
    "`true` or `false`; with `return_details` `[true, \"\"]` or `[false, reason]`, the reason being \
     `invalid_credentials`, `missing_otp_code` or `invalid_otp_code`",
);

arguments! {
    struct AuthenticateUser {
        username: Name = USERNAME,
        password: Password = PASSWORD,
        code: Option<Secret> = CODE,
        return_details: bool = "Return the reason of a refusal too.",
    }
}

#[async_trait]
impl Run for AuthenticateUser {
    fn turn(&self) -> (Cost, &str) {
        (Cost::Hash, &self.username.0)
    }

    fn refused(&self, error: Error) -> Result<Output, Error> {
        let output = answer(Reason::InvalidCredentials, self.return_details);
        Ok(Output::refused(output, error))
    }

    async fn run(self: Box<Self>, services: &Services, call: &Call) -> Result<Output, Error> {
        retry_on_conflict(|| self.authenticate(services, call)).await
    }
}

impl AuthenticateUser {
    async fn authenticate(&self, services: &Services, call: &Call) -> Result<Output, Error> {
        let details = self.return_details;
        let login = proof::Login::new(&self.username, &self.password, self.code.as_ref());
        let (failure, reason) = match proof::verify(services, call, login).await? {
            Verdict::Verified(verified) => {
                // A success without a code and without earlier failures changes no record.
                if verified.precondition.code.is_some() || verified.user.failures.count > 0 {
                    let outcome = call.outcome(move |()| answer(Reason::None, details));
                    let precondition = verified.precondition;
                    let accept = operations::Accept { precondition };
                    services.store.run(accept, outcome).await?;
                }
                return Ok(answer(Reason::None, details));
            }
            Verdict::InvalidCredentials(failure) => (failure, Reason::InvalidCredentials),
            Verdict::InvalidCode(failure) => (failure, Reason::InvalidCode),
            Verdict::MissingCode => return Ok(answer(Reason::MissingCode, details)),
            Verdict::Throttled { seconds, .. } => return self.refused(Error::Throttled(seconds)),
        };
        let answer = move || Ok(answer(reason, details));
        proof::answer_failure(services, call, login.username, failure, answer).await
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
