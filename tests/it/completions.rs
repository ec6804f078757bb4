//! Completion scripts, run in the shells that they are for.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Daemon, Terminal};

fn script(shell: &str) -> String {
    let mut command = Command::new(Daemon::binary());
    let output = command.args(["completions", shell]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the completions of bash for the last word. Words are split as bash does: `a=b` is
/// three words.
fn offered(words: &[&str]) -> Vec<String> {
    const DRIVER: &str = r#"
        eval "$SCRIPT"
        # The function that is registered for the program.
        registered=$(complete -p platypush-userd)
        function=${registered#* -F }
        function=${function%% *}
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
        current=${COMP_WORDS[COMP_CWORD]}
        [[ $current == "=" ]] && current=""
        "$function" platypush-userd "$current" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let output = Command::new("bash")
        .args(["--norc", "-c", DRIVER, "bash", "platypush-userd"])
        .args(words)
        .env("SCRIPT", script("bash"))
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert_eq!(err, "", "{words:?}");
    out.lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Regression: bash offered nothing after the first word.
#[test]
fn bash_completes_after_the_first_word() {
    assert!(offered(&[""]).contains(&"admin".into()));
    assert_eq!(offered(&["admin", "rot"]), ["rotate-key"]);
    assert_eq!(offered(&["--config", "/x", "admin", "unl"]), ["unlock"]);
    assert!(offered(&["admin", ""]).contains(&"delete-api-tokens".into()));
    assert_eq!(offered(&["admin", "unlock", "--"]), ["--config", "--help"]);
    let conflict = ["import", "platypush", "--on-conflict", ""];
    assert_eq!(offered(&conflict), ["skip", "rename"]);
    assert!(offered(&["completions", ""]).contains(&"zsh".into()));
    assert_eq!(offered(&["call", "--tim"]), ["--timeout"]);
    // bash itself completes file names.
    assert_eq!(offered(&["import", "jsonl", ""]), [""; 0]);
}

#[test]
fn bash_completes_actions_and_their_arguments() {
    let actions = platypush_userd::actions::ACTIONS;
    let names: Vec<_> = actions
        .iter()
        .map(|action| action.signature().name)
        .collect();
    assert_eq!(offered(&["call", ""]), names);
    for action in actions {
        let signature = action.signature();
        let parameters: Vec<_> = signature
            .parameters
            .iter()
            .map(|parameter| format!("{}=", parameter.name))
            .collect();
        assert_eq!(offered(&["call", signature.name, ""]), parameters);
    }
    let given = [
        "call",
        "--timeout",
        "5",
        "update_password",
        "username",
        "=",
        "alice",
        "",
    ];
    let left = [
        "old_password=",
        "new_password=",
        "code=",
        "revoke_sessions=",
    ];
    assert_eq!(offered(&given), left);
    assert_eq!(
        offered(&["call", "user.create_user", "pass"]),
        ["password="]
    );
    assert_eq!(offered(&["call", "user.create_u"]), ["user.create_user"]);
    // The value of an option is not taken for an action or an argument.
    for option in [
        &["--token", "update_password"][..],
        &["--timeout", "=", "get_users"],
    ] {
        let words = [&["call"], option, &["authenticate_user", "return"]].concat();
        assert_eq!(offered(&words), ["return_details="], "{option:?}");
    }
    let flag = ["call", "authenticate_user", "return_details", "="];
    assert_eq!(offered(&flag), ["true", "false"]);
    assert_eq!(offered(&[&flag[..], &["f"]].concat()), ["false"]);
    // For users who removed the = from COMP_WORDBREAKS.
    let whole = ["call", "authenticate_user", "return_details=t"];
    assert_eq!(offered(&whole), ["return_details=true"]);
    assert_eq!(
        offered(&["call", "authenticate_user", "username", "="]),
        [""; 0]
    );
}

/// Types a Tab into an interactive bash.
#[test]
fn tab_completes_in_bash() {
    let folder = tempfile::tempdir().unwrap();
    let start = folder.path().join("start");
    let bin = Path::new(Daemon::binary()).parent().unwrap();
    std::fs::write(
        &start,
        format!(
            "PATH={}:$PATH PS1='ready> '\nbind 'set bell-style none' 'set show-all-if-ambiguous on'\n\
             bind 'set show-all-if-ambiguous on'\nsource <(platypush-userd completions bash)\n",
            bin.display()
        ),
    )
    .unwrap();
    let mut bash = Command::new("bash");
    bash.arg("--rcfile")
        .arg(&start)
        .arg("-i")
        .current_dir(folder.path());
    let mut terminal = Terminal::run(&bash);
    terminal.wait_for("ready> ");
    terminal.type_in("platypush-userd admin \t");
    terminal.wait_for("rotate-key");
    // Ctrl-U deletes the line.
    terminal.type_in("\u{15}platypush-userd call create_user username=al exec\t");
    terminal.wait_for("executing_user_password=");
    terminal.type_in("\u{15}platypush-userd call authenticate_us\t");
    terminal.wait_for("authenticate_user");
    terminal.type_in("return_det\tt\t");
    terminal.wait_for("return_details=true");
    terminal.type_in("\u{15}exit 7\n");
    assert_eq!(terminal.wait().0, Some(7));
}

/// Skips shells that are not installed.
#[test]
fn scripts_of_other_shells_have_no_syntax_error() {
    for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let script = script(shell);
        assert!(script.contains("rotate-key"), "{shell}");
        let child = Command::new(shell)
            .arg(check)
            .arg("/dev/stdin")
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else { continue };
        let _ = child.stdin.take().unwrap().write_all(script.as_bytes());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{shell}: {output:?}");
    }
}
