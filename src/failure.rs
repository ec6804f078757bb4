//! Remedies of errors that stop the daemon, and advice about file errors.

use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::{Resource, geteuid, getrlimit};

/// How the cause of an error can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remedy {
    /// The operator has to fix something. A restart alone does not help.
    Operator,
    /// The cause may end while the daemon waits, for example a full disk.
    Wait,
    /// A restart may succeed.
    Restart,
}

/// An error with a remedy. Implementations match every variant by name, so that the compiler
/// reports a new variant without a remedy.
pub trait HasRemedy {
    /// Returns the remedy of the error.
    fn remedy(&self) -> Remedy;
}

impl Remedy {
    /// Returns the remedy of a file system error. An error that is not known to need the operator
    /// may end while the daemon waits: no space, no permission, too many open files, a failing
    /// disk.
    #[must_use]
    pub fn of_io(error: &io::Error) -> Self {
        let kinds = [
            ErrorKind::NotFound,
            ErrorKind::NotADirectory,
            ErrorKind::IsADirectory,
            ErrorKind::InvalidFilename,
            ErrorKind::InvalidInput,
            ErrorKind::InvalidData,
            ErrorKind::AlreadyExists,
            ErrorKind::Unsupported,
        ];
        if kinds.contains(&error.kind()) || Errno::from_io_error(error) == Some(Errno::LOOP) {
            Self::Operator
        } else {
            Self::Wait
        }
    }

    /// Returns the exit status of a process that ends with the error. The systemd unit does not
    /// restart after 78 (`EX_CONFIG` in sysexits.h).
    #[must_use]
    pub const fn exit_status(self) -> u8 {
        match self {
            Self::Operator => 78,
            Self::Wait | Self::Restart => 1,
        }
    }
}

/// An error of the operating system about a file or directory.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {path}: {error}{}", advice(path, error), path = path.display())]
pub struct FileError {
    /// The file or directory.
    pub path: PathBuf,
    /// The error of the operating system.
    pub error: io::Error,
}

impl FileError {
    /// Returns a function that makes an error about `path`, for [`Result::map_err`].
    pub fn at<E: Into<io::Error>>(path: &Path) -> impl Fn(E) -> Self {
        |error| Self {
            path: path.to_owned(),
            error: error.into(),
        }
    }
}

impl HasRemedy for FileError {
    fn remedy(&self) -> Remedy {
        Remedy::of_io(&self.error)
    }
}

/// Returns text to append to a file system error about `path`: the relevant figure, and what to do.
/// The text is empty if the error itself is enough.
#[must_use]
pub fn advice(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::StorageFull => free_space(path),
        ErrorKind::QuotaExceeded => {
            let uid = geteuid().as_raw();
            format!(": the disk quota of uid {uid} is used up; free some space or raise the quota")
        }
        ErrorKind::PermissionDenied => ownership(path),
        ErrorKind::ReadOnlyFilesystem => ": its file system is mounted read-only".into(),
        _ => match Errno::from_io_error(error) {
            Some(Errno::MFILE) => {
                let limit = getrlimit(Resource::Nofile).current;
                let limit = limit.map_or_else(|| "infinite".into(), |limit| limit.to_string());
                format!(
                    ": this process may have {limit} files open; raise the limit (LimitNOFILE= of \
                     the service, `ulimit -n` of a shell)"
                )
            }
            Some(Errno::NFILE) => {
                ": all processes together have as many files open as fs.file-max allows".into()
            }
            Some(Errno::IO) => {
                ": the disk or its file system fails; look at the kernel's log (dmesg)".into()
            }
            _ => String::new(),
        },
    }
}

fn free_space(path: &Path) -> String {
    // The file may not exist. Its closest existing ancestor is on the same disk.
    let Some(fs) = path
        .ancestors()
        .find_map(|ancestor| rustix::fs::statvfs(ancestor).ok())
    else {
        return String::new();
    };
    if fs.f_files > 0 && fs.f_favail == 0 {
        return ": its disk has no inode left; remove some files".into();
    }
    let free_kib = fs.f_bavail.saturating_mul(fs.f_frsize) >> 10;
    format!(": its disk has {free_kib} KiB free; free some space")
}

fn ownership(path: &Path) -> String {
    // If the metadata of the file cannot be read, an ancestor denies access.
    let found = path
        .ancestors()
        .find_map(|ancestor| Some((ancestor, ancestor.metadata().ok()?)));
    let Some((ancestor, metadata)) = found else {
        return String::new();
    };
    format!(
        ": {} belongs to uid {} and has mode {:o}; this process runs as uid {}",
        ancestor.display(),
        metadata.uid(),
        metadata.mode() & 0o7777,
        geteuid().as_raw(),
    )
}
