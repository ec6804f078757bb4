//! The command line: one definition for the parser, `--help`, the shell
//! completions and the man page.

mod admin;
mod admin_client;
mod call;
mod completions;
mod config;
mod export;
mod import;
mod log;
mod prompt;
mod qr_code;
mod reference;
mod serve;
mod table;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};
use tokio::runtime::Runtime;

pub use self::log::complain;
use crate::actions::{ACTIONS, Signature};
use crate::config::{Environment, Loaded};

/// The command line of `platypush-userd`.
#[derive(Debug, Parser)]
#[command(name = "platypush-userd", version, about = ABOUT, long_about = LONG_ABOUT, after_long_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const ABOUT: &str = "The user.* actions of Platypush as a service: users and sessions over Redis";

const LONG_ABOUT: &str = "\
The user.* actions of Platypush as a service: users and sessions over Redis.

`platypush-userd serve` takes request messages in Platypush's format from the \
Redis list platypush/user, runs them against its own database, and pushes \
each reply to platypush/responses/<id>. Clients are Platypush nodes, their \
procedures and hooks, redis-cli, and `platypush-userd call`.";

const AFTER_HELP: &str = "\
First steps, with Redis on this machine:

  platypush-userd serve &
  platypush-userd call create_user username=alice password=-
  platypush-userd call authenticate_user username=alice password=-
  platypush-userd call get_users
  platypush-userd call --help       (all actions and their arguments)

Configuration file, the first found of: --config FILE, \
$PLATYPUSH_USERD_CONFIG, ./platypush-userd.yaml, \
~/.config/platypush-userd/config.yaml, /etc/platypush-userd/config.yaml. \
Without a file, the defaults apply. An environment variable can set each key, \
e.g. PLATYPUSH_USERD_REDIS__URL. `platypush-userd config dump` shows the \
effective values and their sources.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    ///
    /// Runs until SIGTERM, SIGINT (Ctrl-C) or SIGHUP. Then it finishes the requests
    /// in progress, requeues the others at the head of the queue and exits with 0. A
    /// second Ctrl-C ends it at once, with 130; the next start recovers the unfinished
    /// requests. While Redis is unavailable, at start or later, it keeps trying to
    /// connect.
    Serve(ConfigFile),
    Call(call::Call),
    Admin(admin::Admin),
    Import(import::Import),
    Export(export::Export),
    Config(config::ConfigCommand),
    /// Print a completion script for a shell
    ///
    /// `make install` installs it. Without that, run in the current shell:
    /// source <(platypush-userd completions bash)
    Completions {
        /// Shell to generate the script for
        shell: clap_complete::Shell,
    },
    /// Print the man page, in troff
    Man,
    /// Print a page of the reference, in Markdown
    #[command(hide = true)]
    Reference {
        /// The page
        page: reference::Page,
    },
}

/// The option that names the configuration file.
#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// Configuration file, in YAML
    #[arg(long, global = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    config: Option<PathBuf>,
}

impl ConfigFile {
    fn load(&self) -> Result<Loaded> {
        Ok(crate::config::load(
            self.config.as_deref(),
            &Environment::from_process(),
        )?)
    }
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// Returns an error for `main` to print on standard error.
    pub fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Serve(file) => serve::run(&file),
            Command::Call(call) => call.run(),
            Command::Admin(admin) => admin.run(),
            Command::Import(import) => import.run(),
            Command::Export(export) => export.run(),
            Command::Config(command) => command.run(),
            Command::Reference { page } => page.run(),
            Command::Completions { shell } => print(&completions::script(shell)),
            Command::Man => {
                let mut page = Vec::new();
                man_page(&mut page)?;
                print(&page)
            }
        }
    }
}

/// Returns the usage error of a command line that parses but is invalid.
fn usage_error(subcommand: &str, mistake: String) -> clap::Error {
    let mut command = Cli::command();
    command.build();
    match command.find_subcommand_mut(subcommand) {
        Some(subcommand) => subcommand.error(ErrorKind::ValueValidation, mistake),
        None => command.error(ErrorKind::ValueValidation, mistake),
    }
}

fn shown_subcommands(command: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
}

/// Renders one page for the command and all its subcommands.
fn man_page(out: &mut Vec<u8>) -> io::Result<()> {
    let command = Cli::command();
    let page = clap_mangen::Man::new(command.clone());
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    for subcommand in shown_subcommands(&command) {
        render_subcommand(out, subcommand, "")?;
    }
    page.render_extra_section(out)?;
    page.render_version_section(out)
}

fn render_subcommand(out: &mut Vec<u8>, command: &clap::Command, parent: &str) -> io::Result<()> {
    let name = format!("{parent}{}", command.get_name());
    writeln!(out, ".SH \"{}\"", name.to_uppercase())?;
    let page = clap_mangen::Man::new(command.clone());
    let mut section = Vec::new();
    page.render_synopsis_section(&mut section)?;
    page.render_description_section(&mut section)?;
    page.render_options_section(&mut section)?;
    // The sections of a subcommand become subsections of the page.
    out.write_all(
        String::from_utf8_lossy(&section)
            .replace(".SH ", ".SS ")
            .as_bytes(),
    )?;
    for subcommand in shown_subcommands(command) {
        render_subcommand(out, subcommand, &format!("{name} "))?;
    }
    Ok(())
}

/// Returns the signatures of all actions.
fn signatures() -> impl Iterator<Item = &'static Signature> {
    ACTIONS.iter().map(|action| action.signature())
}

/// Creates the runtime of a command other than `serve`.
fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

fn print(bytes: &[u8]) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
