//! `user.authenticate_api_token`

use async_trait::async_trait;
use secrecy::ExposeSecret as _;

use super::{Action, Call, Cost, Output, Run, Secret};
use crate::arguments;
use crate::audit::Identity;
use crate::error::Error;
use crate::services::Services;

pub(super) const ACTION: Action = Action::new::<AuthenticateApiToken>(
    "authenticate_api_token",
    "Return the user of a valid API token. (Not in Platypush's own plugin.)",
    "the user: `{\"user_id\", \"username\", \"created_at\"}`",
);

arguments! {
    struct AuthenticateApiToken {
        token: Secret = "The API token, as create_api_token returned it.",
    }
}

#[async_trait]
impl Run for AuthenticateApiToken {
    /// The name is the user name in the token.
    fn turn(&self) -> (Cost, &str) {
        let token = self.token.0.expose_secret();
        let name = token.rsplit_once(':').map_or("", |(name, _)| name);
        (Cost::Depends, name)
    }

    /// A token made here is found by its SHA-256. An imported token needs slow hashes, and so does
    /// a wrong one while any imported token exists.
    async fn cost_now(&self, services: &Services) -> Result<Cost, Error> {
        let token = self.token.0.expose_secret();
        let hashes = services.credentials.api_token_costs_hashes(token).await?;
        Ok(if hashes {
            Cost::TokenHashes
        } else {
            Cost::Light
        })
    }

    async fn run(self: Box<Self>, services: &Services, call: &Call) -> Result<Output, Error> {
        let user = services
            .credentials
            .api_token(&self.token.0)
            .await?
            .ok_or(Error::InvalidApiToken)?;
        call.notes.user(Identity::User(user.username.clone()));
        Ok(Output::User(user.into()))
    }
}
