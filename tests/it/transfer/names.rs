//! Imported names that are invalid here: they are neutralized, and the report shows the new names.

use pbkdf2::pbkdf2_hmac_array;
use serde_json::json;
use sha2::Sha256;

use super::{Node, import, log_in, rows, token_owner, usernames};
use crate::admin::{BOTH, Way, command};
use crate::support::{EVALUATED, EVALUATED_ONCE_DECODED, Setup};

const NAME: &str = "${x}\u{202e}";
const PASSWORD: &str = "token-Passw0rd!";

/// Returns a node whose `tokenuser` has this name, and an API token of that user.
fn node_with(name: &str) -> (Node, String) {
    let node = Node::copy("workdir");
    let token = format!("{name}:giHY0Q3qczkdtxCDVRsYMUoVojuF44EC");
    let salt: String = node
        .database()
        .query_row(
            "SELECT password_salt FROM user WHERE username = 'tokenuser'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let salt = hex::decode(salt).unwrap();
    let hash = hex::encode(pbkdf2_hmac_array::<Sha256, 32>(
        token.as_bytes(),
        &salt,
        100_000,
    ));
    let database = node.database();
    let name = [name];
    database
        .execute(
            "UPDATE user SET username = ?1 WHERE username = 'tokenuser'",
            name,
        )
        .unwrap();
    database
        .execute(
            "UPDATE user_token SET token = ?1 WHERE name = 'forever'",
            [hash],
        )
        .unwrap();
    (node, token)
}

#[test]
fn an_invalid_name_is_neutralized() {
    for way in BOTH {
        let mut setup = Setup::with_alice(&[]);
        let (node, token) = node_with(NAME);
        node.change("UPDATE user_token SET name = '$ {t}' WHERE name = 'year'");
        node.change("UPDATE user_token SET name = '${t}' WHERE name = 'forever'");
        for dry_run in [&["--dry-run"][..], &[]] {
            let report = import(&mut setup, way, &node, dry_run).ok();
            let row = &rows(&report)[3];
            assert_eq!(row[0], r"${x}\u{202e}", "{report}");
            assert_eq!(
                row[7],
                "imported as $ {x}[U+202E]: its own name contains U+202E, a control or invisible character"
            );
            let tokens = "\nRenamed API tokens (the tokens themselves are unchanged):\n  \
                \"${t}\" of user \"${x}\\u{202e}\": \"$ {t}-2\"\n";
            assert!(report.contains(tokens), "{report}");
        }
        let name = "$ {x}[U+202E]";
        assert!(usernames(&mut setup).iter().any(|known| known == name));
        assert_eq!(log_in(&mut setup, name, PASSWORD, None), json!([true, ""]));
        for _ in 0..2 {
            assert_eq!(token_owner(&mut setup, &token).as_deref(), Some(name));
        }
        let session = setup.client.call("create_session", json!([name, PASSWORD]));
        let session = session.ok()["session_token"].clone();
        let tokens = setup.client.call("get_api_tokens", json!([session]));
        let tokens: Vec<_> = tokens
            .ok()
            .as_array()
            .unwrap()
            .iter()
            .map(|token| &token["name"])
            .cloned()
            .collect();
        assert_eq!(tokens, ["$ {t}-2", "$ {t}", "tokenuser__USOUENYP"]);
        let again = import(&mut setup, way, &node, &[]).ok();
        assert_eq!(
            rows(&again)[3][7],
            r"skipped: already exists as $ {x}[U+202E]"
        );
    }
}

#[test]
fn a_neutralized_name_of_another_user_is_a_taken_name() {
    let mut setup = Setup::with_alice(&[]);
    let create = json!({"username": "$ {x}", "password": "other", "executing_user": "alice",
        "executing_user_password": "secret"});
    setup.client.call("create_user", create).ok();
    let (node, token) = node_with("${x}");
    let report = import(&mut setup, Way::Daemon, &node, &[]).ok();
    assert_eq!(
        rows(&report)[3][7],
        "skipped: would be renamed to $ {x}, which is taken (--on-conflict rename)"
    );
    assert_eq!(token_owner(&mut setup, &token), None);
    let report = import(&mut setup, Way::Daemon, &node, &["--on-conflict", "rename"]).ok();
    assert_eq!(
        rows(&report)[3][7],
        "imported as $ {x}-2: its own name contains U+0024 before U+007B (a dollar sign and a brace), \
         which Platypush would evaluate, and the name without it is taken"
    );
    assert_eq!(token_owner(&mut setup, &token).as_deref(), Some("$ {x}-2"));
    assert_eq!(
        log_in(&mut setup, "$ {x}", "other", None),
        json!([true, ""])
    );
}

/// Regression: the first user in the database got the name, so a neutralized hostile name took the
/// real name of another user.
#[test]
fn a_real_name_has_precedence_over_a_neutralized_name() {
    let mut setup = Setup::with_alice(&[]);
    let (node, _) = node_with("${x}");
    node.change("UPDATE user SET username = '$ {x}' WHERE username = 'rotated'");
    node.change("UPDATE user SET username = '$ {x}-2' WHERE username = 'legacy'");
    let rename = ["--on-conflict", "rename", "--dry-run"];
    for (arguments, expected) in [
        (&rename[..], "imported as $ {x}-3: "),
        (&[], "skipped: would be renamed to $ {x}, which is taken"),
    ] {
        let report = import(&mut setup, Way::Daemon, &node, arguments).ok();
        assert!(rows(&report)[3][7].starts_with(expected), "{report}");
        for name in ["$ {x}", "$ {x}-2"] {
            let rows = rows(&report);
            let mut own = rows.iter().filter(|row| row.contains(&name));
            assert!(
                own.any(|row| row.last().unwrap().starts_with("imported")),
                "{report}"
            );
        }
    }
    let names = usernames(&mut setup);
    assert!(names.contains(&"$ {x}".into()), "{names:?}");
}

#[test]
fn an_export_with_invalid_names_is_imported_with_neutralized_names() {
    let first = Setup::with_hostile_names(&[]);
    let workdir = first.daemon.workdir();
    let folder = tempfile::tempdir().unwrap();
    let export = folder.path().join("export.jsonl");
    let lines = command(&workdir, &["export"], "").ok();
    assert!(lines.contains(r"al\u200bice\n"), "{lines}");
    std::fs::write(&export, lines).unwrap();
    let keys = workdir.join("secret.keys");
    let arguments = [
        "import",
        "jsonl",
        export.to_str().unwrap(),
        "--keys",
        keys.to_str().unwrap(),
    ];
    let mut second = Setup::new();
    let report = command(&second.daemon.workdir(), &arguments, "").ok();
    assert!(report.contains("\nImported 4 of 4 users.\n"), "{report}");
    let names = [
        EVALUATED.replace("${", "$ {"),
        EVALUATED_ONCE_DECODED.replace("\\u0", "\\ u0"),
        "al[U+200B]ice[U+000A]".into(),
    ];
    assert_eq!(usernames(&mut second)[1..], names);
    let first_token = format!("{EVALUATED}:ZbfuUCYwgeiogc8Nz3_NAiXCBWH-FcAA");
    assert_eq!(
        token_owner(&mut second, &first_token).as_deref(),
        Some(&*names[0])
    );
    for name in &names {
        assert_eq!(log_in(&mut second, name, "pw", None), json!([true, ""]));
    }
    let again = command(&second.daemon.workdir(), &arguments, "").ok();
    assert!(again.contains("\nImported 0 of 4 users.\n"), "{again}");
    for row in rows(&again) {
        assert!(
            row[7].starts_with("skipped: already exists")
                || row[6].starts_with("skipped: already exists"),
            "{again}"
        );
    }
}
