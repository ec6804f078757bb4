//! What belongs together, and what cannot come.

use super::*;

fn reason(node: &Node) -> Vec<Why> {
    let reasons = reasons(&node.read());
    reasons.into_iter().map(|(_, why)| why).collect()
}

#[test]
fn a_user_without_name_password_or_salt_is_left_behind() {
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
    let dear = BCRYPT.replace("$04$", "$13$");
    node.sql(
        "INSERT INTO user VALUES (10, 'judy', ?1, NULL, NULL, NULL)",
        &[&dear],
    );
    let found = node.read();
    assert!(found.newcomers.is_empty());
    let said: Vec<_> = found.left_behind.iter().map(ToString::to_string).collect();
    let expected = [
        "user (row 1): its username is missing or empty",
        "user \"bob\" (row 2): it has no password",
        "user \"carol\" (row 3): it has no password",
        "user \"dave\" (row 4): its hash is PBKDF2's, and its user has no salt or no iterations",
        "user \"eve\" (row 5): its hash is PBKDF2's, and its user has no salt or no iterations",
        "user \"frank\" (row 6): its hash is PBKDF2's, and its user has no salt or no iterations",
        "user \"grace\" (row 7): its bcrypt hash is not of the form $2b$<cost>$<53 characters>",
        "user \"heidi\" (row 8): its PBKDF2 hash is not 64 hexadecimal digits",
        "user \"ivan\" (row 9): its PBKDF2 hash has 2000001 iterations, and 1 to 2000000 are taken: \
         more would keep a hashing thread busy for too long",
        "user \"judy\" (row 10): its bcrypt hash has cost 13, and 4 to 12 are taken: more would keep \
         a hashing thread busy for too long",
    ];
    assert_eq!(said, expected);
}

#[test]
fn each_hash_is_judged_by_its_own_text() {
    let node = Node::new();
    // Came from bcrypt to PBKDF2, and the other way round, which nobody does.
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
    assert!(found.left_behind.is_empty(), "{found:?}");
    assert!(is_right("secret", &user(&found, "alice").password));
    assert!(is_right("secret", &user(&found, "bob").password));
    for token in &user(&found, "alice").api_tokens {
        assert!(is_right("secret", &token.record), "{}", token.name);
    }
    assert_eq!(user(&found, "bob").api_tokens.len(), 1);
}

#[test]
fn expired_is_what_ends_now_or_before() {
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
    let (before, at) = (moment("2026-11-25T11:59:59.999999Z"), now());
    let expired = [Why::Expired(at), Why::Expired(before)];
    let of = |what| expired.clone().map(|why| (what, why));
    assert_eq!(
        reasons(&found),
        [of(What::ApiToken), of(What::Session)].concat()
    );
    let names: Vec<_> = alice
        .api_tokens
        .iter()
        .map(|token| token.name.as_str())
        .collect();
    assert_eq!(names, ["3", "4", "5"]);
    let ends: Vec<_> = alice
        .sessions
        .iter()
        .map(|session| session.expires_at)
        .collect();
    assert_eq!(
        ends,
        [Some(moment("2026-11-25T12:00:00.000001Z")), None, None]
    );
    assert!(
        alice
            .sessions
            .iter()
            .all(|session| session.created_at == now())
    );
}

#[test]
fn of_several_that_are_the_same_one_is_taken() {
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
    node.key_of_the_samples();
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
    let duplicate = |what, column: &str| (what, Why::Duplicate(column.into()));
    let expected = [
        duplicate(What::BackupCode, "code"),
        // The last ones are taken.
        duplicate(What::ApiToken, "name"),
        duplicate(What::Session, "session_token"),
        duplicate(What::User, "user_id"),
        duplicate(What::User, "username"),
        duplicate(What::Session, "session_token"),
    ];
    assert_eq!(reasons(&found), expected);
    let alice = user(&found, "alice");
    assert_eq!(
        (
            alice.backup_codes.len(),
            alice.api_tokens.len(),
            alice.sessions.len()
        ),
        (2, 2, 2)
    );
}

#[test]
fn more_than_a_node_makes_is_left_behind_from_the_oldest() {
    let node = Node::new();
    node.user(1, "alice").key_of_the_samples();
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
        .left_behind
        .iter()
        .map(|left| (left.what, left.location))
        .collect();
    let expected = [
        (What::BackupCode, Location::Row(1)),
        (What::BackupCode, Location::Row(0)),
        (What::ApiToken, Location::Row(1)),
        (What::ApiToken, Location::Row(0)),
    ];
    assert_eq!(rows, expected);
    assert!(reason(&node).iter().all(|why| *why == Why::TooMany(10)));
    let alice = user(&found, "alice");
    assert_eq!((alice.backup_codes.len(), alice.api_tokens.len()), (10, 11));
    assert!(
        alice.backup_codes[0]
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
        reason(&node),
        [Why::Missing("user_id".into()), Why::NoSecondFactor]
    );
}

#[test]
fn a_user_is_known_again() {
    let origins = |node: &Node| -> Vec<_> {
        let found = node.read();
        found.newcomers.iter().map(|user| user.origin).collect()
    };
    let node = Node::new();
    node.user(1, "alice");
    node.sql(
        "INSERT INTO user VALUES (2, 'bob', ?1, NULL, NULL, NULL)",
        &[&BCRYPT],
    );
    let first = origins(&node);
    assert_ne!(first[0], first[1]);

    // Whatever changes, as far as it changes there.
    node.sql(
        "UPDATE user SET password = ?1 WHERE user_id = 1",
        &[&SECRET.replace('0', "1")],
    );
    node.sql(
        "UPDATE user SET hmac_iterations = 20 WHERE user_id = 1",
        &[],
    );
    assert_eq!(origins(&node), first);

    // Another node.
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
        // Undone by writing the rows anew.
        node.sql("DELETE FROM user", &[]).user(1, "alice");
        node.sql(
            "INSERT INTO user VALUES (2, 'bob', ?1, NULL, NULL, NULL)",
            &[&BCRYPT],
        );
        assert_eq!(origins(&node), first);
    }
}

/// Where one part ends and the next one begins makes a difference.
#[test]
fn the_parts_of_an_origin_cannot_run_into_each_other() {
    let origin = |name: &str, created: Option<&str>| {
        let node = Node::new();
        let values: [&dyn ToSql; 4] = [&name, &SECRET, &SALT, &created];
        node.sql("INSERT INTO user VALUES (1, ?1, ?2, ?3, 10, ?4)", &values);
        node.read().newcomers[0].origin
    };
    let date = "2026-01-01 00:00:00";
    let apart = origin("alice", Some(date));
    assert_ne!(apart, origin(&format!("alice{date}"), None));
    assert_eq!(apart, origin("alice", Some(date)));
}

/// Regression: of a token under a long name bcrypt had not read all that is
/// secret, and any ending was taken for it.
#[test]
fn a_token_that_bcrypt_has_cut_stays() {
    for (length, expected) in [(39, vec![]), (40, vec![(What::ApiToken, Why::CutToken)])] {
        let node = Node::new();
        node.user(1, &"n".repeat(length));
        node.sql(
            "INSERT INTO user_token (user_id, token, name) VALUES (1, ?1, 'bcrypt'), (1, ?2, 'PBKDF2')",
            &[&BCRYPT, &SECRET],
        );
        assert_eq!(reasons(&node.read()), expected, "{length}");
    }
}

/// Regression: such dates were stored, and replies wrote years that nothing reads.
#[test]
fn a_year_that_python_does_not_know_stays() {
    for (date, is_taken) in [
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
        let why = (What::User, Why::Year("created_at".into()));
        let expected = if is_taken { vec![] } else { vec![why] };
        assert_eq!(reasons(&node.read()), expected, "{date}");
    }
}
