//! `user.delete_user`

use async_trait::async_trait;

use super::signature::{EXECUTING_SESSION, EXECUTING_USER, EXECUTING_USER_PASSWORD, USERNAME};
use super::{Action, Arguments, Call, Cost, Output, Services, Signature, proof, retry_on_conflict};
use crate::audit::Who;
use crate::error::Error;
use crate::events::{Event, EventKind};
use crate::store::StoreError;

/// Deletes a user with all that belongs to it.
pub(super) struct DeleteUser;

static SIGNATURE: Signature = Signature {
    name: "delete_user",
    parameters: &[
        USERNAME,
        EXECUTING_USER,
        EXECUTING_USER_PASSWORD,
        EXECUTING_SESSION,
    ],
    keywords_of: None,
    doc: "Delete a user. From that instant nothing of the user's is valid: sessions, second \
          factor, codes, tokens.",
    returns: "`true`",
};

#[async_trait]
impl Action for DeleteUser {
    fn signature(&self) -> &'static Signature {
        &SIGNATURE
    }

    fn cost(&self, arguments: &Arguments) -> Cost {
        if arguments.has("executing_user_password") {
            Cost::Hash
        } else {
            Cost::Light
        }
    }

    async fn run(
        &self,
        services: &Services,
        call: &Call,
        mut arguments: Arguments,
    ) -> Result<Output, Error> {
        let username = arguments.text("username")?;
        let executor = arguments.executor()?;
        retry_on_conflict(|| async {
            let precondition = proof::authorize(services, call, &executor).await?;
            let outcome = call.outcome(|_| Output::Flag(true))?;
            match services
                .store
                .delete_user(&username, precondition, outcome)
                .await
            {
                Err(StoreError::NoSuchUser) => {
                    let hash = services.credentials.name_hash(&username);
                    call.notes.user(Who::UnknownName(hash));
                    Err(Error::NoSuchUser(username.clone()))
                }
                other => {
                    call.notes.user(Who::User(username.clone()));
                    let id = other?;
                    call.notes
                        .event(|| Event::of_user(id, &username, EventKind::UserDeleted {}));
                    Ok(())
                }
            }
        })
        .await?;
        Ok(Output::Flag(true))
    }
}
