//! What an error that keeps the daemon from its work asks for: a person, some
//! time or a new start; and what to say about a file that cannot be used.

use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Resource, geteuid, getrlimit};

/// What ends the cause of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remedy {
    /// A person has to mend something; a new start alone is in vain.
    Person,
    /// The cause may go away while the daemon waits, as a full disk does.
    Wait,
    /// A new start may succeed.
    Restart,
}

/// An error that knows its remedy. Implementations match every variant by
/// name, so that a new one cannot be forgotten.
pub trait HasRemedy {
    /// What ends the cause of the error.
    fn remedy(&self) -> Remedy;
}

impl Remedy {
    /// Returns the remedy of an error of the file system. Whatever is not
    /// known to need a person may go away: no space, no permission, too many
    /// open files, a failing disk.
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
            Self::Person
        } else {
            Self::Wait
        }
    }

    /// Returns the exit status of a process that ends with the error. The
    /// systemd unit does not restart after 78 (sysexits' `EX_CONFIG`).
    #[must_use]
    pub const fn exit_status(self) -> u8 {
        match self {
            Self::Person => 78,
            Self::Wait | Self::Restart => 1,
        }
    }
}

/// Returns what to say behind an error of the file system about `path`: the
/// figure it is about, and what to do. Empty where the error says it all.
#[must_use]
pub fn advice(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::StorageFull => room(path),
        ErrorKind::QuotaExceeded => {
            let uid = geteuid().as_raw();
            format!(": the disk quota of uid {uid} is used up; free some space or raise the quota")
        }
        ErrorKind::PermissionDenied => owner(path),
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

fn room(path: &Path) -> String {
    // The file may not be there, but its disk is that of a folder above.
    let Some(fs) = path
        .ancestors()
        .find_map(|place| rustix::fs::statvfs(place).ok())
    else {
        return String::new();
    };
    if fs.f_files > 0 && fs.f_favail == 0 {
        return ": its disk has no inode left; remove some files".into();
    }
    let free_kib = fs.f_bavail.saturating_mul(fs.f_frsize) >> 10;
    format!(": its disk has {free_kib} KiB free; free some space")
}

fn owner(path: &Path) -> String {
    // Where it cannot be looked at, a folder above is what shuts us out.
    let found = path
        .ancestors()
        .find_map(|place| Some((place, place.metadata().ok()?)));
    let Some((place, metadata)) = found else {
        return String::new();
    };
    format!(
        ": {} belongs to uid {} and has mode {:o}; this process runs as uid {}",
        place.display(),
        metadata.uid(),
        metadata.mode() & 0o7777,
        geteuid().as_raw(),
    )
}
