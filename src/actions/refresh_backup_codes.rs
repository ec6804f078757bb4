//! `user.refresh_backup_codes`

use async_trait::async_trait;

use super::signature::{CODE, PASSWORD, USERNAME};
use super::{Action, Arguments, Call, Cost, Output, Services, Signature, proof, retry_on_conflict};
use crate::error::Error;
use crate::events::{Event, EventKind};

/// Gives a user new backup codes.
pub(super) struct RefreshBackupCodes;

static SIGNATURE: Signature = Signature {
    name: "refresh_backup_codes",
    parameters: &[USERNAME, PASSWORD, CODE],
    keywords_of: None,
    doc: "Replace the backup codes of a user by ten new ones. They are shown this once. (Not in Platypush's own plugin.)",
    returns: "a list of ten codes",
};

#[async_trait]
impl Action for RefreshBackupCodes {
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
        retry_on_conflict(|| async {
            let code = code.as_ref();
            let verified =
                proof::prove_second_factor(services, call, &username, &password, code).await?;
            let (codes, hashes) = services.credentials.new_backup_codes(&verified.user)?;
            let left = codes.clone();
            let outcome = call.outcome(move |()| Output::BackupCodes(left))?;
            services
                .store
                .replace_backup_codes(verified.precondition, hashes, outcome)
                .await?;
            call.notes
                .event(|| Event::of(&verified.user, EventKind::BackupCodesRefreshed {}));
            Ok(Output::BackupCodes(codes))
        })
        .await
    }
}
