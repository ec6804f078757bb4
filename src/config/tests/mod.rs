//! Tests of [`load`]: each one sets files and variables, and checks the result.

mod keys;
mod layers;
mod problems;
mod secrets;

use std::fs;

use tempfile::TempDir;

use super::{Environment, Loaded, load};

/// Returns an environment with only the home folder, which the default `workdir` needs.
fn env() -> Environment {
    Environment::empty().with("HOME", "/home/demo")
}

/// Loads a text as `config.yaml`. Removes its folder from the problems.
fn load_text(text: &str, env: &Environment) -> Result<Loaded, String> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("config.yaml");
    fs::write(&path, text).unwrap();
    load(Some(&path), env).map_err(|problems| {
        let folder = format!("{}/", folder.path().display());
        problems.to_string().replace(&folder, "")
    })
}

fn problems(text: &str, env: &Environment) -> Vec<String> {
    let problems = load_text(text, env).expect_err("no problem was found");
    problems.lines().map(str::to_owned).collect()
}

fn defaults() -> Loaded {
    load(None, &env()).expect("the defaults have problems")
}
