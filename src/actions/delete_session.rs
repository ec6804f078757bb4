//! `user.delete_session`

use async_trait::async_trait;

use super::parameter::SESSION_TOKEN;
use super::{Action, Call, Cost, Output, Run, Secret};
use crate::arguments;
use crate::audit::Identity;
use crate::credentials::token_hash;
use crate::error::Error;
use crate::events::{Event, EventKind};
use crate::services::Services;
use crate::store::{StoreExt as _, operations};

pub(super) const ACTION: Action = Action::new::<DeleteSession>(
    "delete_session",
    "Log out: end a session.",
    "`true`, or `false` when there is no such session",
);

arguments! {
    struct DeleteSession {
        session_token: Secret = SESSION_TOKEN,
    }
}

#[async_trait]
impl Run for DeleteSession {
    fn turn(&self) -> (Cost, &str) {
        (Cost::Light, "")
    }

    async fn run(self: Box<Self>, services: &Services, call: &Call) -> Result<Output, Error> {
        let token = &self.session_token.0;
        let mut event = None;
        if let Some((session, user)) = services.credentials.session(token).await? {
            if call.notes.wants_event() {
                let kind = EventKind::session_deleted(Some(session.id()));
                event = Some(Event::of_user(user.id, &user.username, kind));
            }
            call.notes.user(Identity::User(user.username));
        }
        let delete = operations::DeleteSession {
            token: token_hash(token),
            rules: services.credentials.session_rules(),
        };
        let outcome = call.outcome(|deleted| Output::Flag(*deleted));
        let deleted = services.store.run(delete, outcome).await?;
        if let Some(event) = event.filter(|_| deleted) {
            call.notes.event(|| event);
        }
        Ok(Output::Flag(deleted))
    }
}
