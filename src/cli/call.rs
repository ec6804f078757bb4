//! `platypush-userd call`: one request through Redis.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use redis::AsyncCommands as _;
use redis::aio::MultiplexedConnection;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{ConfigFile, complain, print, prompt, qr_code};
use crate::actions::{ACTIONS, Kind, PLUGIN, Signature};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::queue::Connector;
use crate::text::{printable, printable_json};
use crate::workdir::random_id;

/// Exit status when the reply carries errors.
const REFUSED: u8 = 1;
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long Redis may take to answer, beside the time it is asked to wait.
const ANSWER: Duration = Duration::from_secs(5);
/// Exit status when no reply came in time.
const NO_REPLY: u8 = 2;

/// Send one request through Redis and print the reply
#[derive(Debug, clap::Args)]
#[command(
    long_about = "\
Send one request through Redis and print the reply.

The result goes to standard output as JSON, errors go to standard error. Exit \
status: 0 for a result, 1 when the reply carries errors, 2 when no reply came \
in time (the request is then taken back, unless the daemon had taken it), and \
1 with an explanation when the request could not be sent at all.",
    after_long_help = actions_help()
)]
pub(super) struct Call {
    #[command(flatten)]
    file: ConfigFile,
    /// Action, with or without `user.` in front
    action: String,
    /// Arguments; `-` as a value asks for it without echo, or reads a line of
    /// standard input when that is no terminal
    #[arg(value_name = "KEY=VALUE")]
    arguments: Vec<String>,
    /// Token for a daemon that asks for one (token_hash); `-` asks for it
    /// without echo
    #[arg(long, env = "PLATYPUSH_USERD_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Print the whole reply as it came, invisible characters escaped
    #[arg(long)]
    json: bool,
    /// How many seconds to wait for the reply
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    timeout: u32,
}

fn actions_help() -> String {
    let mut help = String::from("Actions and their arguments ([] may be left out):\n");
    for action in ACTIONS {
        let signature = action.signature();
        help.push_str("\n  ");
        help.push_str(signature.name);
        for parameter in signature.parameters {
            if parameter.required {
                help.push_str(&format!(" {}", parameter.name));
            } else {
                help.push_str(&format!(" [{}]", parameter.name));
            }
        }
        help.push_str(&format!("\n      {}", signature.doc));
    }
    help.push_str(
        "\n\nA password on the command line can be seen by others on this machine: \
         use password=- instead.",
    );
    help
}

impl Call {
    pub(super) fn run(self) -> Result<ExitCode> {
        let config = self.file.load()?.config;
        let request = self.request(&config)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        let reply = runtime.block_on(exchange(&config, &request, self.timeout))?;
        match reply {
            Some(reply) => self.show(&reply),
            None => Ok(ExitCode::from(NO_REPLY)),
        }
    }

    fn request(&self, config: &Config) -> Result<Request> {
        let prefix = format!("{PLUGIN}.");
        let action = self.action.strip_prefix(&prefix).unwrap_or(&self.action);
        let signature = ACTIONS
            .iter()
            .map(|known| known.signature())
            .find(|signature| signature.name == action);
        let mut arguments = serde_json::Map::new();
        for argument in &self.arguments {
            let Some((key, value)) = argument.split_once('=') else {
                // What it is may be a secret: it is not repeated.
                bail!("an argument without '=': write KEY=VALUE");
            };
            let value = typed(signature, key, typed_in(key, value)?);
            if arguments.insert(key.to_owned(), value).is_some() {
                bail!("the argument '{key}' is given twice");
            }
        }
        let id = random_id().context("no randomness for the request's id")?;
        let mut message = json!({
            "type": "request",
            "action": format!("{prefix}{action}"),
            "args": arguments,
            "id": id,
            "origin": config.device_id,
            "_timestamp": seconds(SystemClock.now()),
        });
        if let Some(token) = &self.token {
            message["token"] = typed_in("token", token)?.into();
        }
        Ok(Request {
            id,
            message: message.to_string().into(),
        })
    }

    fn show(&self, reply: &str) -> Result<ExitCode> {
        let mut parsed: Value = serde_json::from_str(reply).context("the reply is not JSON")?;
        let errors: Vec<String> = parsed["response"]["errors"]
            .as_array()
            .map(|errors| {
                let texts = errors.iter().filter_map(Value::as_str);
                texts.map(str::to_owned).collect()
            })
            .unwrap_or_default();
        if self.json {
            print(format!("{}\n", printable_json(reply)).as_bytes())?;
        } else if errors.is_empty() {
            let mut output = parsed["response"]["output"].take();
            show_qr_code(&mut output)?;
            let output = serde_json::to_string_pretty(&output)?;
            print(format!("{}\n", printable_json(&output)).as_bytes())?;
        } else {
            for error in &errors {
                complain(format_args!("error: {}", printable(error)));
            }
        }
        Ok(if errors.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(REFUSED)
        })
    }
}

/// On a terminal, the picture for an authenticator is drawn instead of
/// printed as base64.
fn show_qr_code(output: &mut Value) -> Result<()> {
    let Some(output) = output.as_object_mut() else {
        return Ok(());
    };
    let drawn = output
        .get("otp_uri")
        .and_then(Value::as_str)
        .filter(|_| io::stdout().is_terminal())
        .and_then(qr_code::draw);
    if let Some(drawn) = drawn {
        output.remove("qrcode");
        print(drawn.as_bytes())?;
    }
    Ok(())
}

struct Request {
    id: String,
    message: SecretString,
}

/// The value of an argument: as written, or for `-` as typed or piped in.
fn typed_in(key: &str, value: &str) -> Result<String> {
    if value != "-" {
        return Ok(value.to_owned());
    }
    prompt::secret(key)
}

/// An argument in the type its parameter has: on a command line everything is
/// text.
fn typed(signature: Option<&Signature>, key: &str, value: String) -> Value {
    let kind = signature
        .and_then(|signature| signature.parameters.iter().find(|p| p.name == key))
        .map(|parameter| parameter.kind);
    match kind {
        Some(Kind::Flag) => match value.as_str() {
            "true" | "True" | "1" | "yes" => true.into(),
            "false" | "False" | "0" | "no" | "" => false.into(),
            _ => value.into(),
        },
        Some(Kind::Time) => match value.parse::<serde_json::Number>() {
            Ok(number) => number.into(),
            Err(_) => value.into(),
        },
        _ => value.into(),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds since the epoch have 51 bits, an f64 keeps 53"
)]
fn seconds(moment: crate::clock::Timestamp) -> f64 {
    moment.timestamp_micros() as f64 / 1e6
}

/// Sends the request and waits for its reply; `None` when none came.
async fn exchange(config: &Config, request: &Request, timeout: u32) -> Result<Option<String>> {
    let wait = Duration::from_secs(timeout.into());
    let connector = Connector::new(&config.redis)?;
    let unreachable = || format!("cannot reach Redis at {}", config.redis.display());
    let answer = wait + ANSWER;
    let mut connection = connector
        .connect(CONNECT, answer)
        .await
        .with_context(unreachable)?;
    let _: () = connection
        .rpush(&config.queue, request.message.expose_secret())
        .await
        .with_context(unreachable)?;
    let reply = tokio::select! {
        reply = wait_for_reply(&mut connection, config, &request.id, wait) => reply,
        _ = tokio::signal::ctrl_c() => Ok(None),
    };
    if let Ok(Some(reply)) = reply {
        return Ok(Some(reply));
    }
    // On a connection of its own: the first may still be waiting, or broken.
    let taken_back = async {
        let mut connection = connector.connect(CONNECT, ANSWER).await?;
        take_back(&mut connection, config, request).await
    };
    match taken_back.await {
        Ok(TakenBack::Answered(reply)) => return Ok(Some(reply)),
        Ok(TakenBack::Yes) => {
            complain("error: no reply came; the request was taken back. Is the daemon running?");
        }
        Ok(TakenBack::TooLate) => {
            complain(
                "error: no reply came, but the daemon has taken the request: it may still run",
            );
        }
        Err(error) => complain(format_args!(
            "error: no reply came, and the request could not be taken back: it may still run ({error})"
        )),
    }
    Ok(None)
}

/// What became of a request that was given up.
enum TakenBack {
    /// It was still in the queue, and is no more.
    Yes,
    /// The daemon had taken it.
    TooLate,
    /// The reply had just come.
    Answered(String),
}

async fn wait_for_reply(
    connection: &mut MultiplexedConnection,
    config: &Config,
    id: &str,
    wait: Duration,
) -> redis::RedisResult<Option<String>> {
    let list = format!("{}{id}", config.reply_prefix);
    let popped: Option<(String, String)> = connection.blpop(list, wait.as_secs_f64()).await?;
    Ok(popped.map(|(_, reply)| reply))
}

async fn take_back(
    connection: &mut MultiplexedConnection,
    config: &Config,
    request: &Request,
) -> redis::RedisResult<TakenBack> {
    let removed: usize = connection
        .lrem(&config.queue, 1, request.message.expose_secret())
        .await?;
    if removed > 0 {
        return Ok(TakenBack::Yes);
    }
    let list = format!("{}{}", config.reply_prefix, request.id);
    // BLPOP, because it is what a client has the right to.
    let popped: Option<(String, String)> = connection.blpop(list, 0.01).await?;
    Ok(popped.map_or(TakenBack::TooLate, |(_, reply)| TakenBack::Answered(reply)))
}
