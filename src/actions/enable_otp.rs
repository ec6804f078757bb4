//! `user.enable_otp`

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};

use super::parameter::{CODE, PASSWORD, USERNAME};
use super::{Action, Call, Cost, Name, Output, Password, Run, Secret, output, proof};
use crate::arguments;
use crate::clock::Iso;
use crate::credentials::{TotpSecret, Verified};
use crate::error::Error;
use crate::events::{Event, EventKind};
use crate::services::{Services, retry_on_conflict};

pub(super) const ACTION: Action = Action::new::<EnableOtp>(
    "enable_otp",
    "Switch the second factor of a user on: first with dry_run, to set up an authenticator with the \
     proposed secret, then with that otp_secret and a code that the authenticator shows. The code is \
     used up by that. (Not in Platypush's own plugin.)",
    "`{\"username\", \"otp_secret\", \"otp_uri\", \"qrcode\", \"backup_codes\"}`; the ten backup codes, each \
     valid once, are shown this once; `qrcode` is null if the URI is too long for a QR code",
);

arguments! {
    struct EnableOtp {
        username: Name = USERNAME,
        password: Password = PASSWORD,
        otp_secret: Option<Secret> = "The secret that dry_run proposed, or one of your own: base32, 128 to 512 bits.",
        code: Option<Secret> = CODE,
        dry_run: bool = "Propose a secret and store nothing.",
    }
}

#[async_trait]
impl Run for EnableOtp {
    fn cost(&self) -> Cost {
        Cost::Hash
    }

    fn turn_name(&self) -> &str {
        &self.username.0
    }

    async fn run(self: Box<Self>, services: &Services, call: &Call) -> Result<Output, Error> {
        let secret = match &self.otp_secret {
            Some(secret) => TotpSecret::from_base32(secret.0.expose_secret())?,
            None if self.dry_run => TotpSecret::generate()?,
            None => return Err(Error::BadOtpSecret),
        };
        let login = proof::Login::new(&self.username, &self.password, None);
        retry_on_conflict(|| async {
            let verified = match proof::authenticate(services, call, login).await {
                Err(Error::MissingCode) => {
                    call.notes.refusal(None);
                    return Err(Error::OtpEnabled(login.username.to_owned()));
                }
                verified => verified?,
            };
            // Only after the password check: drawing the QR code takes longer than a look-up, and
            // any client can send a request.
            let enrolment = Enrolment::new(services, login.username, &secret)?;
            if self.dry_run {
                propose(services, call, verified, enrolment).await
            } else {
                self.enable(services, call, verified, enrolment).await
            }
        })
        .await
    }
}

/// Answers a dry run. As after any success, earlier failed attempts are reset.
async fn propose(
    services: &Services,
    call: &Call,
    verified: Verified,
    enrolment: Enrolment,
) -> Result<Output, Error> {
    call.notes.refusal(Some("proposed"));
    if verified.user.failures.count > 0 {
        let proposed = enrolment.clone();
        let outcome = call.outcome(move |()| proposed.answer(Vec::new()));
        services
            .store
            .accept(verified.precondition, outcome)
            .await?;
    }
    Ok(enrolment.answer(Vec::new()))
}

impl EnableOtp {
    async fn enable(
        &self,
        services: &Services,
        call: &Call,
        verified: Verified,
        enrolment: Enrolment,
    ) -> Result<Output, Error> {
        let code = self.code.as_ref().ok_or(Error::MissingCode)?;
        let enrolled =
            services
                .credentials
                .new_second_factor(&verified.user, &enrolment.secret, &code.0)?;
        let Some((factor, codes)) = enrolled else {
            call.notes.refusal(Some("invalid_otp_code"));
            let failure = services.credentials.failure_of(verified);
            let now = Iso(services.clock.now()).to_string();
            let checked_at = now.clone();
            let answer = move || {
                Err(Error::WrongEnrolmentCode {
                    now: checked_at.clone(),
                })
            };
            proof::count_failure(services, call, &self.username.0, failure, answer).await?;
            return Err(Error::WrongEnrolmentCode { now });
        };
        let (recorded, recorded_codes) = (enrolment.clone(), codes.clone());
        let outcome = call.outcome(move |()| recorded.answer(recorded_codes.clone()));
        services
            .store
            .set_second_factor(verified.precondition, Some(factor), outcome)
            .await?;
        call.notes
            .event(|| Event::of(&verified.user, EventKind::OtpEnabled {}));
        Ok(enrolment.answer(codes))
    }
}

/// Setup data for the user's authenticator.
#[derive(Clone)]
struct Enrolment {
    username: String,
    secret: TotpSecret,
    uri: String,
    qr_code: Option<String>,
}

impl Enrolment {
    fn new(services: &Services, username: &str, secret: &TotpSecret) -> Result<Self, Error> {
        let (uri, qr_code) = secret.enrolment(&services.issuer, username)?;
        Ok(Self {
            username: username.to_owned(),
            secret: secret.clone(),
            uri,
            qr_code,
        })
    }

    fn answer(&self, backup_codes: Vec<SecretString>) -> Output {
        Output::Enrolment(output::Enrolment {
            username: self.username.clone(),
            otp_secret: self.secret.clone(),
            otp_uri: self.uri.clone().into(),
            qrcode: self
                .qr_code
                .as_ref()
                .map(|png| format!("data:image/png;base64,{png}").into()),
            backup_codes,
        })
    }
}
