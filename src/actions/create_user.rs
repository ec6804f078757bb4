//! `user.create_user`

use async_trait::async_trait;
use secrecy::SecretString;

use super::signature::{EXECUTING_SESSION, EXECUTING_USER, EXECUTING_USER_PASSWORD, USERNAME};
use super::{
    Action, Arguments, Call, Cost, Kind, Output, Parameter, Signature, World, check_new_username,
    proof, until_settled,
};
use crate::audit::Who;
use crate::credentials::Executor;
use crate::error::Error;
use crate::events::{Act, Event};
use crate::model::User;
use crate::store::{NewUser, StoreError, Witness};

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
        world: &World,
        call: &Call,
        mut arguments: Arguments,
    ) -> Result<Output, Error> {
        let username = arguments.text("username")?;
        check_new_username(&username, &world.limits)?;
        let password = arguments.new_password("password", &world.limits)?;
        let executor = arguments.executor()?;
        let user = until_settled(|| create(world, call, &username, &password, &executor)).await?;
        Ok(answer(&user))
    }
}

fn answer(user: &User) -> Output {
    Output::User(user.clone().into())
}

async fn create(
    world: &World,
    call: &Call,
    username: &str,
    password: &SecretString,
    executor: &Executor,
) -> Result<User, Error> {
    let witness = if !world.store.has_users().await? {
        Witness::NoUsers
    } else if executor.is_anonymous() {
        return Err(Error::AuthenticationNeeded);
    } else {
        proof::authorize(world, call, executor).await?
    };
    call.notes
        .user(Who::Nobody(world.credentials.name_hash(username)));
    // Before the hash, which would be in vain; the writer looks again.
    if world.store.user_by_name(username).await?.is_some() {
        call.notes.user(Who::User(username.to_owned()));
        return Err(Error::UserExists(username.to_owned()));
    }
    call.hashed();
    let new = NewUser {
        username: username.to_owned(),
        password: world.credentials.hash(password).await?,
        created_at: world.clock.now(),
    };
    let outcome = call.outcome(answer)?;
    match world.store.create_user(new, witness, outcome).await {
        Ok(user) => {
            call.notes.user(Who::User(user.username.clone()));
            call.notes.event(|| Event::of(&user, Act::UserCreated {}));
            Ok(user)
        }
        Err(StoreError::NameTaken) => Err(Error::UserExists(username.to_owned())),
        Err(error) => Err(error.into()),
    }
}
