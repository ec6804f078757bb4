//! The second factor over the queue: enrolment, backup codes, and the list and end of a user's own
//! sessions. No code is accepted twice, not even over a crash.

mod backup_codes;
mod enrolment;
mod picture;
mod races;
mod sessions;
pub mod used_secrets;

use platypush_userd::credentials::TotpSecret;
use serde_json::{Value, json};

use crate::support::{Client, Codes};

/// A user with the password `secret` and an enabled second factor. Enrolment used the code of the
/// present time step, so only [`Codes::next`] is valid.
struct Enrolled {
    name: String,
    codes: Codes,
    backup_codes: Vec<String>,
}

impl Enrolled {
    #[track_caller]
    fn new(client: &mut Client, name: &str) -> Self {
        let proposal = propose(client, name);
        let codes = codes_of(&proposal);
        let args = json!({
            "username": name, "password": "secret",
            "otp_secret": proposal["otp_secret"], "code": codes.now(),
        });
        let enrolled = client.call("enable_otp", args);
        Self {
            name: name.to_owned(),
            codes,
            backup_codes: texts(&enrolled.ok()["backup_codes"]),
        }
    }

    /// Returns the details of `authenticate_user` for the right password and this code.
    #[track_caller]
    fn details(&self, client: &mut Client, code: &str) -> Value {
        let args = json!([self.name, "secret", code, true]);
        client.call("authenticate_user", args).ok().clone()
    }

    #[track_caller]
    fn assert_accepted(&self, client: &mut Client, code: &str) {
        assert_eq!(self.details(client, code), json!([true, ""]));
    }

    #[track_caller]
    fn assert_rejected(&self, client: &mut Client, code: &str) {
        let refused = json!([false, "invalid_otp_code"]);
        assert_eq!(self.details(client, code), refused);
    }
}

/// Returns what a dry run of `enable_otp` proposes to a user with the password `secret`.
#[track_caller]
fn propose(client: &mut Client, name: &str) -> Value {
    let args = json!({"username": name, "password": "secret", "dry_run": true});
    client.call("enable_otp", args).ok().clone()
}

/// Returns the authenticator app set up with a proposal.
fn codes_of(proposal: &Value) -> Codes {
    let secret = proposal["otp_secret"].as_str().unwrap();
    Codes(TotpSecret::from_base32(secret).unwrap())
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().unwrap().iter();
    list.map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// Creates a user with the password `secret`, with the session of another user.
#[track_caller]
fn create(client: &mut Client, name: &str, session: &str) {
    let args = json!({"username": name, "password": "secret", "session_token": session});
    client.call("create_user", args).ok();
}

/// Returns whether the second factor of alice is enabled.
#[track_caller]
fn is_enabled_for_alice(client: &mut Client) -> bool {
    let args = json!(["alice", "secret", null, true]);
    let details = client.call("authenticate_user", args).ok().clone();
    if details == json!([true, ""]) {
        return false;
    }
    assert_eq!(details, json!([false, "missing_otp_code"]));
    true
}
