//! `user.create_session`

use async_trait::async_trait;

use super::signature::{CODE, USERNAME};
use super::{
    Action, Arguments, Call, Cost, Kind, Output, Parameter, Services, Signature, proof,
    retry_on_conflict,
};
use crate::credentials::SessionToken;
use crate::error::Error;
use crate::events::{Event, EventKind};
use crate::store::NewSession;

/// Logs a user in: makes a session.
pub(super) struct CreateSession;

static SIGNATURE: Signature = Signature {
    name: "create_session",
    parameters: &[
        USERNAME,
        Parameter::required("password", Kind::Password, "Password of the user."),
        CODE,
        Parameter::optional(
            "expires_at",
            Kind::Time,
            "When the session ends: seconds since the epoch or ISO 8601, UTC unless it has an \
             offset. Without it the session does not expire.",
        ),
    ],
    keywords_of: None,
    doc: "Log a user in. The token in the reply proves it from then on; it is shown this once.",
    returns: "`{\"session_token\", \"user_id\", \"username\", \"created_at\", \"expires_at\"}`",
};

#[async_trait]
impl Action for CreateSession {
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
        let password = arguments.secret("password")?;
        let code = arguments.optional_secret("code")?;
        let expires_at = arguments.time("expires_at")?;

        retry_on_conflict(|| async {
            let verified =
                proof::prove(services, call, &username, &password, code.as_ref()).await?;
            let token = SessionToken::generate()?;
            let new = NewSession {
                token: token.hash(),
                created_at: services.clock.now(),
                expires_at,
            };
            let answer = move |(session, user): &_| Output::session(token.clone(), session, user);
            let outcome = call.outcome(answer.clone())?;
            let made = services
                .store
                .create_session(new, verified.precondition, outcome)
                .await?;
            call.notes.event(|| {
                let (session, user) = &made;
                let (session_id, expires_at) = (session.id(), session.expires_at);
                Event::of(
                    user,
                    EventKind::SessionCreated {
                        session_id,
                        expires_at,
                    },
                )
            });
            Ok(answer(&made))
        })
        .await
    }
}
