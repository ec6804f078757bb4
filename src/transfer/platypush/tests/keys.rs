//! The key of the second factors: needed or not, missing, invalid or wrong.

use super::*;

fn ciphertext(text: &str) -> String {
    json("sealed_otp.json")[text].as_str().unwrap().to_owned()
}

const SPACED: &str = "gezd gnbv gy3t qojq gezd gnbv gy3t qojq";

/// Creates a node with a user that has a second factor, but without its key.
fn node() -> Node {
    let node = Node::new();
    node.user(1, "alice").second_factor(1, &ciphertext(SPACED));
    node
}

#[test]
fn a_secret_may_contain_spaces_and_lower_case() {
    let node = node();
    let found = node.sample_key().read();
    let secret = imported(&found, "alice").totp_secret.as_ref().unwrap();
    assert_eq!(
        secret.to_base32().as_str(),
        "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    );
}

#[test]
fn the_key_may_be_elsewhere() {
    let node = node();
    let mut paths = node_paths(node.path());
    paths.otp_key = Some(sample("workdir/otp/key"));
    let found = read(&paths, now(), &mut |_| ()).unwrap();
    assert!(imported(&found, "alice").totp_secret.is_some());
}

#[test]
fn a_missing_key_is_an_error() {
    let node = node();
    let error = node.try_read().unwrap_err();
    assert!(matches!(&error, ReadError::NoKey { path, .. } if path.ends_with("otp/key")));
    assert!(
        error
            .to_string()
            .contains("not imported without their second factor"),
        "{error}"
    );
    std::fs::create_dir_all(node.path().join("otp/key")).unwrap();
    assert!(matches!(node.try_read(), Err(ReadError::NoKey { .. })));
}

#[test]
fn a_key_that_is_not_needed_is_not_read() {
    let node = Node::new();
    node.user(1, "alice").key(b"no key");
    // Second factors without a user, and of a user that is skipped.
    node.second_factor(999, "x");
    node.sql(
        "INSERT INTO user VALUES (2, 'bob', NULL, NULL, NULL, NULL)",
        &[],
    );
    node.second_factor(2, "y");
    let found = node.read();
    assert_eq!(found.users.len(), 1);
    let expected = [
        (RecordKind::SecondFactor, SkipReason::Orphaned(999)),
        (RecordKind::User, SkipReason::NoPassword),
    ];
    assert_eq!(reasons(&found), expected);
}

#[test]
fn a_file_that_is_not_a_key_is_an_error() {
    let node = node();
    let key = std::fs::read(sample("workdir/otp/key")).unwrap();
    let key = String::from_utf8(key).unwrap();
    let truncated = key.lines().take(5).collect::<Vec<_>>().join("\n");
    for text in [
        String::new(),
        "no key".into(),
        truncated,
        key.replace("RSA PRIVATE", "RSA PUBLIC"),
        key.replacen('A', "B", 40),
        "x".repeat(100_000),
    ] {
        node.key(text.as_bytes());
        assert!(
            matches!(node.try_read(), Err(ReadError::NotAKey(_))),
            "{text}"
        );
    }
    node.key(b"\xff\xfe");
    assert!(matches!(node.try_read(), Err(ReadError::NotAKey(_))));
}

#[test]
fn a_key_that_decrypts_no_second_factor_is_wrong() {
    let mut paths = node_paths(&sample("workdir"));
    paths.otp_key = Some(sample("other_key"));
    let error = read(&paths, now(), &mut |_| ()).unwrap_err();
    assert!(
        matches!(error, ReadError::WrongKey { failed: 3, .. }),
        "{error}"
    );
}

#[test]
fn a_user_whose_second_factor_is_not_decrypted_is_skipped() {
    let node = node();
    node.sample_key();
    for (id, name, secret) in [
        (2, "bob", ciphertext("hello, world!")),
        (3, "carol", "no base64!".into()),
        (4, "dave", "AAAA".into()),
        (5, "eve", ciphertext("GEZDGNBVGY3TQOJQ")),
        (6, "frank", ciphertext(&"A".repeat(112))),
    ] {
        node.user(id, name).second_factor(id, &secret);
    }
    node.user(7, "grace").second_factor(7, "");
    let found = node.read();
    assert_eq!(found.users.len(), 1);
    let expected = [
        SkipReason::Undecryptable,
        SkipReason::Undecryptable,
        SkipReason::Undecryptable,
        SkipReason::SecretLength,
        SkipReason::SecretLength,
        SkipReason::Missing("otp_secret".into()),
    ];
    assert_eq!(
        reasons(&found),
        expected.map(|reason| (RecordKind::User, reason))
    );
}

/// The key decrypts the secret, so the key is right.
#[test]
fn a_weak_secret_does_not_mean_a_wrong_key() {
    let node = Node::new();
    node.sample_key().user(1, "eve");
    node.second_factor(1, &ciphertext("GEZDGNBVGY3TQOJQ"));
    assert_eq!(
        reasons(&node.read()),
        [(RecordKind::User, SkipReason::SecretLength)]
    );
}
