//! `user.delete_session`

use async_trait::async_trait;

use super::signature::SESSION_TOKEN;
use super::{Action, Arguments, Call, Cost, Output, Services, Signature};
use crate::audit::Who;
use crate::credentials::token_hash;
use crate::error::Error;
use crate::events::{Event, EventKind};

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
        let mut event = None;
        if let Some((session, user)) = services.credentials.session(&token).await? {
            if call.notes.wants_event() {
                let act = EventKind::session_deleted(session.id());
                event = Some(Event::of_user(user.id, &user.username, act));
            }
            call.notes.user(Who::User(user.username));
        }
        let deleted = services
            .store
            .delete_session(
                &token_hash(&token),
                services.credentials.session_rules(),
                call.outcome(|deleted| Output::Flag(*deleted))?,
            )
            .await?;
        if let Some(event) = event.filter(|_| deleted) {
            call.notes.event(|| event);
        }
        Ok(Output::Flag(deleted))
    }
}
