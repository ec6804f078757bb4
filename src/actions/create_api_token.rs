//! `user.create_api_token`

use async_trait::async_trait;

use super::parameter::{CODE, PASSWORD, USERNAME};
use super::{Action, Call, Cost, Name, Output, Password, Run, Secret, proof};
use crate::arguments;
use crate::clock::Timestamp;
use crate::credentials::{draw_api_token_name, new_api_token, token_hash};
use crate::error::Error;
use crate::events::{Event, EventKind};
use crate::services::{Services, retry_on_conflict};
use crate::store::{StoreError, StoreExt as _, operations};
use crate::text;

/// Maximum number of valid API tokens of one user.
const MAX_TOKENS: usize = 100;

pub(super) const ACTION: Action = Action::new::<CreateApiToken>(
    "create_api_token",
    "Create a token that nodes and scripts use instead of the password; it is shown this once. It \
     stays valid when the password changes. (Not in Platypush's own plugin.)",
    "`{\"id\", \"name\", \"token\", \"expires_at\"}`",
);

arguments! {
    struct CreateApiToken {
        username: Name = USERNAME,
        password: Password = PASSWORD,
        code: Option<Secret> = CODE,
        name: Option<Name> = "Name of the token, unique among the user's tokens. Without it a random name is chosen.",
        expires_at: Option<Timestamp> = "When the token ends: seconds since the epoch or ISO 8601, UTC unless it \
         has an offset. Without it the token does not expire.",
    }
}

#[async_trait]
impl Run for CreateApiToken {
    fn turn(&self) -> (Cost, &str) {
        (Cost::Hash, &self.username.0)
    }

    async fn run(self: Box<Self>, services: &Services, call: &Call) -> Result<Output, Error> {
        if let Some(Name(name)) = &self.name {
            crate::services::check_name("name of the API token", name)?;
        }
        let login = proof::Login::new(&self.username, &self.password, self.code.as_ref());
        let username = login.username;
        retry_on_conflict(|| async {
            let verified = proof::authenticate(services, call, login).await?;
            // The token contains the name, and a node would evaluate or decode parts of it.
            let name_in_token = text::neutralize(username);
            let token = new_api_token(&name_in_token)?;
            let name = match &self.name {
                Some(Name(name)) => name.clone(),
                None => draw_api_token_name(&text::usable_name(username))?,
            };
            let create = operations::CreateApiToken {
                name: name.clone(),
                token: token_hash(&token),
                name_in_token: Some(name_in_token.into_owned()).filter(|name| name != username),
                created_at: services.clock.now(),
                expires_at: self.expires_at,
                limit: MAX_TOKENS,
                precondition: verified.precondition,
            };
            let answer = move |created: &_| Output::new_api_token(token.clone(), created);
            let outcome = call.outcome(answer.clone());
            match services.store.run(create, outcome).await {
                Ok(created) => {
                    call.notes.event(|| {
                        Event::of(&verified.user, EventKind::api_token_created(&created))
                    });
                    Ok(answer(&created))
                }
                Err(StoreError::ApiTokenNameTaken) => Err(Error::ApiTokenExists(name)),
                Err(StoreError::TooManyApiTokens) => Err(Error::TooManyApiTokens {
                    username: username.to_owned(),
                    limit: MAX_TOKENS,
                }),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }
}
