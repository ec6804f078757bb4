//! Reads the samples that Platypush wrote, and checks every secret of them.

use std::collections::HashMap;

use secrecy::SecretString;
use serde_json::Value;

use super::*;
use crate::clock::Iso;
use crate::credentials::token_hash;
use crate::model::ApiTokenRecord;
use crate::transfer::ImportedUserRecord;
use crate::transfer::platypush::ReadProgress;

fn found() -> NodeContents {
    read_at(&sample("workdir")).unwrap()
}

fn texts(list: &Value) -> Vec<&str> {
    let list = list.as_array().map_or(&[][..], Vec::as_slice);
    list.iter().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn every_password_matches_and_no_other() {
    let (found, secrets) = (found(), json("secrets.json"));
    let secrets = secrets["users"].as_object().unwrap();
    assert_eq!(found.users.len(), secrets.len());
    for (name, secret) in secrets {
        let user = user(&found, name);
        assert!(
            is_right(secret["password"].as_str().unwrap(), &user.password),
            "{name}"
        );
        for wrong in ["", name, secret["old_password"].as_str().unwrap_or("x")] {
            assert!(!is_right(wrong, &user.password), "{name}: {wrong}");
        }
    }
}

#[test]
fn every_second_factor_is_decrypted() {
    let (found, secrets) = (found(), json("secrets.json"));
    for (name, secret) in secrets["users"].as_object().unwrap() {
        let totp = imported(&found, name).totp_secret.as_ref();
        let totp = totp.map(|secret| secret.to_base32().to_string());
        assert_eq!(totp.as_deref(), secret["otp_secret"].as_str(), "{name}");
    }
}

#[test]
fn every_valid_backup_code_matches_and_no_other() {
    let (found, secrets) = (found(), json("secrets.json"));
    let mut count = 0;
    for (name, secret) in secrets["users"].as_object().unwrap() {
        let codes = backup_codes(user(&found, name));
        let valid = [&secret["backup_codes_valid"], &secret["backup_codes"]]
            .map(texts)
            .concat();
        assert_eq!(codes.len(), valid.len(), "{name}");
        for (code, text) in codes.iter().zip(&valid) {
            assert!(is_right(text, &code.record), "{name}: {text}");
            let expiry = code.expires_at.map(|at| Iso(at).to_string()).unwrap();
            assert!(expiry.starts_with("2026-12-24T02:36:"), "{expiry}");
        }
        let spent = [
            &secret["backup_codes_used"],
            &secret["backup_codes_expired"],
        ];
        for text in spent.map(texts).concat() {
            assert!(
                !codes.iter().any(|code| is_right(text, &code.record)),
                "{text}"
            );
        }
        count += codes.len();
    }
    assert_eq!(count, 26);
}

#[test]
fn every_valid_api_token_matches_and_no_other() {
    let (found, secrets) = (found(), json("secrets.json"));
    let mut count = 0;
    for (name, secret) in secrets["users"].as_object().unwrap() {
        let known = &user(&found, name).api_tokens;
        let tokens = secret["api_tokens"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        for token in tokens {
            let text = token["token"].as_str().unwrap();
            let right = known.iter().find(|known| is_right(text, record(known)));
            // Platypush itself accepts no token of a bcrypt user.
            if token["valid"] == false {
                assert!(right.is_none(), "{text}");
                continue;
            }
            let right = right.expect(text);
            count += 1;
            match token["name"].as_str().unwrap() {
                "(auto)" => assert_eq!(right.name, "tokenuser__USOUENYP"),
                name => assert_eq!(right.name, name),
            }
            let expiry = right.expires_at.map(|at| format!("{}+00:00", Iso(at)));
            assert_eq!(expiry.as_deref(), token["expires_at"].as_str());
        }
    }
    assert_eq!(count, 5);
    assert_eq!(
        found
            .users
            .iter()
            .map(|imported| imported.user.api_tokens.len())
            .sum::<usize>(),
        5
    );
}

#[test]
fn every_valid_session_is_read() {
    let (found, secrets) = (found(), json("secrets.json"));
    let sessions = secrets["users"]["tokenuser"]["sessions"]
        .as_array()
        .unwrap();
    let known = &imported(&found, "tokenuser").sessions;
    let known: HashMap<_, _> = known
        .iter()
        .map(|session| (session.token, session))
        .collect();
    assert_eq!(known.len(), 2);
    for session in sessions {
        let token = SecretString::from(session["session_token"].as_str().unwrap());
        let found = known.get(&token_hash(&token));
        assert_eq!(found.is_some(), session["valid"] == true);
        if let Some(found) = found {
            let expiry = found.expires_at.map(|at| format!("{}+00:00", Iso(at)));
            assert_eq!(expiry.as_deref(), session["expires_at"].as_str());
        }
    }
    let all = found.users.iter().map(|user| user.sessions.len());
    assert_eq!(all.sum::<usize>(), 2);
}

#[test]
fn skipped_records_are_listed_with_reasons() {
    let found = found();
    let skipped: Vec<_> = found.skipped.iter().map(ToString::to_string).collect();
    let expected = [
        "API token \"orphan-token\" (row 7): its user, number 999, does not exist",
        "session (row 4): its user, number 999, does not exist",
        "backup code of user \"otpuser\" (row 20): it expired at 2026-11-23T02:36:18.265083",
        "API token \"expired\" of user \"tokenuser\" (row 4): it expired at 2026-11-23T02:36:18.965413",
        "session of user \"tokenuser\" (row 3): it expired at 2026-11-23T02:36:19.259538",
    ];
    assert_eq!(skipped, expected);
}

#[test]
fn a_missing_time_of_creation_is_the_time_of_reading() {
    let found = found();
    let created = |name| Iso(user(&found, name).created_at).to_string();
    assert_eq!(created("legacy"), "2026-11-24T02:36:07.992624");
    assert_eq!(created("modern"), Iso(now()).to_string());
    let tokens = &user(&found, "tokenuser").api_tokens;
    assert_eq!(
        Iso(tokens[0].created_at).to_string(),
        "2026-11-24T02:36:19.035878"
    );
}

#[test]
fn a_node_without_salts_and_second_factors_is_read() {
    let found = read_at(&sample("legacy-0.50.3")).unwrap();
    assert_eq!((found.users.len(), found.skipped.len()), (1, 0));
    let imported = imported(&found, "oldtimer");
    let user = &imported.user;
    assert!(is_right("old-Passw0rd!", &user.password));
    assert!(!is_right("old-Passw0rd", &user.password));
    assert!(imported.totp_secret.is_none() && user.second_factor.is_none());
    assert!(user.api_tokens.is_empty());
    let token = "b5e81cc23f8857eb3f3a13c1fa308a2bcfb09712791c02f79772bb7d02b477e0";
    assert_eq!(imported.sessions.len(), 1);
    assert_eq!(
        imported.sessions[0].token,
        token_hash(&SecretString::from(token))
    );
}

#[test]
fn reading_is_repeatable_and_reports_progress() {
    let mut seen = Vec::new();
    let again = read(&node_paths(&sample("workdir")), now(), &mut |progress| {
        seen.push(progress)
    });
    assert_eq!(again.unwrap(), found());
    let expected: Vec<_> = (1..=8)
        .map(|done| ReadProgress { done, total: 8 })
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn users_survive_json_and_print_no_secret() {
    for imported in found().users {
        let json = serde_json::to_string(&ImportedUserRecord::of(&imported)).unwrap();
        let again: ImportedUserRecord = serde_json::from_str(&json).unwrap();
        let printed = format!("{imported:?} {again:?}");
        let again = again.into_user().unwrap();
        assert_eq!(again, imported);

        let factor = imported.user.second_factor.iter();
        let codes = factor.flat_map(|factor| &factor.imported_codes);
        let codes = codes.map(|code| code.record.expose().to_owned());
        let tokens = imported
            .user
            .api_tokens
            .iter()
            .map(|token| match &token.record {
                ApiTokenRecord::Imported(record) => record.expose().to_owned(),
                ApiTokenRecord::Hash(_) => panic!("a node has no such token"),
            });
        let secret = imported
            .totp_secret
            .iter()
            .map(|secret| secret.to_base32().to_string());
        let sessions = imported
            .sessions
            .iter()
            .map(|session| hex::encode(session.token.0));
        let password = [imported.user.password.expose().to_owned()];
        for secret in codes
            .chain(tokens)
            .chain(secret)
            .chain(sessions)
            .chain(password)
        {
            assert!(json.contains(&secret) && !printed.contains(&secret));
        }
    }
}
