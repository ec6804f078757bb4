//! Table of the operations with a password precondition.

use platypush_userd::model::CodeUse;
use platypush_userd::store::{PasswordPrecondition, Precondition, Result, Store};

use super::bench::{factor, new_session, new_user, noon, record, token};
use crate::store_changes::{Changes as _, NewApiToken};

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Operation {
    CreateUser,
    SetPassword,
    SetPasswordAndRevoke,
    Accept,
    SwitchFactorOn,
    SwitchFactorOff,
    CreateSession,
    EndSession,
    EndSessions,
    CreateApiToken,
    DeleteUser,
}

impl Operation {
    /// All operations. The deletion of the user is the last.
    pub const ALL: [Self; 11] = [
        Self::CreateUser,
        Self::SetPassword,
        Self::SetPasswordAndRevoke,
        Self::Accept,
        Self::SwitchFactorOn,
        Self::SwitchFactorOff,
        Self::CreateSession,
        Self::EndSession,
        Self::EndSessions,
        Self::CreateApiToken,
        Self::DeleteUser,
    ];

    /// Runs the operation for the precondition's user `name`. `number` distinguishes its effects
    /// from the effects of other runs.
    pub async fn run(
        self,
        store: &dyn Store,
        name: &str,
        precondition: PasswordPrecondition,
        number: u64,
    ) -> Result<()> {
        let password = record(&format!("changed-{number}"));
        match self {
            Self::CreateUser => {
                let user = new_user(&format!("created-{number}"));
                let created = store
                    .create_user(user, Precondition::Password(precondition), None)
                    .await;
                created.map(drop)
            }
            Self::CreateApiToken => {
                let new = NewApiToken {
                    name: format!("made-{number}"),
                    token: token(number),
                    name_in_token: None,
                    created_at: noon(),
                    expires_at: None,
                };
                store
                    .create_api_token(new, 100, precondition, None)
                    .await
                    .map(drop)
            }
            Self::SetPassword => {
                let changed = store
                    .set_password(precondition, password, false, None)
                    .await;
                changed.map(drop)
            }
            Self::SetPasswordAndRevoke => {
                let changed = store.set_password(precondition, password, true, None).await;
                changed.map(drop)
            }
            Self::Accept => store.accept(precondition, None).await,
            Self::SwitchFactorOn => {
                let last_step = match precondition.code {
                    Some(CodeUse::Step(step)) => step,
                    _ => 0,
                };
                let on = Some(factor(last_step));
                store.set_second_factor(precondition, on, None).await
            }
            Self::SwitchFactorOff => store.set_second_factor(precondition, None, None).await,
            Self::CreateSession => {
                let session = new_session(number, None);
                store
                    .create_session(session, precondition, None)
                    .await
                    .map(drop)
            }
            Self::EndSession => {
                let token = Some(token(number));
                store
                    .end_sessions(precondition, token, None)
                    .await
                    .map(drop)
            }
            Self::EndSessions => store.end_sessions(precondition, None, None).await.map(drop),
            Self::DeleteUser => store
                .delete_user(name, Precondition::Password(precondition), None)
                .await
                .map(drop),
        }
    }
}
