//! Reads secrets from a terminal or from standard input.

use std::io::{self, IsTerminal as _};

use anyhow::{Context as _, Result, bail};

/// Prompts for a secret without echo, or reads a line of standard input if that
/// is no terminal.
pub(super) fn secret(name: &str) -> Result<String> {
    if io::stdin().is_terminal() {
        return rpassword::prompt_password(format!("{name}: "))
            .with_context(|| format!("cannot read {name} from the terminal"));
    }
    let mut line = String::new();
    let read = io::stdin()
        .read_line(&mut line)
        .with_context(|| format!("cannot read {name} from standard input"))?;
    if read == 0 {
        bail!("standard input ended before a line for {name}");
    }
    let line = line.strip_suffix('\n').unwrap_or(&line);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

/// Reads a new secret. On a terminal it prompts twice, because a typing mistake
/// would lock the user out.
pub(super) fn new_secret(name: &str) -> Result<String> {
    let first = secret(name)?;
    if io::stdin().is_terminal() && secret(&format!("{name} again"))? != first {
        bail!("the two inputs differ: nothing was changed");
    }
    Ok(first)
}
