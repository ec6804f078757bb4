//! `make` checks first whether Rust is missing or too old and explains how to install it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// The commands of the Makefile and the scripts that a bare machine has.
const TOOLS: &[&str] = &[
    "bash", "cat", "dirname", "env", "expand", "grep", "head", "id", "make", "sed", "sh", "sort",
];
/// Targets that build or check something with cargo.
const TARGETS: &[&str] = &[
    "build",
    "test",
    "demo",
    "lint",
    "torture",
    "enumeration",
    "bench",
    "bench-micro",
    "bench-platypush",
    "test-platypush",
    "deny",
    "install",
];
const MINIMUM: &str = env!("CARGO_PKG_RUST_VERSION");

/// A machine without Redis, compiler and Python, on which apt-get leaves a marker file and fails.
struct Machine {
    folder: TempDir,
}

impl Machine {
    fn bare() -> Self {
        let machine = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(machine.bin()).unwrap();
        for tool in TOOLS {
            symlink(find(tool), machine.bin().join(tool)).unwrap();
        }
        let marker = machine.marker();
        machine.add_command("apt-get", &format!("echo >'{}'; exit 1", marker.display()));
        machine.add_command("sudo", "exec \"$@\"");
        machine
    }

    /// Same, with a cargo that prints this version and fails at everything else.
    fn with_cargo(version: &str) -> Self {
        let machine = Self::bare();
        let script = format!("[ \"$1\" = --version ] && echo '{version}'");
        machine.add_command("cargo", &script);
        machine
    }

    fn bin(&self) -> PathBuf {
        self.folder.path().join("bin")
    }

    fn marker(&self) -> PathBuf {
        self.folder.path().join("apt-get was called")
    }

    fn add_command(&self, command: &str, script: &str) {
        let path = self.bin().join(command);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(&self, program: &str, args: &[&str]) -> Output {
        Command::new(program)
            .args(args)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env_clear()
            .env("PATH", self.bin())
            .env("HOME", self.folder.path())
            // An empty folder: nothing has been built.
            .env("CARGO_TARGET_DIR", self.folder.path().join("target"))
            .output()
            .unwrap()
    }

    /// Asserts that the target fails with advice and that nothing was installed.
    #[track_caller]
    fn assert_advises(&self, target: &str, found: &str) {
        let output = self.run("make", &[target]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "make {target}: {text}");
        for part in [MINIMUM, found, "https://sh.rustup.rs", "Debian 12"] {
            assert!(text.contains(part), "make {target}, {part}: {text}");
        }
        assert!(!self.marker().exists(), "make {target}: {text}");
    }
}

/// Returns the path of a command of the real machine.
fn find(command: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path)
        .map(|folder| folder.join(command))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("{command} is needed for this test"))
}

/// Regression: apt-get ran first, then cargo failed on an unknown edition.
#[test]
fn each_target_reports_first_that_cargo_is_too_old() {
    let machine = Machine::with_cargo("cargo 1.65.0 (4bc8f24d3 2022-10-20)");
    for target in TARGETS {
        machine.assert_advises(target, "cargo 1.65.0");
    }
}

#[test]
fn a_missing_or_failing_cargo_is_reported() {
    let machine = Machine::bare();
    for target in ["test", "demo"] {
        machine.assert_advises(target, "cargo was not found");
    }
    let no_toolchain = "echo 'error: no default toolchain is configured' >&2; exit 1";
    machine.add_command("cargo", no_toolchain);
    machine.assert_advises("test", "no default toolchain is configured");
}

#[test]
fn versions_are_compared_as_numbers() {
    for old in ["cargo 1.9.0", "cargo 1.88.1", "cargo 0.99.0"] {
        Machine::with_cargo(old).assert_advises("build", old);
    }
    let (major, minor) = MINIMUM.split_once('.').unwrap();
    let next = format!("cargo {major}.{}.0", minor.parse::<u32>().unwrap() + 11);
    for new in [
        &*format!("cargo {MINIMUM}.0 (c24e10642)"),
        &next,
        "cargo 1.1000.0-nightly",
    ] {
        let machine = Machine::with_cargo(new);
        let output = machine.run(script(), &["rust"]);
        assert!(output.status.success(), "{new}: {output:?}");
        // The check of the other tools follows.
        machine.run("make", &["test"]);
        assert!(machine.marker().exists(), "{new}");
    }
}

fn script() -> &'static str {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/need.sh");
    assert!(Path::new(script).exists());
    script
}

/// Regression: a build of several minutes showed no progress.
#[test]
fn builds_show_the_progress_of_cargo() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in [
        "Makefile",
        "demo/demo.sh",
        "benches/service/sections/build.rs",
    ] {
        let text = fs::read_to_string(root.join(file)).unwrap();
        let quiet = text
            .lines()
            .find(|line| line.contains("--quiet") || line.contains("cargo build -q"));
        assert_eq!(quiet, None, "{file}");
    }
}
