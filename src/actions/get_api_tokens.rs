//! `user.get_api_tokens`

use async_trait::async_trait;

use super::signature::SESSION_TOKEN;
use super::{Action, Arguments, Call, Cost, Output, Services, Signature};
use crate::error::Error;

/// Lists the API tokens of the session's user.
pub(super) struct GetApiTokens;

static SIGNATURE: Signature = Signature {
    name: "get_api_tokens",
    parameters: &[SESSION_TOKEN],
    keywords_of: None,
    doc: "List the valid API tokens of the user of a session, without the tokens themselves. \
          (Not in Platypush's own plugin.)",
    returns: "a list, oldest first: `[{\"id\", \"name\", \"created_at\", \"expires_at\"}, …]`",
};

#[async_trait]
impl Action for GetApiTokens {
    fn signature(&self) -> &'static Signature {
        &SIGNATURE
    }

    fn cost(&self, _: &Arguments) -> Cost {
        Cost::Light
    }

    fn is_audited(&self) -> bool {
        false
    }

    async fn run(
        &self,
        services: &Services,
        _: &Call,
        mut arguments: Arguments,
    ) -> Result<Output, Error> {
        let token = arguments.secret("session_token")?;
        let (_, profile) = services
            .credentials
            .session(&token)
            .await?
            .ok_or(Error::InvalidSession)?;
        let user = services
            .store
            .user(profile.id)
            .await?
            .ok_or(Error::InvalidSession)?;
        let now = services.clock.now();
        let valid = user
            .api_tokens
            .iter()
            .filter(|token| !token.is_expired(now));
        Ok(Output::api_tokens(valid))
    }
}
