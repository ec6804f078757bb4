//! `user.create_session`

use async_trait::async_trait;

use super::parameter::{CODE, PASSWORD, USERNAME};
use super::{Action, Call, Cost, Name, Output, Password, Run, Secret, proof};
use crate::arguments;
use crate::clock::Timestamp;
use crate::credentials::{new_session_token, token_hash};
use crate::error::Error;
use crate::events::{Event, EventKind};
use crate::services::{Services, retry_on_conflict};
use crate::store::{StoreExt as _, operations};

pub(super) const ACTION: Action = Action::new::<CreateSession>(
    "create_session",
    "Log a user in. The token in the reply authenticates the user from then on; it is shown \
     this once.",
    "`{\"session_token\", \"user_id\", \"username\", \"created_at\", \"expires_at\"}`",
);

arguments! {
    struct CreateSession {
        username: Name = USERNAME,
        password: Password = PASSWORD,
        code: Option<Secret> = CODE,
        expires_at: Option<Timestamp> = "When the session ends: seconds since the epoch or ISO 8601, UTC \
         unless it has an offset. Without it the session does not expire.",
    }
}

#[async_trait]
impl Run for CreateSession {
    fn turn(&self) -> (Cost, &str) {
        (Cost::Hash, &self.username.0)
    }

    async fn run(self: Box<Self>, services: &Services, call: &Call) -> Result<Output, Error> {
        let login = proof::Login::new(&self.username, &self.password, self.code.as_ref());
        retry_on_conflict(|| async {
            let verified = proof::authenticate(services, call, login).await?;
            let token = new_session_token()?;
            let create = operations::CreateSession {
                token: token_hash(&token),
                created_at: services.clock.now(),
                expires_at: self.expires_at,
                precondition: verified.precondition,
            };
            let answer = move |(session, user): &_| Output::session(token.clone(), session, user);
            let outcome = call.outcome(answer.clone());
            let created = services.store.run(create, outcome).await?;
            call.notes.event(|| {
                let (session, user) = &created;
                let kind = EventKind::SessionCreated {
                    session_id: session.id(),
                    expires_at: session.expires_at,
                };
                Event::of(user, kind)
            });
            Ok(answer(&created))
        })
        .await
    }
}
