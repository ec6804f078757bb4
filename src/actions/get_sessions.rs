//! `user.get_sessions`

use async_trait::async_trait;
use secrecy::ExposeSecret as _;

use super::output::OwnSessions;
use super::parameter::SESSION_TOKEN;
use super::{Action, Call, Cost, Output, Run, Secret, proof};
use crate::arguments;
use crate::error::Error;
use crate::services::Services;

pub(super) const ACTION: Action = Action::new::<GetSessions>(
    "get_sessions",
    "List the valid sessions of the user of a session. (Not in Platypush's own plugin.)",
    "a list, oldest first: `[{\"session_id\", \"created_at\", \"expires_at\", \"current\"}, …]`",
)
.unaudited();

arguments! {
    struct GetSessions {
        session_token: Secret = SESSION_TOKEN,
    }
}

#[async_trait]
impl Run for GetSessions {
    fn turn(&self) -> (Cost, &str) {
        // The number of sessions of a user is not limited.
        (Cost::Sessions, self.session_token.0.expose_secret())
    }

    async fn run(self: Box<Self>, services: &Services, _: &Call) -> Result<Output, Error> {
        let (current, user) = proof::session(services, &self.session_token).await?;
        let rules = services.credentials.session_rules();
        let mut sessions = services.store.sessions_of(user.id, user.generation).await?;
        sessions.retain(|session| !session.is_expired(&rules));
        Ok(Output::Sessions(OwnSessions {
            sessions,
            current: current.token,
        }))
    }
}
