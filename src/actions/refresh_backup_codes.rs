//! `user.refresh_backup_codes`

use async_trait::async_trait;

use super::signature::{CODE, PASSWORD, USERNAME};
use super::{Action, Arguments, Call, Cost, Output, Signature, World, proof, until_settled};
use crate::error::Error;
use crate::events::{Act, Event};

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
        world: &World,
        call: &Call,
        mut arguments: Arguments,
    ) -> Result<Output, Error> {
        let username = arguments.text("username")?;
        let password = arguments.secret("password")?;
        let code = arguments.optional_secret("code")?;
        until_settled(|| async {
            let code = code.as_ref();
            let verified =
                proof::prove_second_factor(world, call, &username, &password, code).await?;
            let (codes, hashes) = world.credentials.new_backup_codes(&verified.user)?;
            let left = codes.clone();
            let outcome = call.outcome(move |()| Output::BackupCodes(left))?;
            world
                .store
                .replace_backup_codes(verified.witness, hashes, outcome)
                .await?;
            call.notes
                .event(|| Event::of(&verified.user, Act::BackupCodesRefreshed {}));
            Ok(Output::BackupCodes(codes))
        })
        .await
    }
}
