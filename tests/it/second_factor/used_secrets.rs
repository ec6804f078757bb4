//! Used time steps belong to a secret: they block no other secret, even if the clock was wrong.

use platypush_userd::clock::{Clock as _, SystemClock};
use platypush_userd::model::{CodeUse, SecondFactor, User};
use platypush_userd::store::{PasswordPrecondition, Store as _};
use serde_json::{Value, json};

use super::{Enrolled, codes_of, is_enabled_for_alice, propose};
use crate::admin::admin;
use crate::store_changes::Changes as _;
use crate::store_conformance::bench::{proof, wait};
use crate::support::{Client, Codes, Setup, enrol, open_store, wait_until_closed};

/// Two days ahead, in steps.
const AHEAD: u64 = 2 * 24 * 60 * 2;

/// Stops the daemon and uses a code of alice in its store as if the clock were two days ahead.
/// `change` is applied to the second factor first.
pub fn use_code_two_days_ahead(setup: &mut Setup, change: impl FnOnce(&mut SecondFactor)) {
    let workdir = setup.daemon.workdir();
    assert!(setup.daemon.stop().success());
    enrol(&workdir, "alice");
    let store = open_store(&workdir).unwrap();
    let alice = || wait(store.user_by_name("alice")).unwrap().unwrap();
    let ahead = |user: &User| {
        let last_step = user.second_factor.as_ref().unwrap().last_step;
        PasswordPrecondition {
            code: Some(CodeUse::Step(last_step + AHEAD)),
            ..proof(user)
        }
    };
    let mut factor = alice().second_factor.unwrap();
    change(&mut factor);
    // Disabled and enabled again with the same secret.
    wait(store.set_second_factor(proof(&alice()), None, None)).unwrap();
    wait(store.set_second_factor(proof(&alice()), Some(factor), None)).unwrap();
    wait(store.accept(ahead(&alice()), None)).unwrap();
    drop(store);
    wait_until_closed(&workdir);
    setup.daemon.restart();
}

/// Enables the second factor of alice with this secret.
#[track_caller]
fn enable(client: &mut Client, codes: &Codes) {
    let secret = codes.0.to_base32();
    let args = json!(["alice", "secret", secret.as_str(), codes.now()]);
    client.call("enable_otp", args).ok();
}

fn details(client: &mut Client, code: &str) -> Value {
    let args = json!(["alice", "secret", code, true]);
    client.call("authenticate_user", args).ok().clone()
}

/// Regression: after `admin disable-otp` no code of a new secret was accepted
/// for two days.
#[test]
fn a_step_used_while_the_clock_was_ahead_blocks_no_new_secret() {
    let mut setup = Setup::with_alice(&[]);
    use_code_two_days_ahead(&mut setup, |_| {});
    let old = Codes::of("alice");
    let refused = json!([false, "invalid_otp_code"]);
    assert_eq!(details(&mut setup.client, &old.next()), refused);
    let workdir = setup.daemon.workdir();
    admin(&workdir, &["disable-otp", "alice"], "").ok();
    let client = &mut setup.client;
    let alice = Enrolled::new(client, "alice");
    alice.assert_accepted(client, &alice.codes.next());

    // Used steps of the old secret stay rejected.
    let args = json!(["alice", "secret", alice.backup_codes[0]]);
    client.call("disable_otp", args).ok();
    enable(client, &old);
    assert_eq!(details(client, &old.next()), refused);
}

#[test]
fn a_key_rotation_keeps_used_steps() {
    let mut setup = Setup::with_alice(&[]);
    use_code_two_days_ahead(&mut setup, |_| {});
    let workdir = setup.daemon.workdir();
    admin(&workdir, &["disable-otp", "alice"], "").ok();
    admin(&workdir, &["rotate-key"], "").ok();
    let client = &mut setup.client;
    assert!(!is_enabled_for_alice(client));
    let old = Codes::of("alice");
    enable(client, &old);
    let refused = json!([false, "invalid_otp_code"]);
    assert_eq!(details(client, &old.next()), refused);
}

/// Regression: a label that is too long for a QR code caused an "Internal error".
#[test]
fn a_label_too_long_for_a_qr_code_leaves_out_only_the_image() {
    let mut setup = Setup::with(&[("MAX_USERNAME_LENGTH", "4096")]);
    let client = &mut setup.client;
    let name = "n".repeat(4_096);
    client.call("create_user", json!([name, "secret"])).ok();
    let proposal = propose(client, &name);
    assert_eq!(proposal["qrcode"], Value::Null);
    let uri = proposal["otp_uri"].as_str().unwrap();
    assert!(uri.contains(&name), "{uri}");
    let codes = codes_of(&proposal);
    let args = json!([name, "secret", proposal["otp_secret"], codes.now()]);
    let on = client.call("enable_otp", args).ok().clone();
    assert_eq!(on["backup_codes"].as_array().unwrap().len(), 10);
    let args = json!([name, "secret", codes.next()]);
    client.call("create_session", args).ok();
}

/// Regression: a code with separators between its digits was rejected.
#[test]
fn a_code_is_accepted_with_separators() {
    let mut setup = Setup::with_alice(&[]);
    let client = &mut setup.client;
    let proposal = propose(client, "alice");
    let codes = codes_of(&proposal);
    let now = codes.now();
    let shown = format!("\u{a0}{}\u{202f}{} ", &now[..3], &now[3..]);
    let args = json!(["alice", "secret", proposal["otp_secret"], shown]);
    client.call("enable_otp", args).ok();
    assert!(is_enabled_for_alice(client));
    let next = codes.next();
    let shown = format!("{}\u{2011}{}", &next[..3], &next[3..]);
    assert_eq!(details(client, &shown), json!([true, ""]));
}

/// With the time of the server, the user can recognize a wrong clock.
#[test]
fn the_error_of_a_failed_enrolment_contains_the_time_of_the_server() {
    let mut setup = Setup::with_alice(&[]);
    let client = &mut setup.client;
    let proposal = propose(client, "alice");
    let wrong = codes_of(&proposal).wrong();
    let args = json!(["alice", "secret", proposal["otp_secret"], wrong]);
    let reply = client.call("enable_otp", args);
    let [error] = reply.errors()[..] else {
        panic!("{reply:?}");
    };
    let rest = error
        .strip_prefix("invalid_otp_code: this is no code of the otp_secret at ")
        .unwrap();
    let (time, _) = rest
        .split_once(" UTC, which is the time of the server")
        .unwrap();
    let time = chrono::NaiveDateTime::parse_from_str(time, "%Y-%m-%dT%H:%M:%S%.f").unwrap();
    let age = SystemClock.now().naive_utc() - time;
    assert!(age.num_hours().abs() < 1, "{time}");
}
