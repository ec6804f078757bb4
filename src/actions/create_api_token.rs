//! `user.create_api_token`

use async_trait::async_trait;

use super::bound::check_name;
use super::signature::{CODE, PASSWORD, USERNAME};
use super::{
    Action, Arguments, Call, Cost, Kind, Output, Parameter, Services, Signature, proof,
    retry_on_conflict,
};
use crate::credentials::{ApiTokenText, draw_api_token_name};
use crate::error::Error;
use crate::events::{Event, EventKind};
use crate::store::{NewApiToken, StoreError};
use crate::text;

/// Most valid API tokens of one user.
const MAX_TOKENS: usize = 100;

/// Makes an API token.
pub(super) struct CreateApiToken;

static SIGNATURE: Signature = Signature {
    name: "create_api_token",
    parameters: &[
        USERNAME,
        PASSWORD,
        CODE,
        Parameter::optional(
            "name",
            Kind::Name,
            "What the token is called; each of a user's has another name. Without it a name is \
             drawn.",
        ),
        Parameter::optional(
            "expires_at",
            Kind::Time,
            "When the token ends: seconds since the epoch or ISO 8601, UTC unless it has an \
             offset. Without it the token does not expire.",
        ),
    ],
    keywords_of: None,
    doc: "Make a token that nodes and scripts use instead of the password; it is shown this \
          once. It outlives a change of the password. (Not in Platypush's own plugin.)",
    returns: "`{\"id\", \"name\", \"token\", \"expires_at\"}`",
};

#[async_trait]
impl Action for CreateApiToken {
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
        let name = arguments.optional_text("name")?;
        if let Some(name) = &name {
            check_name("name of the API token", name)?;
        }
        let expires_at = arguments.time("expires_at")?;

        retry_on_conflict(|| async {
            let verified =
                proof::prove(services, call, &username, &password, code.as_ref()).await?;
            // The token is sent to a node, with the name in it.
            let name_in_token = text::neutralize(&username);
            let token = ApiTokenText::generate(&name_in_token)?;
            let name = name
                .clone()
                .map_or_else(|| draw_api_token_name(&text::usable_name(&username)), Ok)?;
            let new = NewApiToken {
                name: name.clone(),
                token: token.hash(),
                name_in_token: Some(name_in_token.into_owned()).filter(|name| *name != username),
                created_at: services.clock.now(),
                expires_at,
            };
            let answer = move |made: &_| Output::new_api_token(token.clone(), made);
            let outcome = call.outcome(answer.clone())?;
            let (user, precondition) = (verified.user, verified.precondition);
            let made = services
                .store
                .create_api_token(new, MAX_TOKENS, precondition, outcome)
                .await;
            match made {
                Ok(made) => {
                    call.notes
                        .event(|| Event::of(&user, EventKind::api_token_created(&made)));
                    Ok(answer(&made))
                }
                Err(StoreError::ApiTokenNameTaken) => Err(Error::ApiTokenExists(name)),
                Err(StoreError::TooManyApiTokens) => Err(Error::TooManyApiTokens {
                    username: username.clone(),
                    limit: MAX_TOKENS,
                }),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }
}
