//! SQLite keeps anything in any column.

use super::*;
use crate::transfer::Oddity;
use crate::transfer::platypush::MAX_CELL_BYTES;

/// What can stand in a cell, as SQL, and what that is where text is due.
fn oddities() -> [(String, Oddity); 5] {
    [
        ("x'0011'".into(), Oddity::Blob),
        ("1.5e300".into(), Oddity::Real),
        ("42".into(), Oddity::Integer),
        ("CAST(x'fffe' AS TEXT)".into(), Oddity::NotUtf8),
        ("printf('%.5000c', 'x')".into(), Oddity::TooLong),
    ]
}

/// A node whose columns have no types, so that they take what they get.
fn untyped() -> Node {
    let node = Node::with(
        "CREATE TABLE user (user_id, username, password, password_salt, hmac_iterations, created_at);
         CREATE TABLE user_otp (user_id, otp_secret, created_at, expires_at);
         CREATE TABLE user_backup_code (user_id, code, expires_at);
         CREATE TABLE user_token (user_id, token, name, created_at, expires_at);
         CREATE TABLE user_session (user_id, session_token, created_at, expires_at);",
    );
    node.key_of_the_samples().user(1, "alice");
    let sealed = json("sealed_otp.json");
    node.second_factor(
        1,
        sealed["gezd gnbv gy3t qojq gezd gnbv gy3t qojq"]
            .as_str()
            .unwrap(),
    );
    node.sql(
        "INSERT INTO user_backup_code VALUES (1, ?1, NULL)",
        &[&SECRET],
    );
    node.sql(
        "INSERT INTO user_token VALUES (1, ?1, 'token', NULL, NULL)",
        &[&SECRET],
    );
    node.sql(
        "INSERT INTO user_session VALUES (1, 'token', NULL, NULL)",
        &[],
    );
    node
}

#[test]
fn a_cell_of_another_kind_is_left_behind_and_named() {
    let node = untyped();
    let columns = [
        ("user", "username", What::User),
        ("user", "password", What::User),
        ("user", "password_salt", What::User),
        ("user", "created_at", What::User),
        ("user_otp", "otp_secret", What::User),
        ("user_backup_code", "code", What::BackupCode),
        ("user_backup_code", "expires_at", What::BackupCode),
        ("user_token", "token", What::ApiToken),
        ("user_token", "name", What::ApiToken),
        ("user_token", "created_at", What::ApiToken),
        ("user_token", "expires_at", What::ApiToken),
        ("user_session", "session_token", What::Session),
        ("user_session", "created_at", What::Session),
        ("user_session", "expires_at", What::Session),
    ];
    for (table, column, what) in columns {
        for (value, oddity) in oddities() {
            node.sql("SAVEPOINT before", &[]);
            node.sql(&format!("UPDATE {table} SET {column} = {value}"), &[]);
            node.sql("RELEASE before", &[]);
            let found = node.read();
            let odd = Why::Odd {
                column: column.into(),
                oddity,
            };
            assert_eq!(reasons(&found), [(what, odd)], "{table}.{column} = {value}");
            assert_eq!(found.left_behind[0].location, Location::Row(1));
            assert_eq!(found.newcomers.is_empty(), what == What::User);
        }
        // As it was: each table has one row.
        let fresh = untyped();
        let path = fresh.path().join("main.db");
        node.sql("ATTACH ?1 AS fresh", &[&path.to_str().unwrap()]);
        node.sql(&format!("DELETE FROM main.{table}"), &[]);
        node.sql(
            &format!("INSERT INTO main.{table} SELECT * FROM fresh.{table}"),
            &[],
        );
        node.sql("DETACH fresh", &[]);
        assert!(node.read().left_behind.is_empty());
    }
}

#[test]
fn a_number_of_another_kind_is_left_behind_and_named() {
    let tables = [
        ("user", "hmac_iterations", What::User),
        ("user", "user_id", What::User),
        ("user_otp", "user_id", What::SecondFactor),
        ("user_backup_code", "user_id", What::BackupCode),
        ("user_token", "user_id", What::ApiToken),
        ("user_session", "user_id", What::Session),
    ];
    for (table, column, what) in tables {
        for (value, oddity) in oddities() {
            let oddity = match oddity {
                Oddity::Integer => continue,
                other => other,
            };
            let node = untyped();
            node.sql(&format!("UPDATE {table} SET {column} = {value}"), &[]);
            let odd = Why::Odd {
                column: column.into(),
                oddity,
            };
            assert!(
                reasons(&node.read()).contains(&(what, odd)),
                "{table}.{column} = {value}"
            );
        }
        let node = untyped();
        node.sql(&format!("UPDATE {table} SET {column} = '10'"), &[]);
        let odd = Why::Odd {
            column: column.into(),
            oddity: Oddity::Text,
        };
        assert!(
            reasons(&node.read()).contains(&(what, odd)),
            "{table}.{column}"
        );
    }
}

#[test]
fn a_text_that_is_no_date_is_left_behind_and_named() {
    for (table, column) in [
        ("user", "created_at"),
        ("user_backup_code", "expires_at"),
        ("user_token", "created_at"),
        ("user_token", "expires_at"),
        ("user_session", "expires_at"),
    ] {
        let node = untyped();
        node.sql(&format!("UPDATE {table} SET {column} = 'tomorrow'"), &[]);
        let reasons = reasons(&node.read());
        assert_eq!(reasons.len(), 1);
        assert_eq!(reasons[0].1, Why::NoDate(column.into()), "{table}");
    }
}

#[test]
fn a_name_is_read_up_to_the_bound() {
    let node = untyped();
    let longest = "ä".repeat(MAX_CELL_BYTES / 2);
    node.sql("UPDATE user SET username = ?1", &[&longest]);
    assert_eq!(user(&node.read(), &longest).username, longest);
    node.sql("UPDATE user SET username = username || 'x'", &[]);
    assert!(node.read().newcomers.is_empty());
}

/// A name with anything in it is shown escaped.
#[test]
fn what_is_left_behind_cannot_write_to_the_terminal() {
    let node = Node::new();
    let name = "al\u{1b}[2Jice\nroot";
    node.sql(
        "INSERT INTO user VALUES (1, ?1, NULL, NULL, NULL, NULL)",
        &[&name],
    );
    let said = node.read().left_behind[0].to_string();
    assert_eq!(
        said,
        "user \"al\\u{1b}[2Jice\\nroot\" (row 1): it has no password"
    );
}

/// In a process of its own, because memory is counted by process.
#[test]
fn a_cell_of_64_mib_is_not_loaded() {
    const ALONE: &str = "MIGRATION_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "transfer::platypush::tests::odd_cells::a_cell_of_64_mib_is_not_loaded";
        let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
        let alone = alone
            .args(["--exact", name])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&alone.stdout);
        assert!(
            alone.status.success() && said.contains("1 passed"),
            "{said}"
        );
        return;
    }
    let node = Node::new();
    node.user(1, "alice").user(2, "bob").key_of_the_samples();
    node.sql(
        "UPDATE user SET username = CAST(zeroblob(67108864) AS TEXT) WHERE user_id = 1",
        &[],
    );
    let Node {
        directory,
        database,
    } = node;
    database.close().unwrap();
    // Writing it took memory, which is given back; forget the most that it was.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = peak_kib();
    let found = read_at(directory.path()).unwrap();
    assert_eq!(reasons(&found).len(), 1);
    assert_eq!(found.newcomers.len(), 1);
    let more = peak_kib() - before;
    assert!(more < 16 * 1024, "{more} KiB");
}

/// The most memory that the process had.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mut lines = status.lines();
    let peak = lines.find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn more_than_any_node_has_is_refused() {
    let node = Node::new();
    node.sql(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1100000)
         INSERT INTO user_session SELECT n, n, NULL, 999, NULL, NULL FROM n",
        &[],
    );
    let error = node.try_read().unwrap_err();
    let is_expected = matches!(
        error,
        ReadError::TooMuch {
            table: "user_session",
            ..
        }
    );
    assert!(is_expected, "{error}");
}
