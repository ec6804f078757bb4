use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::Context as _;

use rustix::io::Errno;
use rustix::process::{Resource, geteuid, getrlimit};

use super::*;
use crate::config::{Environment, load};
use crate::failure::{FileError, advice};
use crate::store::SealedItem;

/// Returns the remedy of an error below a context, as `main` and the start of the daemon add one.
fn remedy<E: std::error::Error + Send + Sync + 'static>(error: E) -> Remedy {
    let error = Err::<(), _>(error).context("while starting").unwrap_err();
    super::remedy(&error)
}

fn path() -> PathBuf {
    "/some/where".into()
}

fn errno(errno: Errno) -> io::Error {
    errno.into()
}

/// Covers each variant of each type in the table, except I/O errors.
#[test]
fn only_errors_for_the_operator_have_exit_status_78() {
    let problems = load(
        None,
        &Environment::empty().with("PLATYPUSH_USERD_REPLY_TTL", "soon"),
    );
    let url = redis::RedisError::from((redis::ErrorKind::InvalidClientConfig, "no URL"));
    let engine = OpenError::Engine {
        path: path(),
        reason: "damaged".into(),
    };
    let for_the_operator = [
        remedy(problems.err().unwrap()),
        remedy(ConnectorError::Unusable(url)),
        remedy(WorkdirError::WritableByOthers {
            path: path(),
            mode: 0o770,
        }),
        remedy(WorkdirError::BadStoreId(path())),
        remedy(engine),
        remedy(OpenError::Missing {
            path: path(),
            file: path(),
        }),
        remedy(OpenError::NewerSchema { found: 9, known: 3 }),
        remedy(OpenError::Older {
            path: path(),
            file: path(),
            found: 1,
            acknowledged: 2,
        }),
        remedy(OpenError::BadCommitFile { file: path() }),
        remedy(KeyringError::Missing(path())),
        remedy(KeyringError::Malformed(path())),
        remedy(KeyringError::Wrong(path())),
        remedy(KeyringError::OpenToOthers {
            path: path(),
            mode: 0o644,
        }),
        remedy(RotationError::Keys(KeyringError::Wrong(path()))),
        remedy(RotationError::DoesNotOpen(SealedItem::HashKey)),
        remedy(ControlError::PathTooLong { path: path() }),
    ];
    for remedy in for_the_operator {
        assert_eq!(remedy.exit_status(), 78);
    }
    let configuration = |path: &str| {
        load(Some(path.as_ref()), &Environment::empty())
            .err()
            .unwrap()
    };
    assert_eq!(remedy(configuration("/no/such/file")), Remedy::Operator);
    // Its first page is not mapped, so reading it is an I/O error.
    let unreadable = configuration("/proc/self/mem");
    assert!(unreadable.to_string().contains("fails"), "{unreadable}");
    assert_eq!(remedy(unreadable), Remedy::Restart);
    let full = || StoreError::DiskFull {
        path: path(),
        free_mib: 1,
        needed_mib: 64,
    };
    assert_eq!(remedy(full()), Remedy::Wait);
    assert_eq!(remedy(RotationError::Store(full())), Remedy::Wait);
    let others = [
        remedy(WorkdirError::Locked(path())),
        remedy(OpenError::Threads {
            started: 0,
            needed: 7,
            error: errno(Errno::AGAIN),
        }),
        remedy(RotationError::Randomness(errno(Errno::IO))),
        remedy(StoreError::Conflict),
        remedy(StoreError::Interrupted),
        remedy(StoreError::NameTaken),
        remedy(StoreError::ApiTokenNameTaken),
        remedy(StoreError::TooManyApiTokens),
        remedy(StoreError::NoSuchUser),
        remedy(StoreError::Stopped),
        remedy(StoreError::Engine("failed".into())),
        super::remedy(&anyhow::anyhow!("anything else")),
    ];
    assert_eq!(others, [Remedy::Restart; 12]);
    for remedy in [Remedy::Wait, Remedy::Restart] {
        assert_eq!(remedy.exit_status(), 1);
    }
}

/// Returns the remedies of an I/O error in each error type with one.
fn io_remedies(code: Errno) -> [Remedy; 5] {
    let (path, error) = (path, || errno(code));
    [
        remedy(ConnectorError::File {
            path: path(),
            error: error(),
        }),
        remedy(WorkdirError::from(FileError {
            path: path(),
            error: error(),
        })),
        remedy(OpenError::Io {
            path: path(),
            error: error(),
        }),
        remedy(KeyringError::from(FileError {
            path: path(),
            error: error(),
        })),
        remedy(ControlError::Io {
            path: path(),
            error: error(),
        }),
    ]
}

#[test]
fn temporary_io_errors_have_the_remedy_wait() {
    for code in [
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::ACCESS,
        Errno::PERM,
        Errno::ROFS,
        Errno::IO,
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::STALE,
    ] {
        assert_eq!(io_remedies(code), [Remedy::Wait; 5], "{code:?}");
    }
    for code in [Errno::NOTDIR, Errno::ISDIR, Errno::LOOP, Errno::NAMETOOLONG] {
        assert_eq!(io_remedies(code), [Remedy::Operator; 5], "{code:?}");
    }
    let missing = crate::credentials::Blocklist::read(&path()).unwrap_err();
    assert_eq!(remedy(missing), Remedy::Operator);
}

#[test]
fn advice_contains_the_figures_of_the_error() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
    let file = folder.path().join("missing/file");
    let assert_advice = |code, texts: &[&str]| {
        let advice = advice(&file, &errno(code));
        for text in texts {
            assert!(advice.contains(text), "{code:?}: {advice}");
        }
    };
    let folder_path = folder.path().to_str().unwrap();
    let uid = format!("runs as uid {}", geteuid().as_raw());
    assert_advice(Errno::NOSPC, &[" KiB free"]);
    assert_advice(Errno::ACCESS, &[folder_path, "has mode 700", &uid]);
    let limit = getrlimit(Resource::Nofile).current.unwrap();
    assert_advice(Errno::MFILE, &[&limit.to_string(), "LimitNOFILE="]);
    assert_advice(Errno::NFILE, &["fs.file-max"]);
    assert_advice(Errno::ROFS, &["read-only"]);
    assert_advice(Errno::IO, &["dmesg"]);
    assert_advice(Errno::DQUOT, &["quota"]);
    assert_advice(Errno::NOTDIR, &[""]);
}
