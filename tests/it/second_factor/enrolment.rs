//! Enabling and disabling the second factor.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::picture::QrPicture;
use super::{Enrolled, codes_of, is_enabled_for_alice, propose};
use crate::support::{Codes, Setup};

const BAD_SECRET: &str = "otp_secret must be base32 of 128 to 512 bits (26 to 103 characters): \
                          call enable_otp with dry_run to get one";

#[test]
fn a_dry_run_proposes_a_secret_and_stores_nothing() {
    let mut setup = Setup::with_alice(&[]);
    let client = &mut setup.client;
    let [first, second] = [(); 2].map(|()| propose(client, "alice"));
    let keys: Vec<_> = first.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "username",
            "otp_secret",
            "otp_uri",
            "qrcode",
            "backup_codes"
        ]
    );
    assert_eq!(first["username"], "alice");
    assert_eq!(first["backup_codes"], json!([]));
    // 160 bits in base32.
    assert_eq!(first["otp_secret"].as_str().unwrap().len(), 32);
    assert_ne!(first["otp_secret"], second["otp_secret"]);
    assert!(!is_enabled_for_alice(client));

    // Nor with a secret and a valid code in the request.
    let args = json!({
        "username": "alice", "password": "secret", "otp_secret": second["otp_secret"],
        "code": codes_of(&second).now(), "dry_run": true,
    });
    let again = client.call("enable_otp", args);
    assert_eq!(again.ok(), &second);
    assert!(!is_enabled_for_alice(client));
}

#[test]
fn the_uri_has_the_format_of_authenticator_apps() {
    let mut setup = Setup::with(&[("DEVICE_ID", "my node: küche")]);
    let client = &mut setup.client;
    let name = "alice & bob: ü/?#%";
    client.call("create_user", json!([name, "secret"])).ok();
    let proposal = propose(client, name);
    let uri = proposal["otp_uri"].as_str().unwrap();
    let rest = uri.strip_prefix("otpauth://totp/").unwrap();
    let (label, query) = rest.split_once('?').unwrap();
    // A colon would separate the issuer from the account.
    let (issuer, account) = ("platypush@my node_ küche", "alice & bob_ ü/?#%");
    assert_eq!(percent_decoded(label), format!("{issuer}:{account}"));
    let query: HashMap<_, _> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key, percent_decoded(value)))
        .collect();
    assert_eq!(query["secret"], proposal["otp_secret"].as_str().unwrap());
    assert_eq!(query["issuer"], issuer);
    // Parameters with default values may be absent.
    for (key, default) in [("algorithm", "SHA1"), ("digits", "6"), ("period", "30")] {
        let given = query.get(key).map_or(default, |value| value);
        assert_eq!(given, default);
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let digits = [rest.next().unwrap(), rest.next().unwrap()];
            u8::from_str_radix(str::from_utf8(&digits).unwrap(), 16).unwrap()
        } else {
            byte
        });
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn the_qr_code_encodes_the_uri() {
    let mut setup = Setup::with_alice(&[]);
    let proposal = propose(&mut setup.client, "alice");
    let picture = QrPicture::of_data_uri(proposal["qrcode"].as_str().unwrap());
    picture.assert_shows(proposal["otp_uri"].as_str().unwrap());
}

#[test]
fn only_a_code_of_the_secret_enables_the_second_factor() {
    let mut setup = Setup::with_alice(&[]);
    let client = &mut setup.client;
    let proposal = propose(client, "alice");
    let (secret, codes) = (&proposal["otp_secret"], codes_of(&proposal));
    let too_short = "A".repeat(24);
    for (password, secret, code, error) in [
        ("secret", secret, json!(codes.wrong()), "invalid_otp_code"),
        ("secret", secret, Value::Null, "missing_otp_code"),
        ("secret", &Value::Null, json!(codes.now()), BAD_SECRET),
        ("secret", &json!(too_short), json!(codes.now()), BAD_SECRET),
        (
            "secret",
            &json!("not base32"),
            json!(codes.now()),
            BAD_SECRET,
        ),
        ("wrong", secret, json!(codes.now()), "Invalid credentials"),
    ] {
        let args = json!({
            "username": "alice", "password": password, "otp_secret": secret, "code": code,
        });
        let reply = client.call("enable_otp", args);
        let errors = reply.errors();
        // The error ends with the time of the server.
        assert!(errors[0].starts_with(error), "{errors:?}");
        assert!(!is_enabled_for_alice(client));
    }

    // As a user types it: in groups and in lower case.
    let spaced = secret.as_str().unwrap().to_lowercase();
    let spaced = format!("{} {}", &spaced[..4], &spaced[4..]);
    let args = json!(["alice", "secret", spaced, codes.now()]);
    let on = client.call("enable_otp", args);
    for key in ["username", "otp_secret", "otp_uri", "qrcode"] {
        assert_eq!(on.ok()[key], proposal[key], "{key}");
    }
    assert_eq!(on.ok()["backup_codes"].as_array().unwrap().len(), 10);
    assert!(is_enabled_for_alice(client));
}

#[test]
fn the_enrolment_code_does_not_log_in() {
    let mut setup = Setup::with_alice(&[]);
    let client = &mut setup.client;
    let proposal = propose(client, "alice");
    let codes = codes_of(&proposal);
    let code = codes.now();
    let args = json!(["alice", "secret", proposal["otp_secret"], code]);
    client.call("enable_otp", args).ok();
    let login = |code: &str| ("create_session", json!(["alice", "secret", code]));
    let (action, args) = login(&code);
    client.call(action, args).fails("invalid_otp_code");
    let (action, args) = login(&codes.next());
    client.call(action, args).ok();
}

#[test]
fn an_enabled_second_factor_is_not_enabled_again() {
    let mut setup = Setup::with_alice(&[]);
    let client = &mut setup.client;
    let alice = Enrolled::new(client, "alice");
    let other = Codes::of("other");
    let enable = |password: &str, dry_run: bool| {
        json!({
            "username": "alice", "password": password, "otp_secret": other.0.to_base32().as_str(),
            "code": other.now(), "dry_run": dry_run,
        })
    };
    for dry_run in [false, true] {
        let reply = client.call("enable_otp", enable("secret", dry_run));
        reply.fails("2FA is already enabled for alice: disable it first");
        // With a wrong password, the error does not show that it is enabled.
        let reply = client.call("enable_otp", enable("wrong", dry_run));
        reply.fails("Invalid credentials");
    }
    alice.assert_rejected(client, &other.next());
    alice.assert_accepted(client, &alice.codes.next());
}

#[test]
fn a_code_disables_the_second_factor_and_its_backup_codes() {
    let mut setup = Setup::with_alice(&[]);
    let client = &mut setup.client;
    let disable = |code: Value| ("disable_otp", json!(["alice", "secret", code]));
    let alice = Enrolled::new(client, "alice");
    for (code, error) in [
        (Value::Null, "missing_otp_code"),
        (json!(alice.codes.wrong()), "invalid_otp_code"),
    ] {
        let (action, args) = disable(code);
        client.call(action, args).fails(error);
    }
    let args = json!(["alice", "wrong", alice.codes.next()]);
    client
        .call("disable_otp", args)
        .fails("Invalid credentials");
    assert!(is_enabled_for_alice(client));

    let (action, args) = disable(json!(alice.codes.next()));
    assert_eq!(client.call(action, args).ok(), true);
    assert!(!is_enabled_for_alice(client));
    for code in [Value::Null, json!(alice.codes.next())] {
        let (action, args) = disable(code);
        let reply = client.call(action, args);
        reply.fails("2FA is not enabled for alice");
    }

    let anew = Enrolled::new(client, "alice");
    anew.assert_rejected(client, &alice.backup_codes[0]);
    let (action, args) = disable(json!(anew.backup_codes[0]));
    assert_eq!(client.call(action, args).ok(), true);
    assert!(!is_enabled_for_alice(client));
}

#[test]
fn a_user_with_a_second_factor_cannot_execute_by_password_alone() {
    let mut setup = Setup::with_alice(&[]);
    let client = &mut setup.client;
    let alice = Enrolled::new(client, "alice");
    for (action, mut args) in [
        ("create_user", json!({"username": "bob", "password": "x"})),
        ("delete_user", json!({"username": "alice"})),
    ] {
        args["executing_user"] = json!("alice");
        args["executing_user_password"] = json!("secret");
        let reply = client.call(action, args);
        reply.fails("Invalid credentials and/or session_token");
    }
    let args = json!(["alice", "secret", alice.codes.next()]);
    let session = client.call("create_session", args).ok()["session_token"].clone();
    super::create(client, "bob", session.as_str().unwrap());
}
