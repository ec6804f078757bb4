//! Runs commands of the guides.

use std::fs;
use std::process::Command;

/// Returns the commands in the code block of a page that contains a text.
fn commands(page: &str, contained: &str) -> String {
    let block = page.split("```").find(|block| block.contains(contained));
    let lines = block.unwrap().lines();
    let commands: Vec<_> = lines.filter_map(|line| line.strip_prefix("$ ")).collect();
    commands.join("\n")
}

/// Regression: on a node without 2FA, a copy of the database with unencrypted tokens was not
/// removed, because the preceding command did not find `otp/key` and failed.
#[test]
fn the_guide_leaves_no_copy_of_a_database_on_a_node() {
    const GUIDE: &str = include_str!("../../docs/guides/bring-users.md");
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
