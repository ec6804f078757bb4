//! What the configuration takes from the process and its machine, as a value:
//! a test makes its own and touches nothing that others share.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// The surroundings a configuration is read in.
///
/// No `Debug`: a variable may be a password.
#[derive(Clone)]
pub struct Environment {
    /// The environment variables.
    pub variables: BTreeMap<OsString, OsString>,
    /// Where `platypush-userd.yaml` is looked for; none: nowhere.
    pub current_dir: Option<PathBuf>,
    /// Where `platypush-userd/config.yaml` is looked for last: `/etc`; none:
    /// nowhere.
    pub system_dir: Option<PathBuf>,
    /// The name of this machine, where it has one.
    pub host_name: Option<String>,
    /// How many processor cores the process may use.
    pub cores: NonZeroUsize,
}

impl Environment {
    /// That of the running process.
    #[must_use]
    pub fn from_process() -> Self {
        let host_name = rustix::system::uname()
            .nodename()
            .to_str()
            .ok()
            .filter(|name| !name.is_empty())
            .map(str::to_owned);
        Self {
            variables: std::env::vars_os().collect(),
            current_dir: Some(PathBuf::from(".")),
            system_dir: Some(PathBuf::from("/etc")),
            host_name,
            cores: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        }
    }

    /// One without variables and without places to look for a file, on a
    /// machine named `localhost` with one core. With `workdir` or `HOME` set by
    /// [`with`](Self::with), the defaults can be loaded in it.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            variables: BTreeMap::new(),
            current_dir: None,
            system_dir: None,
            host_name: Some("localhost".to_owned()),
            cores: NonZeroUsize::MIN,
        }
    }

    /// The same with one more variable set.
    #[must_use]
    pub fn with(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// A variable. An empty one counts as not set, as the XDG specification
    /// has it: `VARIABLE=${MAYBE:-}` in a unit or a compose file means nothing.
    pub(super) fn get(&self, name: &str) -> Option<&OsStr> {
        self.variables
            .get(OsStr::new(name))
            .map(OsString::as_os_str)
            .filter(|value| !value.is_empty())
    }

    /// The path in a variable; a relative one is ignored, as XDG has it.
    fn absolute(&self, name: &str) -> Option<PathBuf> {
        self.get(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    }

    /// An XDG base directory: its variable, else its place in the home folder.
    fn xdg(&self, name: &str, in_home: &str) -> Option<PathBuf> {
        self.absolute(name)
            .or_else(|| Some(self.absolute("HOME")?.join(in_home)))
    }

    /// Where a configuration file nobody named is looked for, in order.
    pub(super) fn search_path(&self) -> impl Iterator<Item = PathBuf> {
        let below = |folder: PathBuf| folder.join("platypush-userd").join("config.yaml");
        [
            self.current_dir
                .as_ref()
                .map(|folder| folder.join("platypush-userd.yaml")),
            self.xdg("XDG_CONFIG_HOME", ".config").map(below),
            self.system_dir.clone().map(below),
        ]
        .into_iter()
        .flatten()
    }

    /// The file of a systemd credential (systemd.exec(5)), if there is one of
    /// that name.
    pub(super) fn credential(&self, name: &str) -> Option<PathBuf> {
        let file = self.absolute("CREDENTIALS_DIRECTORY")?.join(name);
        file.is_file().then_some(file)
    }

    /// Where the database goes if nobody says so, and what tells.
    pub(super) fn default_workdir(&self) -> Option<(PathBuf, &'static str)> {
        // systemd joins the several state folders of a unit by colons.
        let state = self
            .get("STATE_DIRECTORY")
            .and_then(|list| list.as_bytes().split(|&byte| byte == b':').next())
            .filter(|first| !first.is_empty());
        if let Some(folder) = state {
            return Some((OsStr::from_bytes(folder).into(), "$STATE_DIRECTORY"));
        }
        let from = match self.absolute("XDG_DATA_HOME") {
            Some(_) => "$XDG_DATA_HOME",
            None => "$HOME",
        };
        let data = self.xdg("XDG_DATA_HOME", ".local/share")?;
        Some((data.join("platypush-userd"), from))
    }
}
