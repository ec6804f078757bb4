//! `user.get_sessions`

use async_trait::async_trait;

use super::output::OwnSessions;
use super::signature::SESSION_TOKEN;
use super::{Action, Arguments, Call, Cost, Output, Services, Signature};
use crate::error::Error;

/// Lists the sessions of the session's user.
pub(super) struct GetSessions;

static SIGNATURE: Signature = Signature {
    name: "get_sessions",
    parameters: &[SESSION_TOKEN],
    keywords_of: None,
    doc: "List the valid sessions of the user of a session. (Not in Platypush's own plugin.)",
    returns: "a list, oldest first: `[{\"session_id\", \"created_at\", \"expires_at\", \"current\"}, …]`",
};

#[async_trait]
impl Action for GetSessions {
    fn signature(&self) -> &'static Signature {
        &SIGNATURE
    }

    fn cost(&self, _: &Arguments) -> Cost {
        // A user may have any number of them.
        Cost::Sessions
    }

    fn is_audited(&self) -> bool {
        false
    }

    async fn run(
        &self,
        services: &Services,
        _: &Call,
        mut arguments: Arguments,
    ) -> Result<Output, Error> {
        let token = arguments.secret("session_token")?;
        let (current, user) = services
            .credentials
            .session(&token)
            .await?
            .ok_or(Error::InvalidSession)?;
        let rules = services.credentials.session_rules();
        let mut sessions = services.store.sessions_of(user.id, user.generation).await?;
        sessions.retain(|session| !session.is_expired(&rules));
        Ok(Output::Sessions(OwnSessions {
            sessions,
            current: current.token,
        }))
    }
}
