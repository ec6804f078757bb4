//! `platypush-userd import`: users from elsewhere.

mod rehearsal;
mod report;
mod watch;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Subcommand;
use clap::builder::PossibleValue;
use zeroize::Zeroizing;

use self::rehearsal::{Rehearsal, has_no_database};
use self::report::Report;
use self::watch::{Interrupts, WritingBar};
use super::admin_client::{self, AdminClient};
use super::{ConfigFile, complain, print};
use crate::admin::{AdminCommand, AdminReply};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Config, Loaded};
use crate::keyring::{Keyring, KeyringError};
use crate::lifecycle;
use crate::transfer::import::{ImportOutcome, ImportRequest, OnConflict, Restore};
use crate::transfer::{Person, PersonRecord, jsonl, platypush};

/// Bring users along, from Platypush nodes or an export
///
/// All or nothing; the daemon may run meanwhile, and need not have run before.
/// Who came before is left as it is, so running it twice changes nothing. Run it
/// as somebody who may read the source and is either root or the owner of the
/// daemon's working directory. For the systemd service:
///
/// sudo env PLATYPUSH_USERD_WORKDIR=/var/lib/platypush-userd platypush-userd
/// import …
///
/// Exits with 0 when it is done, and with 130 after Ctrl-C: it says then that
/// nobody was brought, or, where it has no answer, how to see what became of it.
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
                .help("Leave out who comes later, with all that goes along"),
            Self::Rename => PossibleValue::new("rename")
                .help("Give who comes later the first free name of NAME-2, NAME-3, …"),
        })
    }
}

#[derive(Debug, Subcommand)]
enum Source {
    /// Bring the users of a Platypush node: passwords, 2FA, backup codes, API
    /// tokens and sessions
    ///
    /// Reads the node's database, which may be in use, and changes nothing of
    /// it. Passwords are kept as the node hashed them until their first login
    /// here, which makes Argon2id of them. For several nodes, run it for each.
    Platypush {
        /// The node's working directory: where its main.db is
        #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
        workdir: PathBuf,
        /// The node's key of 2FA secrets, where it is not DIR/otp/key
        #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
        otp_key: Option<PathBuf>,
        /// Bring those again who came before and were deleted here since
        #[arg(long)]
        bring_deleted: bool,
        #[command(flatten)]
        how: How,
    },
    /// Bring back what export has written
    Jsonl {
        /// The export; - is standard input
        #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
        export: PathBuf,
        /// The file of keys that it was sealed with, where it is not the
        /// daemon's own
        #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
        keys: Option<PathBuf>,
        #[command(flatten)]
        how: How,
    },
    /// Carry out an order from standard input, for root who runs this as the
    /// owner of the working directory
    #[command(hide = true)]
    ImportRequest,
}

#[derive(Debug, clap::Args)]
struct How {
    /// Say what would be brought, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// What to do about a name that somebody else has here
    #[arg(long, value_enum, default_value_t = OnConflict::Skip)]
    on_conflict: OnConflict,
}

impl Import {
    pub(super) fn run(self) -> Result<ExitCode> {
        // What is read here, the secrets of second factors and the key of a node, is for no file.
        lifecycle::forbid_core_dumps();
        let interrupts = Interrupts::listen().context("cannot listen for signals")?;
        self.bring(&interrupts).or_else(|error| {
            if let Some(Ended(status)) = error.downcast_ref() {
                return Ok(ExitCode::from(*status));
            }
            if !interrupts.came() {
                return Err(error);
            }
            complain(format_args!("platypush-userd: {error:#}"));
            Ok(ExitCode::from(watch::INTERRUPTED))
        })
    }

    fn bring(&self, interrupts: &Interrupts) -> Result<ExitCode> {
        let loaded = self.file.load()?;
        match &self.source {
            Source::Platypush {
                workdir,
                otp_key,
                bring_deleted,
                how,
            } => {
                let source = platypush::Source {
                    workdir: workdir.clone(),
                    otp_key: otp_key.clone(),
                };
                let found = read_node(&source)?;
                let people: Vec<_> = found.newcomers.into_iter().map(Person::from).collect();
                let mut order = order(&people, None, how, interrupts);
                order.bring_deleted = *bring_deleted;
                let mut report = bring(&loaded, people, order, interrupts)?;
                report.left_behind = found.left_behind;
                report.is_of_a_node = true;
                print(report.to_string().as_bytes())
            }
            Source::Jsonl { export, keys, how } => {
                let found = read_export(&loaded.config, export, keys.as_deref())?;
                let order = order(&found.people, Some(found.restore), how, interrupts);
                let mut report = bring(&loaded, found.people, order, interrupts)?;
                report.left_behind = found.left_behind;
                print(report.to_string().as_bytes())
            }
            Source::ImportRequest => carry_out_order(&loaded.config, interrupts),
        }
    }
}

fn order(
    people: &[Person],
    restore: Option<Restore>,
    how: &How,
    interrupts: &Interrupts,
) -> ImportRequest {
    ImportRequest {
        people: people.iter().map(PersonRecord::of).collect(),
        restore,
        on_conflict: how.on_conflict,
        bring_deleted: false,
        dry_run: how.dry_run,
        progress: interrupts.progress(),
    }
}

fn bring(
    loaded: &Loaded,
    people: Vec<Person>,
    order: ImportRequest,
    interrupts: &Interrupts,
) -> Result<Report> {
    let dry_run = order.dry_run;
    let workdir = &loaded.config.workdir;
    let is_first = has_no_database(workdir);
    if is_first {
        // In case it is not the one that the daemon will have.
        complain(format_args!(
            "There is no database in {} yet: {}. (That of the systemd service is in \
             /var/lib/platypush-userd.)",
            workdir.display(),
            if dry_run {
                "this tries it on an empty one"
            } else {
                "making one"
            },
        ));
    }
    let fates = if is_first && dry_run {
        let rehearsal = Rehearsal::prepare()?;
        import(&rehearsal.configure(&loaded.config), order, interrupts)?
    } else {
        match admin_client::as_owner(loaded)? {
            None => import(&loaded.config, order, interrupts)?,
            Some(command) => import_as_owner(command, &order, interrupts)?,
        }
    };
    if fates.len() != people.len() {
        bail!("the daemon answered something else");
    }
    if interrupts.came() {
        complain("The interruption came too late: what follows was done.");
    }
    Ok(Report::new(people, fates, dry_run))
}

/// Root has read what the owner of the working directory may not, and must not
/// touch what is the owner's.
fn import_as_owner(
    mut command: std::process::Command,
    order: &ImportRequest,
    interrupts: &Interrupts,
) -> Result<Vec<ImportOutcome>> {
    let mut child = command
        .args(["import", "order"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run as the owner of the working directory")?;
    interrupts.leave_to_another();
    let json = Zeroizing::new(serde_json::to_vec(order)?);
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends early says why by itself.
        let _ = stdin.write_all(&json);
    }
    let output = child.wait_with_output()?;
    match output.status.code().map(u8::try_from) {
        Some(Ok(0)) => Ok(serde_json::from_slice(&output.stdout)?),
        Some(Ok(status)) => Err(Ended(status).into()),
        _ => bail!("the process that wrote was ended. {ALL_OR_NONE}"),
    }
}

/// The process that writes for root has ended with this exit status, and has
/// said why.
#[derive(Debug, thiserror::Error)]
#[error("it ended with exit status {0}")]
struct Ended(u8);

/// What to do where the answer got lost.
const ALL_OR_NONE: &str = "All users were brought or none: run it again to see, users who came are \
                           left as they are";

fn import(
    config: &Config,
    order: ImportRequest,
    interrupts: &Interrupts,
) -> Result<Vec<ImportOutcome>> {
    let bar = WritingBar::start(&order);
    interrupts.interrupt_the_import();
    let reply = AdminClient::enter(config).run(AdminCommand::Import(order));
    bar.finish();
    match reply {
        Ok(AdminReply::Imported(fates)) => Ok(fates),
        Ok(_) => bail!("the daemon answered something else"),
        Err(error) if is_lost(&error) => Err(anyhow!("{error:#}. {ALL_OR_NONE}")),
        Err(error) => Err(error),
    }
}

/// Whether the daemon had the import, and its answer got lost.
fn is_lost(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref().map(io::Error::kind);
    kind.is_some_and(|kind| kind != io::ErrorKind::PermissionDenied)
}

fn carry_out_order(config: &Config, interrupts: &Interrupts) -> Result<ExitCode> {
    let mut json = Zeroizing::new(Vec::new());
    io::stdin().read_to_end(&mut json)?;
    // Without serde's words, which can quote.
    let order: Option<ImportRequest> = serde_json::from_slice(&json).ok();
    let mut order = order.context("standard input holds no order")?;
    order.progress = interrupts.progress();
    let fates = import(config, order, interrupts)?;
    print(&serde_json::to_vec(&fates)?)
}

fn read_node(source: &platypush::Source) -> Result<platypush::Found> {
    let bar = watch::bar("reading", 0);
    let found = platypush::read(source, SystemClock.now(), &mut |progress| {
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
    });
    bar.finish_and_clear();
    Ok(found?)
}

fn read_export(config: &Config, export: &Path, keys: Option<&Path>) -> Result<jsonl::Found> {
    let lines: Box<dyn BufRead> = if export == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(export);
        let file = file.with_context(|| format!("cannot read {}", export.display()))?;
        Box::new(BufReader::new(file))
    };
    let own = || {
        let configured = config.secret_keys_file.clone();
        configured.unwrap_or_else(|| Keyring::default_path(&config.workdir))
    };
    let keyring = Keyring::open(keys.map_or_else(own, Path::to_owned), false);
    let keyring = keyring.map_err(|error| match error {
        KeyringError::Missing { path } => anyhow!(
            "there is no file of keys {}: an export is sealed with the keys that the daemon had when \
             it was written. Name a copy of that file, secret.keys in the working directory of that \
             daemon, with --keys FILE",
            path.display()
        ),
        error => error.into(),
    })?;
    Ok(jsonl::read(lines, &keyring)?)
}
