//! `user.delete_api_token`

use async_trait::async_trait;

use super::signature::SESSION_TOKEN;
use super::{
    Action, Arguments, Call, Cost, Kind, Output, Parameter, Services, Signature, retry_on_conflict,
};
use crate::audit::Who;
use crate::error::Error;
use crate::events::{Event, EventKind};

/// Ends an API token of the session's user.
pub(super) struct DeleteApiToken;

static SIGNATURE: Signature = Signature {
    name: "delete_api_token",
    parameters: &[
        SESSION_TOKEN,
        Parameter::required(
            "id",
            Kind::Number,
            "Which API token, by its id in get_api_tokens.",
        ),
    ],
    keywords_of: None,
    doc: "End an API token of the user of a session. (Not in Platypush's own plugin.)",
    returns: "`true`, or `false` when the user has no such API token",
};

#[async_trait]
impl Action for DeleteApiToken {
    fn signature(&self) -> &'static Signature {
        &SIGNATURE
    }

    fn cost(&self, _: &Arguments) -> Cost {
        Cost::Light
    }

    async fn run(
        &self,
        services: &Services,
        call: &Call,
        mut arguments: Arguments,
    ) -> Result<Output, Error> {
        let token = arguments.secret("session_token")?;
        let id = arguments.number("id")?;
        let deleted = retry_on_conflict(|| async {
            let (session, user) = services
                .credentials
                .session(&token)
                .await?
                .ok_or(Error::InvalidSession)?;
            let outcome = call.outcome(|deleted: &Option<_>| Output::Flag(deleted.is_some()))?;
            let deleted = services
                .store
                .delete_api_token(session.token, id, outcome)
                .await?;
            match &deleted {
                Some(token) => call.notes.event(|| {
                    Event::of_user(user.id, &user.username, EventKind::api_token_deleted(token))
                }),
                None => call.notes.refusal(Some("no_such_api_token")),
            }
            call.notes.user(Who::User(user.username));
            Ok(deleted.is_some())
        })
        .await?;
        Ok(Output::Flag(deleted))
    }
}
