//! `user.delete_session`

use async_trait::async_trait;

use super::signature::SESSION_TOKEN;
use super::{Action, Arguments, Call, Cost, Output, Signature, World};
use crate::audit::Who;
use crate::credentials::token_hash;
use crate::error::Error;

/// Logs a session out.
pub(super) struct DeleteSession;

static SIGNATURE: Signature = Signature {
    name: "delete_session",
    parameters: &[SESSION_TOKEN],
    keywords_of: None,
    doc: "Log out: end a session.",
    returns: "`true`, or `false` when there is no such session",
};

#[async_trait]
impl Action for DeleteSession {
    fn signature(&self) -> &'static Signature {
        &SIGNATURE
    }

    fn cost(&self, _: &Arguments<'_>) -> Cost {
        Cost::Light
    }

    async fn run(
        &self,
        world: &World,
        call: &Call,
        mut arguments: Arguments<'_>,
    ) -> Result<Output, Error> {
        let token = arguments.secret("session_token")?;
        if let Some((_, user)) = world.credentials.session(&token).await? {
            call.notes.user(Who::User(user.username));
        }
        let deleted = world
            .store
            .delete_session(
                &token_hash(&token),
                world.credentials.session_rules(),
                call.outcome(|deleted| Output::Flag(*deleted))?,
            )
            .await?;
        Ok(Output::Flag(deleted))
    }
}
