//! `user.get_user_by_session`

use async_trait::async_trait;

use super::signature::SESSION_TOKEN;
use super::{Action, Arguments, Call, Cost, Output, Services, Signature};
use crate::error::Error;

/// Tells whose session a token is, and whether that user has a second factor.
pub(super) struct GetUserBySession;

static SIGNATURE: Signature = Signature {
    name: "get_user_by_session",
    parameters: &[SESSION_TOKEN],
    keywords_of: None,
    doc: "Tell whose session a token is, if it is valid, and whether that user has a second \
          factor.",
    returns: "the user: `{\"user_id\", \"username\", \"created_at\", \"has_2fa\"}`",
};

#[async_trait]
impl Action for GetUserBySession {
    fn signature(&self) -> &'static Signature {
        &SIGNATURE
    }

    fn cost(&self, _: &Arguments) -> Cost {
        Cost::Light
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
        let (_, user) = services
            .credentials
            .session(&token)
            .await?
            .ok_or(Error::NoUserForSession)?;
        Ok(Output::UserOfSession(user))
    }
}
