//! Cells with unexpected values: SQLite allows any value in any column.

use super::*;
use crate::transfer::CellError;
use crate::transfer::platypush::MAX_CELL_BYTES;

/// Returns invalid values of a text cell as SQL expressions, with their errors.
fn invalid_values() -> [(String, CellError); 5] {
    [
        ("x'0011'".into(), CellError::Blob),
        ("1.5e300".into(), CellError::Real),
        ("42".into(), CellError::Integer),
        ("CAST(x'fffe' AS TEXT)".into(), CellError::NotUtf8),
        ("printf('%.5000c', 'x')".into(), CellError::TooLong),
    ]
}

/// Creates a node whose columns have no types, so that SQLite stores each value unchanged.
fn untyped() -> Node {
    let node = Node::with(
        "CREATE TABLE user (user_id, username, password, password_salt, hmac_iterations, created_at);
         CREATE TABLE user_otp (user_id, otp_secret, created_at, expires_at);
         CREATE TABLE user_backup_code (user_id, code, expires_at);
         CREATE TABLE user_token (user_id, token, name, created_at, expires_at);
         CREATE TABLE user_session (user_id, session_token, created_at, expires_at);",
    );
    node.sample_key().user(1, "alice");
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
fn a_text_cell_with_another_type_is_skipped_and_named() {
    let node = untyped();
    let columns = [
        ("user", "username", RecordKind::User),
        ("user", "password", RecordKind::User),
        ("user", "password_salt", RecordKind::User),
        ("user", "created_at", RecordKind::User),
        ("user_otp", "otp_secret", RecordKind::User),
        ("user_backup_code", "code", RecordKind::BackupCode),
        ("user_backup_code", "expires_at", RecordKind::BackupCode),
        ("user_token", "token", RecordKind::ApiToken),
        ("user_token", "name", RecordKind::ApiToken),
        ("user_token", "created_at", RecordKind::ApiToken),
        ("user_token", "expires_at", RecordKind::ApiToken),
        ("user_session", "session_token", RecordKind::Session),
        ("user_session", "created_at", RecordKind::Session),
        ("user_session", "expires_at", RecordKind::Session),
    ];
    for (table, column, kind) in columns {
        for (value, error) in invalid_values() {
            node.sql("SAVEPOINT before", &[]);
            node.sql(&format!("UPDATE {table} SET {column} = {value}"), &[]);
            node.sql("RELEASE before", &[]);
            let found = node.read();
            let reason = SkipReason::InvalidCell {
                column: column.into(),
                error,
            };
            assert_eq!(
                reasons(&found),
                [(kind, reason)],
                "{table}.{column} = {value}"
            );
            assert_eq!(found.skipped[0].location, Location::Row(1));
            assert_eq!(found.users.is_empty(), kind == RecordKind::User);
        }
        // Restores the table, which has one row.
        let fresh = untyped();
        let path = fresh.path().join("main.db");
        node.sql("ATTACH ?1 AS fresh", &[&path.to_str().unwrap()]);
        node.sql(&format!("DELETE FROM main.{table}"), &[]);
        node.sql(
            &format!("INSERT INTO main.{table} SELECT * FROM fresh.{table}"),
            &[],
        );
        node.sql("DETACH fresh", &[]);
        assert!(node.read().skipped.is_empty());
    }
}

#[test]
fn an_integer_cell_with_another_type_is_skipped_and_named() {
    let tables = [
        ("user", "hmac_iterations", RecordKind::User),
        ("user", "user_id", RecordKind::User),
        ("user_otp", "user_id", RecordKind::SecondFactor),
        ("user_backup_code", "user_id", RecordKind::BackupCode),
        ("user_token", "user_id", RecordKind::ApiToken),
        ("user_session", "user_id", RecordKind::Session),
    ];
    for (table, column, kind) in tables {
        for (value, error) in invalid_values() {
            let error = match error {
                CellError::Integer => continue,
                other => other,
            };
            let node = untyped();
            node.sql(&format!("UPDATE {table} SET {column} = {value}"), &[]);
            let reason = SkipReason::InvalidCell {
                column: column.into(),
                error,
            };
            assert!(
                reasons(&node.read()).contains(&(kind, reason)),
                "{table}.{column} = {value}"
            );
        }
        let node = untyped();
        node.sql(&format!("UPDATE {table} SET {column} = '10'"), &[]);
        let reason = SkipReason::InvalidCell {
            column: column.into(),
            error: CellError::Text,
        };
        assert!(
            reasons(&node.read()).contains(&(kind, reason)),
            "{table}.{column}"
        );
    }
}

#[test]
fn a_text_that_is_not_a_date_is_skipped_and_named() {
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
        assert_eq!(reasons[0].1, SkipReason::NotADate(column.into()), "{table}");
    }
}

#[test]
fn a_name_is_read_up_to_the_limit() {
    let node = untyped();
    let longest = "ä".repeat(MAX_CELL_BYTES / 2);
    node.sql("UPDATE user SET username = ?1", &[&longest]);
    assert_eq!(user(&node.read(), &longest).username, longest);
    node.sql("UPDATE user SET username = username || 'x'", &[]);
    assert!(node.read().users.is_empty());
}

#[test]
fn names_of_skipped_records_are_escaped() {
    let node = Node::new();
    let name = "al\u{1b}[2Jice\nroot";
    node.sql(
        "INSERT INTO user VALUES (1, ?1, NULL, NULL, NULL, NULL)",
        &[&name],
    );
    let skipped = node.read().skipped[0].to_string();
    assert_eq!(
        skipped,
        "user \"al\\u{1b}[2Jice\\nroot\" (row 1): it has no password"
    );
}

/// Runs in a process of its own, because memory is counted by process.
#[test]
fn a_cell_of_64_mib_is_not_loaded() {
    const ALONE: &str = "TRANSFER_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "transfer::platypush::tests::invalid_cells::a_cell_of_64_mib_is_not_loaded";
        let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
        let alone = alone
            .args(["--exact", name])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&alone.stdout);
        assert!(
            alone.status.success() && output.contains("1 passed"),
            "{output}"
        );
        return;
    }
    let node = Node::new();
    node.user(1, "alice").user(2, "bob").sample_key();
    node.sql(
        "UPDATE user SET username = CAST(zeroblob(67108864) AS TEXT) WHERE user_id = 1",
        &[],
    );
    let Node {
        directory,
        database,
    } = node;
    database.close().unwrap();
    // Resets the peak, because writing the cell took memory.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = peak_kib();
    let found = read_at(directory.path()).unwrap();
    assert_eq!(reasons(&found).len(), 1);
    assert_eq!(found.users.len(), 1);
    let increase = peak_kib() - before;
    assert!(increase < 16 * 1024, "{increase} KiB");
}

/// Returns the peak memory of the process.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mut lines = status.lines();
    let peak = lines.find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_database_larger_than_that_of_any_node_is_rejected() {
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
