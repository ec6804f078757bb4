//! `user.disable_otp`

use async_trait::async_trait;

use super::signature::{CODE, PASSWORD, USERNAME};
use super::{Action, Arguments, Call, Cost, Output, Services, Signature, proof, retry_on_conflict};
use crate::error::Error;
use crate::events::{Event, EventKind};

/// Switches a user's second factor off.
pub(super) struct DisableOtp;

static SIGNATURE: Signature = Signature {
    name: "disable_otp",
    parameters: &[USERNAME, PASSWORD, CODE],
    keywords_of: None,
    doc: "Switch the second factor of a user off. (Not in Platypush's own plugin.)",
    returns: "`true`",
};

#[async_trait]
impl Action for DisableOtp {
    fn signature(&self) -> &'static Signature {
        &SIGNATURE
    }

    fn cost(&self, _: &Arguments) -> Cost {
        Cost::Hash
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
        retry_on_conflict(|| async {
            let code = code.as_ref();
            let verified =
                proof::prove_second_factor(services, call, &username, &password, code).await?;
            services
                .credentials
                .add_secret_fingerprint(&verified.user)
                .await?;
            let outcome = call.outcome(|()| Output::Flag(true))?;
            services
                .store
                .set_second_factor(verified.precondition, None, outcome)
                .await?;
            call.notes
                .event(|| Event::of(&verified.user, EventKind::OtpDisabled {}));
            Ok(Output::Flag(true))
        })
        .await
    }
}
