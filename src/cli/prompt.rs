//! Secrets as a person types them, or a script pipes them in.

use std::io::{self, IsTerminal as _};

use anyhow::{Context as _, Result, bail};

/// Asks for a secret without echo, or reads a line of standard input when that
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

/// The same for one that is to hold from now on: a typing mistake would lock
/// somebody out, so a terminal asks twice.
pub(super) fn new_secret(name: &str) -> Result<String> {
    let first = secret(name)?;
    if io::stdin().is_terminal() && secret(&format!("{name} again"))? != first {
        bail!("the two are not the same: nothing was changed");
    }
    Ok(first)
}
