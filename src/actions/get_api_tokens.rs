//! `user.get_api_tokens`

use async_trait::async_trait;

use super::parameter::SESSION_TOKEN;
use super::{Action, Call, Cost, Output, Run, Secret, proof};
use crate::arguments;
use crate::error::Error;
use crate::services::Services;

pub(super) const ACTION: Action = Action::new::<GetApiTokens>(
    "get_api_tokens",
    "List the valid API tokens of the user of a session, without the tokens themselves. (Not in \
     Platypush's own plugin.)",
    "a list, oldest first: `[{\"id\", \"name\", \"created_at\", \"expires_at\"}, …]`",
)
.unaudited();

arguments! {
    struct GetApiTokens {
        session_token: Secret = SESSION_TOKEN,
    }
}

#[async_trait]
impl Run for GetApiTokens {
    fn turn(&self) -> (Cost, &str) {
        (Cost::Light, "")
    }

    async fn run(self: Box<Self>, services: &Services, _: &Call) -> Result<Output, Error> {
        let (_, profile) = proof::session(services, &self.session_token).await?;
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
