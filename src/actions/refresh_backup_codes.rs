//! `user.refresh_backup_codes`

use async_trait::async_trait;

use super::signature::{CODE, PASSWORD, USERNAME};
use super::{Action, Arguments, Call, Cost, Output, Signature, World, proof, until_settled};
use crate::error::Error;

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
        let username = arguments.username(&world.limits)?;
        let password = arguments.password("password", &world.limits)?;
        let code = arguments.optional_secret("code")?;
        until_settled(|| async {
            let verified = proof::prove(world, call, &username, &password, code.as_ref()).await?;
            if verified.user.second_factor.is_none() {
                return Err(Error::OtpNotEnabled(username.clone()));
            }
            let (codes, hashes) = world.credentials.new_backup_codes(&verified.user)?;
            let answer = move |()| Output::BackupCodes(codes.clone());
            let outcome = call.outcome({
                let answer = answer.clone();
                move |()| answer(())
            })?;
            world
                .store
                .replace_backup_codes(verified.witness, hashes, outcome)
                .await?;
            Ok(answer(()))
        })
        .await
    }
}
