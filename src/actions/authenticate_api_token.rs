//! `user.authenticate_api_token`

use async_trait::async_trait;

use super::{Action, Arguments, Call, Cost, Kind, Output, Parameter, Services, Signature};
use crate::audit::Who;
use crate::error::Error;

/// Tells whose API token it is.
pub(super) struct AuthenticateApiToken;

static SIGNATURE: Signature = Signature {
    name: "authenticate_api_token",
    parameters: &[Parameter::required(
        "token",
        Kind::Secret,
        "The API token, as create_api_token returned it.",
    )],
    keywords_of: None,
    doc: "Tell whose API token it is, if it is valid. (Not in Platypush's own plugin.)",
    returns: "the user: `{\"user_id\", \"username\", \"created_at\"}`",
};

#[async_trait]
impl Action for AuthenticateApiToken {
    fn signature(&self) -> &'static Signature {
        &SIGNATURE
    }

    fn cost(&self, _: &Arguments) -> Cost {
        Cost::Depends
    }

    /// One of ours is found by its hash; one that was imported has to be
    /// hashed as its maker did.
    async fn cost_now(&self, services: &Services, arguments: &Arguments) -> Result<Cost, Error> {
        let token = arguments.peek("token").unwrap_or_default();
        let hashes = services.credentials.api_token_costs_hashes(token).await?;
        Ok(if hashes {
            Cost::TokenHashes
        } else {
            Cost::Light
        })
    }

    /// The name that stands in the token.
    fn turn_name<'a>(&self, arguments: &'a Arguments) -> &'a str {
        let token = arguments.peek("token").unwrap_or_default();
        token.rsplit_once(':').map_or("", |(name, _)| name)
    }

    async fn run(
        &self,
        services: &Services,
        call: &Call,
        mut arguments: Arguments,
    ) -> Result<Output, Error> {
        let token = arguments.secret("token")?;
        let user = services
            .credentials
            .api_token(&token)
            .await?
            .ok_or(Error::InvalidApiToken)?;
        call.notes.user(Who::User(user.username.clone()));
        Ok(Output::User(user.into()))
    }
}
