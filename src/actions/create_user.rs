//! `user.create_user`

use async_trait::async_trait;
use secrecy::SecretString;

use super::signature::{EXECUTING_SESSION, EXECUTING_USER, EXECUTING_USER_PASSWORD, USERNAME};
use super::{
    Action, Arguments, Call, Cost, Kind, Output, Parameter, Services, Signature,
    check_new_username, proof, retry_on_conflict,
};
use crate::audit::Who;
use crate::credentials::Executor;
use crate::error::Error;
use crate::events::{Event, EventKind};
use crate::model::User;
use crate::store::{NewUser, Precondition, StoreError};

/// Creates a user; the first one without authentication.
pub(super) struct CreateUser;

static SIGNATURE: Signature = Signature {
    name: "create_user",
    parameters: &[
        USERNAME,
        Parameter::required("password", Kind::Password, "Password of the new user."),
        EXECUTING_USER,
        EXECUTING_USER_PASSWORD,
        EXECUTING_SESSION,
    ],
    keywords_of: Some("User"),
    doc: "Create a user. The first user needs no authentication; every further one needs the \
          credentials, or a session token, of one that exists.",
    returns: "the user: `{\"user_id\", \"username\", \"created_at\"}`",
};

#[async_trait]
impl Action for CreateUser {
    fn signature(&self) -> &'static Signature {
        &SIGNATURE
    }

    fn cost(&self, _: &Arguments) -> Cost {
        Cost::Hash
    }

    async fn run(
        &self,
        services: &Services,
        call: &Call,
        mut arguments: Arguments,
    ) -> Result<Output, Error> {
        let username = arguments.text("username")?;
        check_new_username(&username, &services.limits)?;
        let password = arguments.new_password("password", &services.limits)?;
        let executor = arguments.executor()?;
        let user =
            retry_on_conflict(|| create(services, call, &username, &password, &executor)).await?;
        Ok(answer(&user))
    }
}

fn answer(user: &User) -> Output {
    Output::User(user.clone().into())
}

async fn create(
    services: &Services,
    call: &Call,
    username: &str,
    password: &SecretString,
    executor: &Executor,
) -> Result<User, Error> {
    let precondition = if !services.store.has_users().await? {
        Precondition::NoUsers
    } else if executor.is_anonymous() {
        return Err(Error::AuthenticationNeeded);
    } else {
        proof::authorize(services, call, executor).await?
    };
    call.notes
        .user(Who::UnknownName(services.credentials.name_hash(username)));
    // Before the hash, which would be in vain; the writer looks again.
    if services.store.user_by_name(username).await?.is_some() {
        call.notes.user(Who::User(username.to_owned()));
        return Err(Error::UserExists(username.to_owned()));
    }
    call.hashed();
    let new = NewUser {
        username: username.to_owned(),
        password: services.credentials.hash(password).await?,
        created_at: services.clock.now(),
    };
    let outcome = call.outcome(answer)?;
    match services.store.create_user(new, precondition, outcome).await {
        Ok(user) => {
            call.notes.user(Who::User(user.username.clone()));
            call.notes
                .event(|| Event::of(&user, EventKind::UserCreated {}));
            Ok(user)
        }
        Err(StoreError::NameTaken) => Err(Error::UserExists(username.to_owned())),
        Err(error) => Err(error.into()),
    }
}
