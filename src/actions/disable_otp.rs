//! `user.disable_otp`

use async_trait::async_trait;

use super::signature::{CODE, PASSWORD, USERNAME};
use super::{Action, Arguments, Call, Cost, Output, Signature, World, proof, until_settled};
use crate::error::Error;
use crate::events::{Act, Event};

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
        world: &World,
        call: &Call,
        mut arguments: Arguments,
    ) -> Result<Output, Error> {
        let username = arguments.text("username")?;
        let password = arguments.secret("password")?;
        let code = arguments.optional_secret("code")?;
        until_settled(|| async {
            let code = code.as_ref();
            let verified =
                proof::prove_second_factor(world, call, &username, &password, code).await?;
            world
                .credentials
                .add_secret_fingerprint(&verified.user)
                .await?;
            let outcome = call.outcome(|()| Output::Flag(true))?;
            world
                .store
                .set_second_factor(verified.witness, None, outcome)
                .await?;
            call.notes
                .event(|| Event::of(&verified.user, Act::OtpDisabled {}));
            Ok(Output::Flag(true))
        })
        .await
    }
}
