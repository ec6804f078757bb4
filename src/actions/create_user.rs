//! `user.create_user`

use async_trait::async_trait;
use secrecy::ExposeSecret as _;

use super::parameter::{EXECUTING_SESSION, EXECUTING_USER, EXECUTING_USER_PASSWORD, USERNAME};
use super::{Action, Call, Cost, Name, Output, Password, Run, Secret, proof};
use crate::arguments;
use crate::audit::Identity;
use crate::error::Error;
use crate::events::{Event, EventKind};
use crate::model::User;
use crate::services::{Services, retry_on_conflict};
use crate::store::{Precondition, StoreError, StoreExt as _, operations};

pub(super) const ACTION: Action = Action::new::<CreateUser>(
    "create_user",
    "Create a user. The first user needs no authentication; every further one needs the \
     credentials or a session token of an existing user.",
    "the user: `{\"user_id\", \"username\", \"created_at\"}`",
)
.with_keywords_of("User");

arguments! {
    struct CreateUser {
        username: Name = USERNAME,
        password: Password = "Password of the new user.",
        executing_user: Option<Name> = EXECUTING_USER,
        executing_user_password: Option<Password> = EXECUTING_USER_PASSWORD,
        session_token: Option<Secret> = EXECUTING_SESSION,
    }
}

#[async_trait]
impl Run for CreateUser {
    fn turn(&self) -> (Cost, &str) {
        (Cost::Hash, self.executor().turn_name())
    }

    async fn run(self: Box<Self>, services: &Services, call: &Call) -> Result<Output, Error> {
        services.limits.check_new_username(&self.username.0)?;
        let password = self.password.0.expose_secret();
        services.limits.check_new_password(password)?;
        let user = retry_on_conflict(|| self.create(services, call)).await?;
        Ok(answer(&user))
    }
}

impl CreateUser {
    async fn create(&self, services: &Services, call: &Call) -> Result<User, Error> {
        let username = &self.username.0;
        let precondition = if services.store.counters().await?.users == 0 {
            Precondition::NoUsers
        } else if self.executor().is_anonymous() {
            return Err(Error::AuthenticationNeeded);
        } else {
            proof::authorize(services, call, self.executor()).await?
        };
        let unknown = services.credentials.name_hash(username);
        call.notes.user(Identity::UnknownName(unknown));
        // An early check saves the hash. The writer checks again.
        if services.store.user_by_name(username).await?.is_some() {
            call.notes.user(Identity::User(username.clone()));
            return Err(Error::UserExists(username.clone()));
        }
        call.mark_hashed();
        let create = operations::CreateUser {
            username: username.clone(),
            password: services.credentials.hash(&self.password.0).await?,
            created_at: services.clock.now(),
            precondition,
        };
        let outcome = call.outcome(answer);
        match services.store.run(create, outcome).await {
            Ok(user) => {
                call.notes.user(Identity::User(user.username.clone()));
                call.notes
                    .event(|| Event::of(&user, EventKind::UserCreated {}));
                Ok(user)
            }
            Err(StoreError::NameTaken) => Err(Error::UserExists(username.clone())),
            Err(error) => Err(error.into()),
        }
    }

    fn executor(&self) -> proof::Executor<'_> {
        proof::Executor {
            username: self.executing_user.as_ref(),
            password: self.executing_user_password.as_ref(),
            session_token: self.session_token.as_ref(),
        }
    }
}

fn answer(user: &User) -> Output {
    Output::User(user.clone().into())
}
