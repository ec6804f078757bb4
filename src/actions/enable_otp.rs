//! `user.enable_otp`

use async_trait::async_trait;

use super::output;
use super::signature::{CODE, PASSWORD, USERNAME};
use super::{
    Action, Arguments, Call, Cost, Kind, Output, Parameter, Services, Signature, proof,
    retry_on_conflict,
};
use crate::clock::Iso;
use crate::credentials::{BackupCode, TotpSecret};
use crate::error::Error;
use crate::events::{Event, EventKind};
use secrecy::ExposeSecret as _;

/// Switches a user's second factor on.
pub(super) struct EnableOtp;

static SIGNATURE: Signature = Signature {
    name: "enable_otp",
    parameters: &[
        USERNAME,
        PASSWORD,
        Parameter::optional(
            "otp_secret",
            Kind::Secret,
            "The secret that dry_run proposed, or one of your own: base32, 128 to 512 bits.",
        ),
        CODE,
        Parameter::optional("dry_run", Kind::Flag, "Propose a secret and store nothing."),
    ],
    keywords_of: None,
    doc: "Switch the second factor of a user on: first with dry_run, to set up an authenticator with the proposed secret, then with that otp_secret and a code that the authenticator shows. That code is used then. (Not in Platypush's own plugin.)",
    returns: "`{\"username\", \"otp_secret\", \"otp_uri\", \"qrcode\", \"backup_codes\"}`; the ten backup codes, each good once, are shown this once; `qrcode` is null where the URI is too long for a QR code",
};

#[async_trait]
impl Action for EnableOtp {
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
        let secret = arguments.optional_secret("otp_secret")?;
        let code = arguments.optional_secret("code")?;
        let dry_run = arguments.flag("dry_run")?;
        let secret = match secret {
            Some(secret) => TotpSecret::from_base32(secret.expose_secret())?,
            None if dry_run => TotpSecret::generate()?,
            None => return Err(Error::BadOtpSecret),
        };
        retry_on_conflict(|| async {
            let proved = proof::prove(services, call, &username, &password, None).await;
            let verified = match proved {
                Err(Error::MissingCode) => {
                    call.notes.refusal(None);
                    return Err(Error::OtpEnabled(username.clone()));
                }
                proved => proved?,
            };
            // Not before: drawing the picture takes longer than a look-up, and
            // anybody can ask.
            let enrolment = Enrolment::new(services, &username, &secret)?;
            if dry_run {
                call.notes.refusal(Some("proposed"));
                if verified.user.failures.count > 0 {
                    let proposed = enrolment.clone();
                    let outcome = call.outcome(move |()| proposed.answer(Vec::new()))?;
                    services
                        .store
                        .accept(verified.precondition, outcome)
                        .await?;
                }
                return Ok(enrolment.answer(Vec::new()));
            }
            let code = code.as_ref().ok_or(Error::MissingCode)?;
            let made =
                services
                    .credentials
                    .new_second_factor(&verified.user, &enrolment.secret, code)?;
            let Some((factor, codes)) = made else {
                call.notes.refusal(Some("invalid_otp_code"));
                let failure = services.credentials.failure_of(verified);
                let now = Iso(services.clock.now()).to_string();
                let left = now.clone();
                let answer = move || Err(Error::WrongEnrolmentCode { now: left });
                proof::count(services, call, &username, failure, answer).await?;
                return Err(Error::WrongEnrolmentCode { now });
            };
            let (left, its_codes) = (enrolment.clone(), codes.clone());
            let outcome = call.outcome(move |()| left.answer(its_codes))?;
            services
                .store
                .set_second_factor(verified.precondition, Some(factor), outcome)
                .await?;
            call.notes
                .event(|| Event::of(&verified.user, EventKind::OtpEnabled {}));
            Ok(enrolment.answer(codes))
        })
        .await
    }
}

/// What the user's authenticator needs.
#[derive(Clone)]
struct Enrolment {
    username: String,
    secret: TotpSecret,
    uri: String,
    picture: Option<String>,
}

impl Enrolment {
    fn new(services: &Services, username: &str, secret: &TotpSecret) -> Result<Self, Error> {
        let (uri, picture) = secret.enrolment(&services.issuer, username)?;
        Ok(Self {
            username: username.to_owned(),
            secret: secret.clone(),
            uri,
            picture,
        })
    }

    fn answer(&self, backup_codes: Vec<BackupCode>) -> Output {
        Output::Enrolment(output::Enrolment {
            username: self.username.clone(),
            otp_secret: self.secret.clone(),
            otp_uri: self.uri.clone().into(),
            qrcode: self
                .picture
                .as_ref()
                .map(|picture| format!("data:image/png;base64,{picture}").into()),
            backup_codes,
        })
    }
}
