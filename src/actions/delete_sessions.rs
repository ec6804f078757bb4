//! `user.delete_sessions`

use async_trait::async_trait;

use super::signature::{CODE, PASSWORD, USERNAME};
use super::{
    Action, Arguments, Call, Cost, Kind, Output, Parameter, Services, Signature, proof,
    retry_on_conflict,
};
use crate::error::Error;
use crate::events::{Event, EventKind};
use crate::model::TokenHash;

/// Hash of nothing that was ever handed out.
const NO_TOKEN: TokenHash = TokenHash([0; 32]);

/// Ends one or all sessions of a user.
pub(super) struct DeleteSessions;

static SIGNATURE: Signature = Signature {
    name: "delete_sessions",
    parameters: &[
        USERNAME,
        PASSWORD,
        CODE,
        Parameter::optional(
            "session_id",
            Kind::Text,
            "Which session, by its id in get_sessions; without it all of them.",
        ),
    ],
    keywords_of: None,
    doc: "End one or all of one's own sessions. (Not in Platypush's own plugin.)",
    returns: "`true`, or `false` when there is no such session",
};

#[async_trait]
impl Action for DeleteSessions {
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
        let session_id = arguments.optional_text("session_id")?;
        let ended = retry_on_conflict(|| async {
            let verified =
                proof::prove(services, call, &username, &password, code.as_ref()).await?;
            let which = match &session_id {
                None => None,
                Some(id) => {
                    let sessions = services
                        .store
                        .sessions_of(verified.user.id, verified.user.generation)
                        .await?;
                    let found = sessions.iter().find(|session| session.id() == *id);
                    // One that is not there has the hash of no token.
                    Some(found.map_or(NO_TOKEN, |session| session.token))
                }
            };
            let outcome = call.outcome(|ended| Output::Flag(*ended))?;
            let ended = services
                .store
                .end_sessions(verified.precondition, which, outcome)
                .await?;
            if ended {
                call.notes.event(|| {
                    let act = session_id
                        .clone()
                        .map_or_else(EventKind::all_sessions_deleted, EventKind::session_deleted);
                    Event::of(&verified.user, act)
                });
            }
            Ok(ended)
        })
        .await?;
        Ok(Output::Flag(ended))
    }
}
