//! `platypush-userd import`: users from elsewhere.

mod report;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use zeroize::Zeroizing;

use self::report::Report;
use super::office::{self, Office};
use super::{ConfigFile, print};
use crate::admin::{AdminCommand, AdminReply};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Config, Loaded};
use crate::keyring::Keyring;
use crate::lifecycle;
use crate::migration::admission::{Fate, OnConflict, Order, Restore};
use crate::migration::{Person, PersonRecord, jsonl, platypush};

/// Bring users along, from Platypush nodes or an export
///
/// All or nothing; the daemon may run meanwhile. Who came before is left as it
/// is, so running it twice changes nothing. Run it as somebody
/// who may read the source and is either root or the owner of the daemon's
/// working directory.
#[derive(Debug, clap::Args)]
pub(super) struct Import {
    #[command(flatten)]
    file: ConfigFile,
    #[command(subcommand)]
    source: Source,
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
    Order,
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
                let mut order = order(&people, None, how);
                order.bring_deleted = *bring_deleted;
                let mut report = bring(&loaded, people, order)?;
                report.left_behind = found.left_behind;
                report.is_of_a_node = true;
                print(report.to_string().as_bytes())
            }
            Source::Jsonl { export, keys, how } => {
                let found = read_export(&loaded.config, export, keys.as_deref())?;
                let order = order(&found.people, Some(found.restore), how);
                let mut report = bring(&loaded, found.people, order)?;
                report.left_behind = found.left_behind;
                print(report.to_string().as_bytes())
            }
            Source::Order => carry_out_order(&loaded.config),
        }
    }
}

fn order(people: &[Person], restore: Option<Restore>, how: &How) -> Order {
    Order {
        people: people.iter().map(PersonRecord::of).collect(),
        restore,
        on_conflict: how.on_conflict,
        bring_deleted: false,
        dry_run: how.dry_run,
    }
}

fn bring(loaded: &Loaded, people: Vec<Person>, order: Order) -> Result<Report> {
    let dry_run = order.dry_run;
    let fates = match office::as_owner(loaded)? {
        None => import(&loaded.config, order)?,
        Some(command) => import_as_owner(command, &order)?,
    };
    if fates.len() != people.len() {
        bail!("the daemon answered something else");
    }
    Ok(Report::new(people, fates, dry_run))
}

/// Root has read what the owner of the working directory may not, and must not
/// touch what is the owner's.
fn import_as_owner(mut command: std::process::Command, order: &Order) -> Result<Vec<Fate>> {
    let mut child = command
        .args(["import", "order"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run as the owner of the working directory")?;
    let json = Zeroizing::new(serde_json::to_vec(order)?);
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends early says why by itself.
        let _ = stdin.write_all(&json);
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("nothing was brought");
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn import(config: &Config, order: Order) -> Result<Vec<Fate>> {
    match Office::enter(config).run(AdminCommand::Import(order))? {
        AdminReply::Imported(fates) => Ok(fates),
        _ => bail!("the daemon answered something else"),
    }
}

fn carry_out_order(config: &Config) -> Result<ExitCode> {
    let mut json = Zeroizing::new(Vec::new());
    io::stdin().read_to_end(&mut json)?;
    // Without serde's words, which can quote.
    let order = serde_json::from_slice(&json).ok();
    let fates = import(config, order.context("standard input holds no order")?)?;
    print(&serde_json::to_vec(&fates)?)
}

fn read_node(source: &platypush::Source) -> Result<platypush::Found> {
    let style = ProgressStyle::with_template("reading {bar:40} {pos} of {len} users")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    // Only where standard error is a terminal.
    let bar = ProgressBar::new(0).with_style(style);
    let found = platypush::read(source, SystemClock.now(), &mut |progress| {
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
    });
    bar.finish_and_clear();
    Ok(found?)
}

fn read_export(config: &Config, export: &Path, keys: Option<&Path>) -> Result<jsonl::Found> {
    let own = || {
        let configured = config.secret_keys_file.clone();
        configured.unwrap_or_else(|| Keyring::default_path(&config.workdir))
    };
    let keyring = Keyring::open(keys.map_or_else(own, Path::to_owned), false)?;
    let lines: Box<dyn BufRead> = if export == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(export);
        let file = file.with_context(|| format!("cannot read {}", export.display()))?;
        Box::new(BufReader::new(file))
    };
    Ok(jsonl::read(lines, &keyring)?)
}
