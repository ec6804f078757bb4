//! `user.get_users`

use async_trait::async_trait;

use super::{Action, Call, Cost, Output, Run};
use crate::arguments;
use crate::error::Error;
use crate::services::Services;

pub(super) const ACTION: Action = Action::new::<GetUsers>(
    "get_users",
    "List all users.",
    "a list of users by id: `[{\"user_id\", \"username\", \"created_at\"}, …]`",
)
.unaudited();

arguments! {
    struct GetUsers {}
}

#[async_trait]
impl Run for GetUsers {
    fn turn(&self) -> (Cost, &str) {
        (Cost::Listing, "")
    }

    async fn run(self: Box<Self>, services: &Services, _: &Call) -> Result<Output, Error> {
        Ok(Output::Users(services.store.profiles().await?))
    }
}
