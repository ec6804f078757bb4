//! `user.update_password`

use async_trait::async_trait;
use secrecy::ExposeSecret as _;

use super::parameter::{CODE, USERNAME};
use super::{Action, Call, Cost, Name, Output, Password, Run, Secret, proof};
use crate::arguments;
use crate::credentials::Verdict;
use crate::error::Error;
use crate::events::{Event, EventKind};
use crate::services::{Services, retry_on_conflict};
use crate::store::{StoreExt as _, operations};

pub(super) const ACTION: Action = Action::new::<UpdatePassword>(
    "update_password",
    "Change the password of a user, given the present one. (`code` and `revoke_sessions` are not \
     in Platypush's own plugin.)",
    "`true`, or `false` when the present password or the code is wrong",
);

arguments! {
    struct UpdatePassword {
        username: Name = USERNAME,
        old_password: Password = "The present password.",
        new_password: Password = "The new password.",
        code: Option<Secret> = CODE,
        revoke_sessions: bool = "End all sessions of the user in the same step.",
    }
}

#[async_trait]
impl Run for UpdatePassword {
    fn turn(&self) -> (Cost, &str) {
        (Cost::Hash, &self.username.0)
    }

    fn refused(&self, error: Error) -> Result<Output, Error> {
        Ok(Output::refused(Output::Flag(false), error))
    }

    async fn run(self: Box<Self>, services: &Services, call: &Call) -> Result<Output, Error> {
        let new = &self.new_password.0;
        services.limits.check_new_password(new.expose_secret())?;
        let sessions_revoked = self.revoke_sessions || services.revoke_on_password_change;
        let login = proof::Login::new(&self.username, &self.old_password, self.code.as_ref());
        retry_on_conflict(|| async {
            let verified = match proof::verify(services, call, login).await? {
                Verdict::Verified(verified) => verified,
                Verdict::InvalidCredentials(failure) | Verdict::InvalidCode(failure) => {
                    let answer = || Ok(Output::Flag(false));
                    return proof::answer_failure(services, call, login.username, failure, answer)
                        .await;
                }
                Verdict::MissingCode => return Ok(Output::Flag(false)),
                Verdict::Throttled { seconds, .. } => {
                    return self.refused(Error::Throttled(seconds));
                }
            };
            let record = services.credentials.hash(new).await?;
            let outcome = call.outcome(|_| Output::Flag(true));
            let set = operations::SetPassword {
                precondition: verified.precondition,
                password: record,
                revoke_sessions: sessions_revoked,
            };
            let user = services.store.run(set, outcome).await?;
            call.notes
                .event(|| Event::of(&user, EventKind::PasswordUpdated { sessions_revoked }));
            Ok(Output::Flag(true))
        })
        .await
    }
}
