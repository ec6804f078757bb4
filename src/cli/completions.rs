//! Completion scripts for shells.

use std::fmt::Write as _;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, signatures};
use crate::actions::{Kind, PLUGIN};

const NAME: &str = "platypush-userd";
/// Name of the program in clap_complete's script for bash. clap_complete 4.6 spells a name with a
/// hyphen in two different ways, and then completes nothing after the first word.
const BASH_NAME: &str = "platypush_userd";
/// Completes the arguments of `call`, and calls clap_complete's function for everything else.
const BASH_FUNCTION: &str = include_str!("completions/arguments.bash");

/// Returns the script for a shell.
pub(super) fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    let mut command = Cli::command();
    if shell != Shell::Bash {
        clap_complete::generate(shell, &mut command, NAME, &mut script);
        return script;
    }
    clap_complete::generate(shell, &mut command, BASH_NAME, &mut script);
    let generated = String::from_utf8_lossy(&script);
    // The name ends a line only in the command that registers the function.
    let generated = generated.replace(&format!(" {BASH_NAME}\n"), &format!(" {NAME}\n"));
    format!("{generated}\n{}\n{BASH_FUNCTION}", parameters()).into_bytes()
}

/// Returns a variable with the names of all actions, and a function that sets the parameters of
/// an action.
fn parameters() -> String {
    let mut cases = String::new();
    let actions: Vec<_> = signatures().map(|signature| signature.name).collect();
    let actions = actions.join(" ");
    for signature in signatures() {
        let names: Vec<_> = signature.parameters.iter().map(|p| p.name).collect();
        let flags = signature.parameters.iter().filter(|p| p.kind == Kind::Flag);
        let flags: Vec<_> = flags.map(|parameter| parameter.name).collect();
        let _ = writeln!(
            cases,
            "        {name} | {PLUGIN}.{name})\n            parameters=\"{}\" flags=\"{}\" ;;",
            names.join(" "),
            flags.join(" "),
            name = signature.name,
        );
    }
    format!(
        "_platypush_userd_actions=\"{actions}\"\n\
         _platypush_userd_parameters() {{\n    case \"$1\" in\n{cases}        *) return 1 ;;\n    esac\n}}\n"
    )
}
