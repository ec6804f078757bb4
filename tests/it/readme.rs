//! The README's tables, held against the tables in the code.

use std::fs;
use std::process::Command;

use platypush_userd::actions::ACTIONS;
use platypush_userd::config::keys;
use platypush_userd::events::KINDS;

const README: &str = include_str!("../../README.md");

#[test]
fn every_action_has_its_row_with_all_arguments_in_order() {
    for action in ACTIONS {
        let signature = action.signature();
        let arguments: Vec<_> = signature
            .parameters
            .iter()
            .map(|parameter| {
                if parameter.required {
                    format!("`{}`", parameter.name)
                } else {
                    format!("[`{}`]", parameter.name)
                }
            })
            .collect();
        let row = format!("| `user.{}` | {}", signature.name, arguments.join(", "));
        assert!(README.contains(row.trim_end()), "no row {row}");
    }
}

#[test]
fn every_key_stands_in_the_table() {
    for key in keys::ALL {
        let row = README
            .lines()
            .any(|line| line.starts_with("| `") && line.contains(&format!("`{}`", key.path)));
        assert!(row, "no row for {}", key.path);
    }
}

#[test]
fn every_kind_of_event_stands_in_the_table() {
    for kind in KINDS {
        let row = README.lines().any(|line| {
            let first = line
                .strip_prefix("| ")
                .and_then(|row| row.split(" | ").next());
            first.is_some_and(|first| first.contains(&format!("`{kind}`")))
        });
        assert!(row, "no row for {kind}");
    }
}

/// The commands of the block of a page that contains a text, as somebody types
/// them.
fn commands(page: &str, contained: &str) -> String {
    let block = page.split("```").find(|block| block.contains(contained));
    let lines = block.unwrap().lines();
    let commands: Vec<_> = lines.filter_map(|line| line.strip_prefix("$ ")).collect();
    commands.join("\n")
}

/// On a node without 2FA the copy of its database, with tokens in clear,
/// stayed behind: the command behind it did not find `otp/key`, and the one
/// that removes it did not run.
#[test]
fn the_guide_leaves_no_copy_of_a_database_on_a_node() {
    const GUIDE: &str = include_str!("../../docs/platypush.md");
    const TOOLS: &str = r#"
        ssh() { (cd "$NODE" && shift && eval "$*"); }
        scp() { cp "$NODE/${1#hall:}" "$2"; }
        sqlite3() { cp "$1" "${2#.backup }"; }
    "#;
    for has_key in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (node, here) = (folder.path().join("node"), folder.path().join("here"));
        let workdir = node.join(".local/share/platypush");
        fs::create_dir_all(workdir.join("otp")).unwrap();
        fs::create_dir(&here).unwrap();
        fs::write(workdir.join("main.db"), "database").unwrap();
        if has_key {
            fs::write(workdir.join("otp/key"), "key").unwrap();
        }
        let script = format!("{TOOLS}\n{}\n", commands(GUIDE, "scp hall:main.db"));
        let mut bash = Command::new("bash");
        let bash = bash
            .args(["-c", &script])
            .env("NODE", &node)
            .current_dir(&here);
        bash.output().unwrap();
        assert!(here.join("hall/main.db").exists());
        assert_eq!(here.join("hall/otp/key").exists(), has_key);
        assert!(!node.join("main.db").exists(), "{script}");
    }
}
