//! The process environment as a value, so that tests do not change global state.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// The environment that a configuration is read in.
///
/// No `Debug`: a variable may contain a password.
#[derive(Clone)]
pub struct Environment {
    /// The environment variables.
    pub variables: BTreeMap<OsString, OsString>,
    /// Folder that may contain `platypush-userd.yaml`.
    pub current_dir: Option<PathBuf>,
    /// Folder that may contain `platypush-userd/config.yaml`, the last file of the search: `/etc`.
    pub system_dir: Option<PathBuf>,
    /// Host name of this machine, if it has one.
    pub host_name: Option<String>,
    /// Number of processor cores that the process may use.
    pub cores: NonZeroUsize,
}

impl Environment {
    /// Returns the environment of this process.
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

    /// Returns an environment without variables and folders, on a machine named `localhost` with
    /// one core. The defaults can be loaded after [`with`](Self::with) has set `workdir` or `HOME`.
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

    /// Sets a variable.
    #[must_use]
    pub fn with(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// Returns the value of a variable. An empty one counts as not set, as in the XDG
    /// specification: `VARIABLE=${OPTIONAL:-}` in a unit or compose file may set it to nothing.
    pub(super) fn get(&self, name: &str) -> Option<&OsStr> {
        self.variables
            .get(OsStr::new(name))
            .map(OsString::as_os_str)
            .filter(|value| !value.is_empty())
    }

    /// Returns the path in a variable. Ignores a relative path, as the XDG specification requires.
    fn absolute(&self, name: &str) -> Option<PathBuf> {
        self.get(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    }

    /// Returns an XDG base directory: the one in its variable, or the default in the home folder.
    fn xdg(&self, name: &str, in_home: &str) -> Option<PathBuf> {
        self.absolute(name)
            .or_else(|| Some(self.absolute("HOME")?.join(in_home)))
    }

    /// Returns the files to try if no configuration file is named, in order.
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

    /// Returns the file of a systemd credential (systemd.exec(5)), if it exists.
    pub(super) fn credential(&self, name: &str) -> Option<PathBuf> {
        let file = self.absolute("CREDENTIALS_DIRECTORY")?.join(name);
        file.is_file().then_some(file)
    }

    /// Returns the default folder of the database, and the variable that determines it.
    pub(super) fn default_workdir(&self) -> Option<(PathBuf, &'static str)> {
        // systemd separates several state folders of a unit by colons.
        let state = self
            .get("STATE_DIRECTORY")
            .and_then(|list| list.as_bytes().split(|&byte| byte == b':').next())
            .filter(|first| !first.is_empty());
        if let Some(folder) = state {
            return Some((OsStr::from_bytes(folder).into(), "$STATE_DIRECTORY"));
        }
        let variable = match self.absolute("XDG_DATA_HOME") {
            Some(_) => "$XDG_DATA_HOME",
            None => "$HOME",
        };
        let data = self.xdg("XDG_DATA_HOME", ".local/share")?;
        Some((data.join("platypush-userd"), variable))
    }
}
