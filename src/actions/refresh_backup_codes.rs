//! `user.refresh_backup_codes`

use async_trait::async_trait;

use super::parameter::{CODE, PASSWORD, USERNAME};
use super::{Action, Call, Cost, Name, Output, Password, Run, Secret, proof};
use crate::arguments;
use crate::error::Error;
use crate::events::{Event, EventKind};
use crate::services::{Services, retry_on_conflict};
use crate::store::{StoreExt as _, operations};

pub(super) const ACTION: Action = Action::new::<RefreshBackupCodes>(
    "refresh_backup_codes",
    "Replace the backup codes of a user by ten new ones, which are shown this once. (Not in \
     Platypush's own plugin.)",
    "a list of ten codes",
);

arguments! {
    struct RefreshBackupCodes {
        username: Name = USERNAME,
        password: Password = PASSWORD,
        code: Option<Secret> = CODE,
    }
}

#[async_trait]
impl Run for RefreshBackupCodes {
    fn turn(&self) -> (Cost, &str) {
        (Cost::Hash, &self.username.0)
    }

    async fn run(self: Box<Self>, services: &Services, call: &Call) -> Result<Output, Error> {
        let login = proof::Login::new(&self.username, &self.password, self.code.as_ref());
        retry_on_conflict(|| async {
            let verified = proof::authenticate_with_second_factor(services, call, login).await?;
            let (codes, hashes) = services.credentials.new_backup_codes(&verified.user)?;
            let recorded = codes.clone();
            let outcome = call.outcome(move |()| Output::BackupCodes(recorded.clone()));
            let replace = operations::ReplaceBackupCodes {
                precondition: verified.precondition,
                backup_codes: hashes,
            };
            services.store.run(replace, outcome).await?;
            call.notes
                .event(|| Event::of(&verified.user, EventKind::BackupCodesRefreshed {}));
            Ok(Output::BackupCodes(codes))
        })
        .await
    }
}
