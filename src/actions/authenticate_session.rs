//! `user.authenticate_session`

use async_trait::async_trait;

use super::parameter::SESSION_TOKEN;
use super::{Action, Call, Cost, Output, Run, Secret, proof};
use crate::arguments;
use crate::error::Error;
use crate::services::Services;

pub(super) const ACTION: Action = Action::new::<AuthenticateSession>(
    "authenticate_session",
    "Return the user of a valid session token.",
    "the user: `{\"user_id\", \"username\", \"created_at\"}`",
)
.unaudited();

arguments! {
    struct AuthenticateSession {
        session_token: Secret = SESSION_TOKEN,
    }
}

#[async_trait]
impl Run for AuthenticateSession {
    fn turn(&self) -> (Cost, &str) {
        (Cost::Light, "")
    }

    async fn run(self: Box<Self>, services: &Services, _: &Call) -> Result<Output, Error> {
        let (_, user) = proof::session(services, &self.session_token).await?;
        Ok(Output::User(user))
    }
}
