//! `user.delete_sessions`

use async_trait::async_trait;

use super::parameter::{CODE, PASSWORD, USERNAME};
use super::{Action, Call, Cost, Name, Output, Password, Run, Secret, Text, proof};
use crate::arguments;
use crate::error::Error;
use crate::events::{Event, EventKind};
use crate::model::TokenHash;
use crate::services::{Services, retry_on_conflict};
use crate::store::{StoreExt as _, operations};

/// A hash that no session token has.
const NO_TOKEN: TokenHash = TokenHash([0; 32]);

pub(super) const ACTION: Action = Action::new::<DeleteSessions>(
    "delete_sessions",
    "End one or all sessions of a user. (Not in Platypush's own plugin.)",
    "`true`, or `false` when there is no such session",
);

arguments! {
    struct DeleteSessions {
        username: Name = USERNAME,
        password: Password = PASSWORD,
        code: Option<Secret> = CODE,
        session_id: Option<Text> = "Id of the session, from get_sessions; without it all sessions end.",
    }
}

#[async_trait]
impl Run for DeleteSessions {
    fn turn(&self) -> (Cost, &str) {
        (Cost::Hash, &self.username.0)
    }

    async fn run(self: Box<Self>, services: &Services, call: &Call) -> Result<Output, Error> {
        let login = proof::Login::new(&self.username, &self.password, self.code.as_ref());
        let ended = retry_on_conflict(|| async {
            let verified = proof::authenticate(services, call, login).await?;
            let session = match &self.session_id {
                None => None,
                Some(Text(id)) => {
                    let sessions = services
                        .store
                        .sessions_of(verified.user.id, verified.user.generation)
                        .await?;
                    let found = sessions.iter().find(|session| session.id() == *id);
                    Some(found.map_or(NO_TOKEN, |session| session.token))
                }
            };
            let outcome = call.outcome(|ended| Output::Flag(*ended));
            let end = operations::EndSessions {
                precondition: verified.precondition,
                which: session,
            };
            let ended = services.store.run(end, outcome).await?;
            if ended {
                call.notes.event(|| {
                    let session_id = self.session_id.as_ref().map(|Text(id)| id.clone());
                    Event::of(&verified.user, EventKind::session_deleted(session_id))
                });
            }
            Ok(ended)
        })
        .await?;
        Ok(Output::Flag(ended))
    }
}
