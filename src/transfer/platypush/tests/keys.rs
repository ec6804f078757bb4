//! The key of the second factors: needed or not, there or not, the right one
//! or not.

use super::*;

fn sealed(text: &str) -> String {
    json("sealed_otp.json")[text].as_str().unwrap().to_owned()
}

const SPACED: &str = "gezd gnbv gy3t qojq gezd gnbv gy3t qojq";

/// A node with one user who has a second factor.
fn node() -> Node {
    let node = Node::new();
    node.user(1, "alice").second_factor(1, &sealed(SPACED));
    node
}

#[test]
fn a_secret_is_read_as_people_write_it() {
    let node = node();
    let found = node.key_of_the_samples().read();
    let secret = user(&found, "alice").totp_secret.as_ref().unwrap();
    assert_eq!(
        secret.to_base32().as_str(),
        "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    );
}

#[test]
fn the_key_may_be_elsewhere() {
    let node = node();
    let mut source = source(node.path());
    source.otp_key = Some(sample("workdir/otp/key"));
    let found = read(&source, now(), &mut |_| ()).unwrap();
    assert!(user(&found, "alice").totp_secret.is_some());
}

#[test]
fn without_the_key_nobody_comes() {
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
fn where_nobody_needs_the_key_it_is_not_read() {
    let node = Node::new();
    node.user(1, "alice").key(b"no key");
    // Of nobody, and of one who cannot come.
    node.second_factor(999, "x");
    node.sql(
        "INSERT INTO user VALUES (2, 'bob', NULL, NULL, NULL, NULL)",
        &[],
    );
    node.second_factor(2, "y");
    let found = node.read();
    assert_eq!(found.newcomers.len(), 1);
    let expected = [
        (What::SecondFactor, Why::Orphaned(999)),
        (What::User, Why::NoPassword),
    ];
    assert_eq!(reasons(&found), expected);
}

#[test]
fn what_is_no_key_is_said_so() {
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
fn a_key_that_opens_nothing_is_the_wrong_one() {
    let mut source = source(&sample("workdir"));
    source.otp_key = Some(sample("other_key"));
    let error = read(&source, now(), &mut |_| ()).unwrap_err();
    assert!(
        matches!(error, ReadError::WrongKey { failed: 3, .. }),
        "{error}"
    );
}

#[test]
fn a_user_whose_second_factor_does_not_open_does_not_come() {
    let node = node();
    node.key_of_the_samples();
    for (id, name, secret) in [
        (2, "bob", sealed("hello, world!")),
        (3, "carol", "no base64!".into()),
        (4, "dave", "AAAA".into()),
        (5, "eve", sealed("GEZDGNBVGY3TQOJQ")),
        (6, "frank", sealed(&"A".repeat(112))),
    ] {
        node.user(id, name).second_factor(id, &secret);
    }
    node.user(7, "grace").second_factor(7, "");
    let found = node.read();
    assert_eq!(found.newcomers.len(), 1);
    let expected = [
        Why::Unopened,
        Why::Unopened,
        Why::Unopened,
        Why::SecretLength,
        Why::SecretLength,
        Why::Missing("otp_secret".into()),
    ];
    assert_eq!(reasons(&found), expected.map(|why| (What::User, why)));
}

/// The key fits, so that it is not the key that is at fault.
#[test]
fn a_weak_secret_is_no_wrong_key() {
    let node = Node::new();
    node.key_of_the_samples().user(1, "eve");
    node.second_factor(1, &sealed("GEZDGNBVGY3TQOJQ"));
    assert_eq!(reasons(&node.read()), [(What::User, Why::SecretLength)]);
}
