//! `user.disable_otp`

use async_trait::async_trait;

use super::parameter::{CODE, PASSWORD, USERNAME};
use super::{Action, Call, Cost, Name, Output, Password, Run, Secret, proof};
use crate::arguments;
use crate::error::Error;
use crate::events::{Event, EventKind};
use crate::services::{Services, retry_on_conflict};
use crate::store::{StoreExt as _, operations};

pub(super) const ACTION: Action = Action::new::<DisableOtp>(
    "disable_otp",
    "Switch the second factor of a user off. (Not in Platypush's own plugin.)",
    "`true`",
);

arguments! {
    struct DisableOtp {
        username: Name = USERNAME,
        password: Password = PASSWORD,
        code: Option<Secret> = CODE,
    }
}

#[async_trait]
impl Run for DisableOtp {
    fn turn(&self) -> (Cost, &str) {
        (Cost::Hash, &self.username.0)
    }

    async fn run(self: Box<Self>, services: &Services, call: &Call) -> Result<Output, Error> {
        let login = proof::Login::new(&self.username, &self.password, self.code.as_ref());
        retry_on_conflict(|| async {
            let verified = proof::authenticate_with_second_factor(services, call, login).await?;
            let outcome = call.outcome(|()| Output::Flag(true));
            let disable = operations::SetSecondFactor {
                precondition: verified.precondition,
                second_factor: None,
            };
            services.store.run(disable, outcome).await?;
            call.notes
                .event(|| Event::of(&verified.user, EventKind::OtpDisabled {}));
            Ok(Output::Flag(true))
        })
        .await
    }
}
