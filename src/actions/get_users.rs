//! `user.get_users`

use async_trait::async_trait;

use super::{Action, Arguments, Call, Cost, Output, Services, Signature};
use crate::error::Error;

/// Lists all users.
pub(super) struct GetUsers;

static SIGNATURE: Signature = Signature {
    name: "get_users",
    parameters: &[],
    keywords_of: None,
    doc: "List all users.",
    returns: "a list of users by id: `[{\"user_id\", \"username\", \"created_at\"}, …]`",
};

#[async_trait]
impl Action for GetUsers {
    fn signature(&self) -> &'static Signature {
        &SIGNATURE
    }

    fn cost(&self, _: &Arguments) -> Cost {
        Cost::Listing
    }

    fn is_audited(&self) -> bool {
        false
    }

    async fn run(&self, services: &Services, _: &Call, _: Arguments) -> Result<Output, Error> {
        Ok(Output::Users(services.store.profiles().await?))
    }
}
