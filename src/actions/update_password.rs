//! `user.update_password`

use async_trait::async_trait;

use super::signature::{CODE, USERNAME};
use super::{
    Action, Arguments, Call, Cost, Kind, Output, Parameter, Services, Signature, proof,
    retry_on_conflict,
};
use crate::credentials::Verdict;
use crate::error::Error;
use crate::events::{Event, EventKind};

/// Changes a user's password.
pub(super) struct UpdatePassword;

static SIGNATURE: Signature = Signature {
    name: "update_password",
    parameters: &[
        USERNAME,
        Parameter::required("old_password", Kind::Password, "The present password."),
        Parameter::required("new_password", Kind::Password, "The password from now on."),
        CODE,
        Parameter::optional(
            "revoke_sessions",
            Kind::Flag,
            "End all sessions of the user in the same step.",
        ),
    ],
    keywords_of: None,
    doc: "Change the password of a user, who proves to be it by the present one. (`code` and \
          `revoke_sessions` are not in Platypush's own plugin.)",
    returns: "`true`, or `false` when the present password or the code is wrong",
};

#[async_trait]
impl Action for UpdatePassword {
    fn signature(&self) -> &'static Signature {
        &SIGNATURE
    }

    fn cost(&self, _: &Arguments) -> Cost {
        Cost::Hash
    }

    fn refused(&self, _: Arguments, error: Error) -> Result<Output, Error> {
        Ok(Output::refused(Output::Flag(false), error))
    }

    async fn run(
        &self,
        services: &Services,
        call: &Call,
        mut arguments: Arguments,
    ) -> Result<Output, Error> {
        let username = arguments.text("username")?;
        let old = arguments.secret("old_password")?;
        let new = arguments.new_password("new_password", &services.limits)?;
        let code = arguments.optional_secret("code")?;
        let revoke = arguments.flag("revoke_sessions")? || services.revoke_on_password_change;

        retry_on_conflict(|| async {
            let verdict = proof::verify(services, call, &username, &old, code.as_ref()).await?;
            let verified = match verdict {
                Verdict::Verified(verified) => verified,
                Verdict::InvalidCredentials(failure) | Verdict::InvalidCode(failure) => {
                    let answer = || Ok(Output::Flag(false));
                    proof::count(services, call, &username, failure, answer).await?;
                    return answer();
                }
                Verdict::MissingCode => return Ok(Output::Flag(false)),
                Verdict::Throttled { seconds, .. } => {
                    let error = Error::Throttled(seconds);
                    return Ok(Output::refused(Output::Flag(false), error));
                }
            };
            let record = services.credentials.hash(&new).await?;
            let outcome = call.outcome(|_| Output::Flag(true))?;
            let user = services
                .store
                .set_password(verified.precondition, record, revoke, outcome)
                .await?;
            let sessions_revoked = revoke;
            call.notes
                .event(|| Event::of(&user, EventKind::PasswordUpdated { sessions_revoked }));
            Ok(Output::Flag(true))
        })
        .await
    }
}
