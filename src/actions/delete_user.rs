//! `user.delete_user`

use async_trait::async_trait;

use super::parameter::{EXECUTING_SESSION, EXECUTING_USER, EXECUTING_USER_PASSWORD, USERNAME};
use super::{Action, Call, Cost, Name, Output, Password, Run, Secret, proof};
use crate::arguments;
use crate::audit::Identity;
use crate::error::Error;
use crate::events::{Event, EventKind};
use crate::services::{Services, retry_on_conflict};
use crate::store::{StoreError, StoreExt as _, operations};

pub(super) const ACTION: Action = Action::new::<DeleteUser>(
    "delete_user",
    "Delete a user. All sessions, codes and tokens of the user become invalid at once.",
    "`true`",
);

arguments! {
    struct DeleteUser {
        username: Name = USERNAME,
        executing_user: Option<Name> = EXECUTING_USER,
        executing_user_password: Option<Password> = EXECUTING_USER_PASSWORD,
        session_token: Option<Secret> = EXECUTING_SESSION,
    }
}

#[async_trait]
impl Run for DeleteUser {
    fn turn(&self) -> (Cost, &str) {
        let cost = match self.executing_user_password {
            Some(_) => Cost::Hash,
            None => Cost::Light,
        };
        (cost, self.executor().turn_name())
    }

    async fn run(self: Box<Self>, services: &Services, call: &Call) -> Result<Output, Error> {
        let username = &self.username.0;
        retry_on_conflict(|| async {
            let precondition = proof::authorize(services, call, self.executor()).await?;
            let outcome = call.outcome(|_| Output::Flag(true));
            let delete = operations::DeleteUser {
                username: username.clone(),
                precondition,
            };
            match services.store.run(delete, outcome).await {
                Err(StoreError::NoSuchUser) => {
                    let hash = services.credentials.name_hash(username);
                    call.notes.user(Identity::UnknownName(hash));
                    Err(Error::NoSuchUser(username.clone()))
                }
                other => {
                    call.notes.user(Identity::User(username.clone()));
                    let id = other?;
                    call.notes
                        .event(|| Event::of_user(id, username, EventKind::UserDeleted {}));
                    Ok(())
                }
            }
        })
        .await?;
        Ok(Output::Flag(true))
    }
}

impl DeleteUser {
    fn executor(&self) -> proof::Executor<'_> {
        proof::Executor {
            username: self.executing_user.as_ref(),
            password: self.executing_user_password.as_ref(),
            session_token: self.session_token.as_ref(),
        }
    }
}
