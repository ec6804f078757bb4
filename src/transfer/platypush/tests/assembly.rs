//! Assembles users from rows, and skips unusable records.

use super::*;

fn reasons_only(node: &Node) -> Vec<SkipReason> {
    let reasons = reasons(&node.read());
    reasons.into_iter().map(|(_, reason)| reason).collect()
}

#[test]
fn a_user_without_name_password_or_salt_is_skipped() {
    let node = Node::new();
    node.user(1, "");
    node.sql(
        "INSERT INTO user VALUES (2, 'bob', NULL, ?1, 10, NULL)",
        &[&SALT],
    );
    node.sql(
        "INSERT INTO user VALUES (3, 'carol', '', ?1, 10, NULL)",
        &[&SALT],
    );
    node.sql(
        "INSERT INTO user VALUES (4, 'dave', ?1, NULL, 10, NULL)",
        &[&SECRET],
    );
    node.sql(
        "INSERT INTO user VALUES (5, 'eve', ?1, ?2, 0, NULL)",
        &[&SECRET, &SALT],
    );
    node.sql(
        "INSERT INTO user VALUES (6, 'frank', ?1, '', 10, NULL)",
        &[&SECRET],
    );
    node.sql(
        "INSERT INTO user VALUES (7, 'grace', 'plain', NULL, NULL, NULL)",
        &[],
    );
    node.sql(
        "INSERT INTO user VALUES (8, 'heidi', 'plain', ?1, 10, NULL)",
        &[&SALT],
    );
    node.sql(
        "INSERT INTO user VALUES (9, 'ivan', ?1, ?2, 2000001, NULL)",
        &[&SECRET, &SALT],
    );
    let expensive = BCRYPT.replace("$04$", "$13$");
    node.sql(
        "INSERT INTO user VALUES (10, 'judy', ?1, NULL, NULL, NULL)",
        &[&expensive],
    );
    let found = node.read();
    assert!(found.users.is_empty());
    let skipped: Vec<_> = found.skipped.iter().map(ToString::to_string).collect();
    let expected = [
        "user (row 1): its username is missing or empty",
        "user \"bob\" (row 2): it has no password",
        "user \"carol\" (row 3): it has no password",
        "user \"dave\" (row 4): its hash is PBKDF2, but its user has no salt or no iterations",
        "user \"eve\" (row 5): its hash is PBKDF2, but its user has no salt or no iterations",
        "user \"frank\" (row 6): its hash is PBKDF2, but its user has no salt or no iterations",
        "user \"grace\" (row 7): its bcrypt hash is not of the form $2b$<cost>$<53 characters>",
        "user \"heidi\" (row 8): its PBKDF2 hash is not 64 hexadecimal digits",
        "user \"ivan\" (row 9): its PBKDF2 hash has 2000001 iterations, and 1 to 2000000 are accepted: \
         more would keep a hashing thread busy for too long",
        "user \"judy\" (row 10): its bcrypt hash has cost 13, and 4 to 12 are accepted: more would keep \
         a hashing thread busy for too long",
    ];
    assert_eq!(skipped, expected);
}

#[test]
fn the_text_of_a_hash_decides_its_scheme() {
    let node = Node::new();
    // Changed from bcrypt to PBKDF2. The other direction does not occur in practice.
    node.user(1, "alice");
    node.sql(
        "INSERT INTO user VALUES (2, 'bob', ?1, ?2, 10, NULL)",
        &[&BCRYPT, &SALT],
    );
    for (id, user, name, token) in [
        (1, 1, "old", BCRYPT),
        (2, 1, "new", SECRET),
        (3, 2, "other", &SECRET.replace('0', "1")),
    ] {
        node.sql(
            "INSERT INTO user_token VALUES (?1, ?2, ?3, ?4, NULL, NULL)",
            &[&id, &user, &token, &name],
        );
    }
    let found = node.read();
    assert!(found.skipped.is_empty(), "{found:?}");
    assert!(is_right("secret", &user(&found, "alice").password));
    assert!(is_right("secret", &user(&found, "bob").password));
    for token in &user(&found, "alice").api_tokens {
        assert!(is_right("secret", record(token)), "{}", token.name);
    }
    assert_eq!(user(&found, "bob").api_tokens.len(), 1);
}

#[test]
fn records_that_end_now_or_earlier_have_expired() {
    let node = Node::new();
    node.user(1, "alice");
    for (id, expiry) in [
        (1, Some("2026-11-25 11:59:59.999999")),
        (2, Some("2026-11-25 12:00:00")),
        (3, Some("2026-11-25 12:00:00.000001")),
        (4, None),
        (5, Some("")),
    ] {
        let (token, name) = (SECRET.replace('0', &id.to_string()), id.to_string());
        node.sql(
            "INSERT INTO user_token VALUES (?1, 1, ?2, ?3, NULL, ?4)",
            &[&id, &token, &name, &expiry],
        );
        node.sql(
            "INSERT INTO user_session VALUES (?1, ?2, NULL, 1, NULL, ?3)",
            &[&id, &token, &expiry],
        );
    }
    let found = node.read();
    let alice = user(&found, "alice");
    let (before, at) = (timestamp("2026-11-25T11:59:59.999999Z"), now());
    let expired = [SkipReason::Expired(at), SkipReason::Expired(before)];
    let of = |kind| expired.clone().map(|reason| (kind, reason));
    assert_eq!(
        reasons(&found),
        [of(RecordKind::ApiToken), of(RecordKind::Session)].concat()
    );
    let names: Vec<_> = alice
        .api_tokens
        .iter()
        .map(|token| token.name.as_str())
        .collect();
    assert_eq!(names, ["3", "4", "5"]);
    let sessions = &imported(&found, "alice").sessions;
    let ends: Vec<_> = sessions.iter().map(|session| session.expires_at).collect();
    assert_eq!(
        ends,
        [Some(timestamp("2026-11-25T12:00:00.000001Z")), None, None]
    );
    assert!(sessions.iter().all(|session| session.created_at == now()));
}

#[test]
fn one_of_several_duplicates_is_read() {
    let node = Node::with(
        "CREATE TABLE user (user_id, username, password, password_salt, hmac_iterations, created_at);
         CREATE TABLE user_otp (user_id, otp_secret, created_at, expires_at);
         CREATE TABLE user_backup_code (user_id, code);
         CREATE TABLE user_token (user_id, token, name);
         CREATE TABLE user_session (user_id, session_token);",
    );
    node.user(1, "alice")
        .user(1, "bob")
        .user(2, "alice")
        .user(3, "carol");
    node.sample_key();
    let sealed = json("sealed_otp.json");
    let sealed = sealed["gezd gnbv gy3t qojq gezd gnbv gy3t qojq"]
        .as_str()
        .unwrap();
    node.second_factor(1, sealed);
    let other = SECRET.replace('0', "1");
    for (code, token, name, session) in [
        (SECRET, SECRET, "one", "a"),
        (SECRET, SECRET, "two", "a"),
        (&other, &other, "two", "b"),
    ] {
        node.sql("INSERT INTO user_backup_code VALUES (1, ?1)", &[&code]);
        node.sql(
            "INSERT INTO user_token VALUES (1, ?1, ?2)",
            &[&token, &name],
        );
        node.sql("INSERT INTO user_session VALUES (1, ?1)", &[&session]);
    }
    node.sql("INSERT INTO user_session VALUES (3, 'b')", &[]);
    let found = node.read();
    let duplicate = |kind, column: &str| (kind, SkipReason::Duplicate(column.into()));
    let expected = [
        duplicate(RecordKind::BackupCode, "code"),
        // The last ones are read.
        duplicate(RecordKind::ApiToken, "name"),
        duplicate(RecordKind::Session, "session_token"),
        duplicate(RecordKind::User, "user_id"),
        duplicate(RecordKind::User, "username"),
        duplicate(RecordKind::Session, "session_token"),
    ];
    assert_eq!(reasons(&found), expected);
    let alice = user(&found, "alice");
    assert_eq!(
        (
            backup_codes(alice).len(),
            alice.api_tokens.len(),
            imported(&found, "alice").sessions.len()
        ),
        (2, 2, 2)
    );
}

#[test]
fn records_beyond_the_limit_are_skipped_oldest_first() {
    let node = Node::new();
    node.user(1, "alice").sample_key();
    let sealed = json("sealed_otp.json");
    node.second_factor(
        1,
        sealed["gezd gnbv gy3t qojq gezd gnbv gy3t qojq"]
            .as_str()
            .unwrap(),
    );
    let salts = "abcdefghijkl".chars();
    for (id, first) in salts.enumerate() {
        let id = id as i64;
        let hash = BCRYPT.replace("$04$a", &format!("$04${first}"));
        node.sql(
            "INSERT INTO user_backup_code VALUES (?1, 1, ?2, NULL, NULL)",
            &[&id, &hash],
        );
        let values: [&dyn ToSql; 3] = [&id, &hash, &id.to_string()];
        node.sql(
            "INSERT INTO user_token VALUES (?1, 1, ?2, ?3, NULL, NULL)",
            &values,
        );
    }
    node.sql(
        "INSERT INTO user_token VALUES (99, 1, ?1, 'pbkdf2', NULL, NULL)",
        &[&SECRET],
    );
    let found = node.read();
    let rows: Vec<_> = found
        .skipped
        .iter()
        .map(|skipped| (skipped.kind, skipped.location))
        .collect();
    let expected = [
        (RecordKind::BackupCode, Location::Row(1)),
        (RecordKind::BackupCode, Location::Row(0)),
        (RecordKind::ApiToken, Location::Row(1)),
        (RecordKind::ApiToken, Location::Row(0)),
    ];
    assert_eq!(rows, expected);
    assert!(
        reasons_only(&node)
            .iter()
            .all(|reason| *reason == SkipReason::TooMany(10))
    );
    let alice = user(&found, "alice");
    assert_eq!(
        (backup_codes(alice).len(), alice.api_tokens.len()),
        (10, 11)
    );
    assert!(
        backup_codes(alice)[0]
            .record
            .expose()
            .starts_with("$2b$04$c")
    );
}

#[test]
fn backup_codes_need_a_second_factor() {
    let node = Node::new();
    node.user(1, "alice");
    node.sql(
        "INSERT INTO user_backup_code VALUES (1, 1, ?1, NULL, NULL)",
        &[&SECRET],
    );
    node.sql(
        "INSERT INTO user_backup_code VALUES (2, NULL, ?1, NULL, NULL)",
        &[&SECRET],
    );
    assert_eq!(
        reasons_only(&node),
        [
            SkipReason::Missing("user_id".into()),
            SkipReason::NoSecondFactor
        ]
    );
}

#[test]
fn a_later_import_recognizes_a_user() {
    let origins = |node: &Node| -> Vec<_> {
        let found = node.read();
        found
            .users
            .iter()
            .map(|imported| imported.user.origin)
            .collect()
    };
    let node = Node::new();
    node.user(1, "alice");
    node.sql(
        "INSERT INTO user VALUES (2, 'bob', ?1, NULL, NULL, NULL)",
        &[&BCRYPT],
    );
    let first = origins(&node);
    assert_ne!(first[0], first[1]);

    // Changes that the node itself makes.
    node.sql(
        "UPDATE user SET password = ?1 WHERE user_id = 1",
        &[&SECRET.replace('0', "1")],
    );
    node.sql(
        "UPDATE user SET hmac_iterations = 20 WHERE user_id = 1",
        &[],
    );
    assert_eq!(origins(&node), first);

    // Rows of another node.
    for (change, is_first) in [
        ("UPDATE user SET username = username || 'x'", [false, false]),
        (
            "UPDATE user SET created_at = '2026-01-01 00:00:00.000001'",
            [false, false],
        ),
        ("UPDATE user SET user_id = user_id + 10", [false, false]),
        (
            "UPDATE user SET password_salt = replace(password_salt, '0', '1')",
            [false, true],
        ),
        (
            "UPDATE user SET password = replace(password, 'rstuu', 'rstuO')",
            [true, false],
        ),
    ] {
        node.sql("BEGIN", &[]).sql(change, &[]).sql("COMMIT", &[]);
        let now = origins(&node);
        let is_same = [now[0] == first[0], now[1] == first[1]];
        assert_eq!(is_same, is_first, "{change}");
        // Restores the rows.
        node.sql("DELETE FROM user", &[]).user(1, "alice");
        node.sql(
            "INSERT INTO user VALUES (2, 'bob', ?1, NULL, NULL, NULL)",
            &[&BCRYPT],
        );
        assert_eq!(origins(&node), first);
    }
}

#[test]
fn the_boundaries_between_the_parts_of_an_origin_matter() {
    let origin = |name: &str, created: Option<&str>| {
        let node = Node::new();
        let values: [&dyn ToSql; 4] = [&name, &SECRET, &SALT, &created];
        node.sql("INSERT INTO user VALUES (1, ?1, ?2, ?3, 10, ?4)", &values);
        node.read().users[0].user.origin
    };
    let date = "2026-01-01 00:00:00";
    let separate = origin("alice", Some(date));
    assert_ne!(separate, origin(&format!("alice{date}"), None));
    assert_eq!(separate, origin("alice", Some(date)));
}

/// Regression: with a long name, bcrypt had not read the whole secret of a token, and a token with
/// any ending was accepted.
#[test]
fn a_token_that_bcrypt_cut_is_skipped() {
    let cut = vec![(RecordKind::ApiToken, SkipReason::CutToken)];
    for (length, expected) in [(39, vec![]), (40, cut)] {
        let node = Node::new();
        node.user(1, &"n".repeat(length));
        node.sql(
            "INSERT INTO user_token (user_id, token, name) VALUES (1, ?1, 'bcrypt'), (1, ?2, 'PBKDF2')",
            &[&BCRYPT, &SECRET],
        );
        assert_eq!(reasons(&node.read()), expected, "{length}");
    }
}

/// Regression: such dates were stored, and replies contained years that no client can parse.
#[test]
fn a_year_that_python_does_not_support_is_skipped() {
    for (date, is_supported) in [
        ("0001-01-01 00:00:00", true),
        ("9999-12-31 23:59:59.999999", true),
        ("0000-12-31 23:59:59", false),
        ("-0001-01-01 00:00:00", false),
        ("+10000-01-01 00:00:00", false),
        ("+262000-01-01 00:00:00", false),
    ] {
        let node = Node::new();
        node.user(1, "alice");
        node.sql("UPDATE user SET created_at = ?1", &[&date]);
        let skipped = (
            RecordKind::User,
            SkipReason::YearOutOfRange("created_at".into()),
        );
        let expected = if is_supported { vec![] } else { vec![skipped] };
        assert_eq!(reasons(&node.read()), expected, "{date}");
    }
}
