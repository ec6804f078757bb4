//! `user.delete_api_token`

use async_trait::async_trait;

use super::parameter::SESSION_TOKEN;
use super::{Action, Call, Cost, Output, Run, Secret, proof};
use crate::arguments;
use crate::audit::Identity;
use crate::error::Error;
use crate::events::{Event, EventKind};
use crate::services::{Services, retry_on_conflict};
use crate::store::{StoreExt as _, operations};

pub(super) const ACTION: Action = Action::new::<DeleteApiToken>(
    "delete_api_token",
    "End an API token of the user of a session. (Not in Platypush's own plugin.)",
    "`true`, or `false` when the user has no such API token",
);

arguments! {
    struct DeleteApiToken {
        session_token: Secret = SESSION_TOKEN,
        id: u64 = "Id of the API token, from get_api_tokens.",
    }
}

#[async_trait]
impl Run for DeleteApiToken {
    fn turn(&self) -> (Cost, &str) {
        (Cost::Light, "")
    }

    async fn run(self: Box<Self>, services: &Services, call: &Call) -> Result<Output, Error> {
        let deleted = retry_on_conflict(|| async {
            let (session, user) = proof::session(services, &self.session_token).await?;
            let outcome = call.outcome(|deleted: &Option<_>| Output::Flag(deleted.is_some()));
            let delete = operations::DeleteApiToken {
                session: session.token,
                id: self.id,
            };
            let deleted = services.store.run(delete, outcome).await?;
            match &deleted {
                Some(token) => call.notes.event(|| {
                    let kind = EventKind::api_token_deleted(Some(token));
                    Event::of_user(user.id, &user.username, kind)
                }),
                None => call.notes.refusal(Some("no_such_api_token")),
            }
            call.notes.user(Identity::User(user.username));
            Ok(deleted.is_some())
        })
        .await?;
        Ok(Output::Flag(deleted))
    }
}
