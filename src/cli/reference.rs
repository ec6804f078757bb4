//! Renders the pages of `docs/reference` from the tables in the code.

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory as _, ValueEnum};

use super::{Cli, print, shown_subcommands, signatures};
use crate::actions::{Kind as ParameterKind, Parameter, Signature};
use crate::config::keys::{self, Key, Kind as KeyKind};
use crate::events::KINDS;
use crate::queue::{DEAD_LETTER_CAP, Keys, OWNER_TTL, REPLY_LIST_CAP};

/// Pages of the reference.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Page {
    Actions,
    Cli,
    Configuration,
    Events,
    Protocol,
}

impl Page {
    pub(super) fn run(self) -> Result<ExitCode> {
        print(self.render().as_bytes())
    }

    fn render(self) -> String {
        match self {
            Self::Actions => include_str!("reference/actions.md")
                .replace("{{summary}}", &summary())
                .replace("{{actions}}", actions().trim_end()),
            Self::Cli => include_str!("reference/cli.md").replace("{{commands}}", &commands()),
            Self::Configuration => {
                include_str!("reference/configuration.md").replace("{{keys}}", &configuration())
            }
            Self::Events => include_str!("reference/events.md").replace("{{kinds}}", &events()),
            Self::Protocol => include_str!("reference/protocol.md")
                .replace("{{keys}}", &redis_keys())
                .replace("{{owner_ttl}}", &OWNER_TTL.as_secs().to_string())
                .replace("{{reply_list_cap}}", &REPLY_LIST_CAP.to_string())
                .replace("{{dead_letter_cap}}", &DEAD_LETTER_CAP.to_string()),
        }
    }
}

fn summary() -> String {
    let row = |signature: &Signature| {
        let name = |parameter: &Parameter| match parameter.required {
            true => format!("`{}`", parameter.name),
            false => format!("[`{}`]", parameter.name),
        };
        let names: Vec<_> = signature.parameters.iter().map(name).collect();
        let row = format!("| `user.{}` | {}", signature.name, names.join(", "));
        format!("{} |\n", row.trim_end())
    };
    let rows: String = signatures().map(row).collect();
    format!("| action | arguments |\n|---|---|\n{}", rows.trim_end())
}

fn actions() -> String {
    let section = |signature: &Signature| {
        let Signature {
            name, doc, returns, ..
        } = signature;
        let mut text = format!("## user.{name}\n\n{doc}\n\nOutput: {returns}\n");
        if !signature.parameters.is_empty() {
            text += "\n| parameter | type | |\n|---|---|---|\n";
        }
        for parameter in signature.parameters {
            let kind = match parameter.kind {
                ParameterKind::Text | ParameterKind::Name => "text",
                ParameterKind::Secret | ParameterKind::Password => "text, secret",
                ParameterKind::Flag => "true or false",
                ParameterKind::Number => "whole number",
                ParameterKind::Time => "time",
            };
            let required = if parameter.required { "required, " } else { "" };
            let (name, doc) = (parameter.name, cell(parameter.doc));
            text += &format!("| `{name}` | {required}{kind} | {doc} |\n");
        }
        text
    };
    let sections: Vec<_> = signatures().map(section).collect();
    sections.join("\n")
}

fn redis_keys() -> String {
    let default = |key: &Key| key.default_text().trim_matches('"').to_owned();
    let (queue, reply_prefix) = (default(&keys::QUEUE), default(&keys::REPLY_PREFIX));
    let names = Keys::new(&queue, &reply_prefix, "<store>", Vec::new());
    let row = |(name, doc): (String, &str)| format!("| `{name}` | {doc} |\n");
    let rows: String = names.documentation().into_iter().map(row).collect();
    format!("| key, with the default `queue` and `reply_prefix` | |\n|---|---|\n{rows}")
}

fn configuration() -> String {
    let row = |key: &&Key| {
        let values = match key.kind {
            KeyKind::Text | KeyKind::Url | KeyKind::Secret => "text".to_owned(),
            KeyKind::Path => "path".to_owned(),
            KeyKind::Boolean => "`true`, `false`".to_owned(),
            KeyKind::Integer { min, max } => format!("{min} to {max}"),
            KeyKind::Choice(words) => {
                let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
                words.join(", ")
            }
            KeyKind::List => "list of texts".to_owned(),
        };
        let (path, default, doc) = (key.path, key.default_text(), cell(key.doc));
        format!("| `{path}` | {values} | `{default}` | {doc} |\n")
    };
    let rows: String = keys::ALL.iter().map(row).collect();
    format!("| key | values | default | meaning |\n|---|---|---|---|\n{rows}")
}

fn events() -> String {
    let mut rows = String::new();
    for kind in KINDS {
        let argument = |(name, doc): &(&str, &str)| format!("`{name}`: {}", cell(doc.trim()));
        let arguments: Vec<_> = kind.arguments.iter().map(argument).collect();
        let (name, doc) = (kind.name, cell(kind.doc.trim()));
        rows += &format!("| `{name}` | {doc} | {} |\n", arguments.join("<br>"));
    }
    format!(
        "| kind | meaning | arguments |\n|---|---|---|\n{}",
        rows.trim_end()
    )
}

fn commands() -> String {
    fn section(command: &mut clap::Command, parent: &str, text: &mut String) {
        let name = format!("{parent} {}", command.get_name());
        let help = command.render_long_help().to_string();
        let help: Vec<_> = help.lines().map(str::trim_end).collect();
        text.push_str(&format!(
            "## {}\n\n```text\n{}\n```\n\n",
            name.trim_start(),
            help.join("\n").trim_end()
        ));
        let names: Vec<_> = shown_subcommands(command)
            .map(|command| command.get_name().to_owned())
            .filter(|name| name != "help")
            .collect();
        for subcommand in names {
            if let Some(subcommand) = command.find_subcommand_mut(&subcommand) {
                section(subcommand, &name, text);
            }
        }
    }
    let mut text = String::new();
    let mut command = Cli::command().term_width(100);
    command.build();
    section(&mut command, "", &mut text);
    text.trim_end().to_owned()
}

/// Returns text of the code for a cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace("`None`", "null")
}
