//! `platypush-userd import`: imports users from a Platypush node or an export.

mod dry_run;
mod report;
mod watch;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Subcommand;
use clap::builder::PossibleValue;
use zeroize::Zeroizing;

use self::dry_run::{DryRunWorkdir, has_no_database};
use self::report::Report;
use self::watch::{Interrupts, OnInterrupt, WritingBar};
use super::{ConfigFile, admin_client, complain, print};
use crate::admin::{AdminCommand, AdminReply};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Config, Loaded};
use crate::keyring::{Keyring, KeyringError};
use crate::lifecycle;
use crate::transfer::import::{ImportOutcome, ImportRequest, OnConflict};
use crate::transfer::{ImportedUserRecord, jsonl, platypush};

/// Import users from a Platypush node or an export
///
/// Imports all users or none. The daemon may be running, stopped or not started
/// yet. Users that were imported before are not changed, so a second run changes
/// nothing. Run it as root, or as the owner of the daemon's working directory if
/// that user may read the source. For the systemd service:
///
/// sudo env PLATYPUSH_USERD_WORKDIR=/var/lib/platypush-userd platypush-userd
/// import …
///
/// Exits with 0 on success and with 130 after Ctrl-C. It then says that no user
/// was imported or, if the daemon did not answer, how to find out.
#[derive(Debug, clap::Args)]
pub(super) struct Import {
    #[command(flatten)]
    file: ConfigFile,
    #[command(subcommand)]
    source: Source,
}

impl clap::ValueEnum for OnConflict {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Skip, Self::Rename]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Skip => PossibleValue::new("skip")
                .help("Skip the imported user, with everything that belongs to it"),
            Self::Rename => PossibleValue::new("rename")
                .help("Give the imported user the first free name of NAME-2, NAME-3, …"),
        })
    }
}

#[derive(Debug, Subcommand)]
enum Source {
    /// Import the users of a Platypush node: passwords, 2FA, backup codes, API
    /// tokens and sessions
    ///
    /// Reads the node's database, which may be in use, and does not change it.
    /// The node's password hashes are kept; the first login of a user replaces
    /// its hash by Argon2id. Run it once for each node.
    Platypush {
        /// The node's working directory, which contains main.db
        #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
        workdir: PathBuf,
        /// The node's key for 2FA secrets, if it is not DIR/otp/key
        #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
        otp_key: Option<PathBuf>,
        /// Import users again that were deleted here after an earlier import
        #[arg(long)]
        bring_deleted: bool,
        #[command(flatten)]
        options: ImportOptions,
    },
    /// Import what `export` has written
    Jsonl {
        /// Export file; - is standard input
        #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
        export: PathBuf,
        /// Key file that the export was sealed with, if it is not the daemon's
        /// own
        #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
        keys: Option<PathBuf>,
        #[command(flatten)]
        options: ImportOptions,
    },
    /// Run an import request from standard input
    ///
    /// Used by an import that runs as root: it starts this as the owner of the
    /// working directory.
    #[command(name = "order", hide = true)]
    Request,
}

#[derive(Debug, clap::Args)]
struct ImportOptions {
    /// Show what would be imported, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// What to do if another user has the name here
    #[arg(long, value_enum, default_value_t = OnConflict::Skip)]
    on_conflict: OnConflict,
}

impl Import {
    pub(super) fn run(self) -> Result<ExitCode> {
        // This process reads TOTP secrets and the key of a node.
        lifecycle::forbid_core_dumps();
        let interrupts = Interrupts::listen().context("cannot listen for signals")?;
        self.import_source(&interrupts).or_else(|error| {
            if let Some(ChildFailed(status)) = error.downcast_ref() {
                return Ok(ExitCode::from(*status));
            }
            if !interrupts.requested_stop() {
                return Err(error);
            }
            complain(format_args!("platypush-userd: {error:#}"));
            Ok(ExitCode::from(watch::INTERRUPTED))
        })
    }

    fn import_source(&self, interrupts: &Interrupts) -> Result<ExitCode> {
        let loaded = self.file.load()?;
        let (users, skipped, restore, bring_deleted, options) = match &self.source {
            Source::Platypush {
                workdir,
                otp_key,
                bring_deleted,
                options,
            } => {
                let paths = platypush::NodePaths {
                    workdir: workdir.clone(),
                    otp_key: otp_key.clone(),
                };
                let node = read_node(&paths)?;
                (node.users, node.skipped, None, *bring_deleted, options)
            }
            Source::Jsonl {
                export,
                keys,
                options,
            } => {
                let export = read_export(&loaded.config, export, keys.as_deref())?;
                let restore = Some(export.restore);
                (export.users, export.skipped, restore, false, options)
            }
            Source::Request => return run_import_request(&loaded.config, interrupts),
        };
        let is_from_node = restore.is_none();
        let dry_run = options.dry_run;
        let request = ImportRequest {
            users: users.iter().map(ImportedUserRecord::of).collect(),
            restore,
            on_conflict: options.on_conflict,
            bring_deleted,
            dry_run,
            progress: Arc::clone(&interrupts.progress),
        };
        let outcomes = import(&loaded, request, interrupts)?;
        let report = Report {
            users: users.into_iter().zip(outcomes).collect(),
            dry_run,
            skipped,
            is_from_node,
        };
        print(report.to_string().as_bytes())
    }
}

fn import(
    loaded: &Loaded,
    request: ImportRequest,
    interrupts: &Interrupts,
) -> Result<Vec<ImportOutcome>> {
    let (dry_run, count) = (request.dry_run, request.users.len());
    let workdir = &loaded.config.workdir;
    let is_first = has_no_database(workdir);
    if is_first {
        // The operator may have named another working directory than the daemon's.
        complain(format_args!(
            "There is no database in {} yet: {}. (The systemd service has its database in \
             /var/lib/platypush-userd.)",
            workdir.display(),
            if dry_run {
                "the dry run uses an empty one"
            } else {
                "creating one"
            },
        ));
    }
    let outcomes = if is_first && dry_run {
        let temporary = DryRunWorkdir::create()?;
        send_request(&temporary.configure(&loaded.config), request, interrupts)?
    } else {
        match admin_client::as_owner(loaded)? {
            None => send_request(&loaded.config, request, interrupts)?,
            Some(command) => import_as_owner(command, &request, interrupts)?,
        }
    };
    if outcomes.len() != count {
        bail!("unexpected reply from the daemon");
    }
    if interrupts.requested_stop() {
        complain("The interruption came too late: the import was completed.");
    }
    Ok(outcomes)
}

/// Runs the request in a child process as the owner of the working directory.
///
/// Root has read the source, which the owner may not read. Files that root
/// created in the working directory would shut the daemon out.
fn import_as_owner(
    mut command: std::process::Command,
    request: &ImportRequest,
    interrupts: &Interrupts,
) -> Result<Vec<ImportOutcome>> {
    let mut child = command
        .args(["import", "order"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run as the owner of the working directory")?;
    interrupts.set(OnInterrupt::LeaveToChild);
    let json = Zeroizing::new(serde_json::to_vec(request)?);
    if let Some(mut stdin) = child.stdin.take() {
        // A child that ends early reports the reason itself.
        let _ = stdin.write_all(&json);
    }
    let output = child.wait_with_output()?;
    match output.status.code().map(u8::try_from) {
        Some(Ok(0)) => Ok(serde_json::from_slice(&output.stdout)?),
        Some(Ok(status)) => Err(ChildFailed(status).into()),
        _ => bail!("the process that writes the users was killed. {ALL_OR_NONE}"),
    }
}

/// The exit status of a child that ran the request and reported its error.
#[derive(Debug, thiserror::Error)]
#[error("the import process ended with exit status {0}")]
struct ChildFailed(u8);

/// Advice for an import whose outcome is unknown.
const ALL_OR_NONE: &str = "Either all users were imported or none. Run the command again to find \
                           out: users that were imported are not changed";

fn send_request(
    config: &Config,
    request: ImportRequest,
    interrupts: &Interrupts,
) -> Result<Vec<ImportOutcome>> {
    let bar = WritingBar::start(&request);
    interrupts.set(OnInterrupt::StopImport);
    admin_client::prepare(config);
    let reply = admin_client::run(config, AdminCommand::Import(request), &mut |_| Ok(()));
    bar.finish();
    match reply {
        Ok(AdminReply::Imported(outcomes)) => Ok(outcomes),
        Ok(_) => bail!("unexpected reply from the daemon"),
        Err(error) if is_reply_lost(&error) => Err(anyhow!("{error:#}. {ALL_OR_NONE}")),
        Err(error) => Err(error),
    }
}

/// Whether the daemon received the import and its reply was lost.
fn is_reply_lost(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref().map(io::Error::kind);
    kind.is_some_and(|kind| kind != io::ErrorKind::PermissionDenied)
}

fn run_import_request(config: &Config, interrupts: &Interrupts) -> Result<ExitCode> {
    let mut json = Zeroizing::new(Vec::new());
    io::stdin().read_to_end(&mut json)?;
    // serde's error is dropped: it can quote secrets.
    let request: Option<ImportRequest> = serde_json::from_slice(&json).ok();
    let mut request = request.context("standard input contains no import request")?;
    request.progress = Arc::clone(&interrupts.progress);
    let outcomes = send_request(config, request, interrupts)?;
    print(&serde_json::to_vec(&outcomes)?)
}

fn read_node(paths: &platypush::NodePaths) -> Result<platypush::NodeContents> {
    let bar = watch::bar("reading", 0);
    let node = platypush::read(paths, SystemClock.now(), &mut |progress| {
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
    });
    bar.finish_and_clear();
    Ok(node?)
}

fn read_export(
    config: &Config,
    export: &Path,
    keys: Option<&Path>,
) -> Result<jsonl::ExportContents> {
    let lines: Box<dyn BufRead> = if export == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(export);
        let file = file.with_context(|| format!("cannot read {}", export.display()))?;
        Box::new(BufReader::new(file))
    };
    let own_keys = || {
        let configured = config.secret_keys_file.clone();
        configured.unwrap_or_else(|| Keyring::default_path(&config.workdir))
    };
    let keyring = Keyring::open(keys.map_or_else(own_keys, Path::to_owned), false);
    let keyring = keyring.map_err(|error| match error {
        KeyringError::Missing(path) => anyhow!(
            "there is no key file {}: an export is sealed with the keys that the daemon had when \
             it was written. Name a copy of that file (secret.keys in the working directory of \
             that daemon) with --keys FILE",
            path.display()
        ),
        error => error.into(),
    })?;
    Ok(jsonl::read(lines, &keyring)?)
}
