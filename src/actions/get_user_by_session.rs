//! `user.get_user_by_session`

use async_trait::async_trait;

use super::parameter::SESSION_TOKEN;
use super::{Action, Call, Cost, Output, Run, Secret};
use crate::arguments;
use crate::error::Error;
use crate::services::Services;

pub(super) const ACTION: Action = Action::new::<GetUserBySession>(
    "get_user_by_session",
    "Return the user of a valid session token, and whether the user has a second factor.",
    "the user: `{\"user_id\", \"username\", \"created_at\", \"has_2fa\"}`",
)
.unaudited();

arguments! {
    struct GetUserBySession {
        session_token: Secret = SESSION_TOKEN,
    }
}

#[async_trait]
impl Run for GetUserBySession {
    fn turn(&self) -> (Cost, &str) {
        (Cost::Light, "")
    }

    async fn run(self: Box<Self>, services: &Services, _: &Call) -> Result<Output, Error> {
        let (_, user) = services
            .credentials
            .session(&self.session_token.0)
            .await?
            .ok_or(Error::NoUserForSession)?;
        Ok(Output::UserOfSession(user))
    }
}
