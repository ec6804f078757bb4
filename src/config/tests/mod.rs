//! The configuration as a whole: each test gives files and variables, and looks
//! at what [`load`] makes of them.

mod keys;
mod layers;
mod problems;
mod secrets;

use std::fs;

use tempfile::TempDir;

use super::{Environment, Loaded, load};

/// Nothing set but the home folder the default `workdir` needs.
fn env() -> Environment {
    Environment::empty().with("HOME", "/home/demo")
}

/// Loads a text as `config.yaml`, whose folder is cut from the outcome.
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
