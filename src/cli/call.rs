//! `platypush-userd call`: sends one request through Redis.

use std::ffi::OsStr;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use redis::AsyncCommands as _;
use redis::aio::MultiplexedConnection;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{ConfigFile, complain, print, prompt, qr_code, runtime, signatures, usage_error};
use crate::actions::{Kind, PLUGIN, Parameter, Signature};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Config, suggest};
use crate::random;
use crate::redis::Connector;
use crate::text::{printable, printable_json};

/// Exit status if the reply carries errors or its output is false.
const REFUSED: u8 = 1;
/// Time-out of connecting.
const CONNECT: Duration = Duration::from_secs(5);
/// Time-out of an answer from Redis, added to the time of a blocking command.
const ANSWER: Duration = Duration::from_secs(5);
/// Exit status if no reply arrived in time.
const NO_REPLY: u8 = 2;

/// Send one request through Redis and print the reply
#[derive(Debug, clap::Args)]
#[command(
    long_about = "\
Send one request through Redis and print the reply.

The result goes to standard output as JSON, errors go to standard error.

Exit status: 0 for a result; 1 if the reply carries errors, if the output is \
false or begins with false (a wrong password, no such session), or if the \
request could not be sent; 2 if no reply arrived in time (the request is then \
withdrawn, unless the daemon has fetched it already), or if the command line is \
invalid (nothing is sent).",
    after_long_help = actions_help()
)]
pub(super) struct Call {
    #[command(flatten)]
    file: ConfigFile,
    /// Action, with or without the prefix `user.`; --help lists all actions
    #[arg(value_parser = ActionParser, hide_possible_values = true)]
    action: &'static Signature,
    /// Arguments; for the value `-`, prompts without echo, or reads a line of
    /// standard input if that is no terminal
    #[arg(value_name = "KEY=VALUE")]
    arguments: Vec<String>,
    /// Token, if the daemon requires one (token_hash); for `-`, prompts without
    /// echo
    #[arg(long, env = "PLATYPUSH_USERD_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Print the whole reply unchanged, except that invisible characters are escaped
    #[arg(long)]
    json: bool,
    /// Maximum wait for the reply, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    timeout: u32,
}

/// Parses the name of an action.
#[derive(Debug, Clone)]
struct ActionParser;

impl TypedValueParser for ActionParser {
    type Value = &'static Signature;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Self::Value, clap::Error> {
        let prefix = format!("{PLUGIN}.");
        let name = value.to_str().and_then(|text| text.strip_prefix(&prefix));
        let name = name.map_or(value, OsStr::new);
        let names = PossibleValuesParser::new(signatures().map(|signature| signature.name));
        let name = names.parse_ref(command, argument, name)?;
        let unknown = || {
            command
                .clone()
                .error(ErrorKind::InvalidValue, "unknown action")
        };
        signatures()
            .find(|signature| signature.name == name)
            .ok_or_else(unknown)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let value = |signature: &Signature| PossibleValue::new(signature.name);
        Some(Box::new(signatures().map(value)))
    }
}

fn actions_help() -> String {
    let mut help = String::from("Actions and their arguments ([] marks optional ones):\n");
    for signature in signatures() {
        help.push_str(&format!("\n  {}", signature.name));
        if !signature.parameters.is_empty() {
            help.push_str(&format!(" {}", parameters_of(signature)));
        }
        help.push_str(&format!("\n      {}", signature.doc));
    }
    help.push_str(
        "\n\nOther users of this machine can see a password on the command line: \
         use password=- instead.",
    );
    help
}

fn parameters_of(signature: &Signature) -> String {
    let shown = |parameter: &Parameter| match parameter.required {
        true => parameter.name.to_owned(),
        false => format!("[{}]", parameter.name),
    };
    let shown: Vec<_> = signature.parameters.iter().map(shown).collect();
    shown.join(" ")
}

impl Call {
    pub(super) fn run(self) -> Result<ExitCode> {
        self.check_arguments()
            .map_err(|mistake| usage_error("call", mistake))?;
        let config = self.file.load()?.config;
        let request = self.request(&config)?;
        match runtime()?.block_on(exchange(&config, &request, self.timeout))? {
            Some(reply) => self.show(&reply),
            None => Ok(ExitCode::from(NO_REPLY)),
        }
    }

    /// Rejects arguments that the daemon would reject, before prompting for a secret and
    /// before sending anything. Errors quote neither values nor unknown names, because
    /// either may be a secret.
    fn check_arguments(&self) -> Result<(), String> {
        let Signature {
            name, parameters, ..
        } = self.action;
        let takes = || match parameters {
            [] => format!("{name} takes no arguments"),
            _ => format!("{name} takes {}", parameters_of(self.action)),
        };
        let mut given = Vec::new();
        for (argument, number) in self.arguments.iter().zip(1..) {
            let Some((key, _)) = argument.split_once('=') else {
                return Err(format!("argument {number} is not KEY=VALUE; {}", takes()));
            };
            let known = || parameters.iter().map(|parameter| parameter.name);
            if !known().any(|known| known == key) {
                return Err(match suggest::nearest(key, known()) {
                    Some(nearest) => format!(
                        "{name} has no parameter '{}'; did you mean '{nearest}'?",
                        suggest::display_name(key)
                    ),
                    None => format!("argument {number} is no parameter of {name}; {}", takes()),
                });
            }
            if given.contains(&key) {
                return Err(format!("the argument '{key}' is given twice"));
            }
            given.push(key);
        }
        let is_missing =
            |parameter: &&Parameter| parameter.required && !given.contains(&parameter.name);
        let missing: Vec<_> = parameters.iter().filter(is_missing).collect();
        let Some(first) = missing.first() else {
            return Ok(());
        };
        let names: Vec<_> = missing.iter().map(|parameter| parameter.name).collect();
        let secret = missing
            .iter()
            .find(|parameter| matches!(parameter.kind, Kind::Secret | Kind::Password));
        let example = match secret {
            Some(secret) => format!("{}=- prompts without echo", secret.name),
            None => format!("write {}=VALUE", first.name),
        };
        Err(format!(
            "{name} also needs {} ({example})",
            names.join(" and ")
        ))
    }

    fn request(&self, config: &Config) -> Result<Request> {
        let mut arguments = serde_json::Map::new();
        for argument in &self.arguments {
            let (key, value) = argument.split_once('=').unwrap_or((argument, ""));
            let value = convert(self.action, key, read_value(key, value)?);
            arguments.insert(key.to_owned(), value);
        }
        let id = random::hex_id().context("no randomness for the request id")?;
        let mut message = json!({
            "type": "request",
            "action": format!("{PLUGIN}.{}", self.action.name),
            "args": arguments,
            "id": id,
            "origin": config.device_id,
            "_timestamp": seconds(SystemClock.now()),
        });
        if let Some(token) = &self.token {
            message["token"] = read_value("token", token)?.into();
        }
        Ok(Request {
            id,
            message: message.to_string().into(),
        })
    }

    fn show(&self, reply: &str) -> Result<ExitCode> {
        let mut parsed: Value = serde_json::from_str(reply).context("the reply is not JSON")?;
        let mut output = parsed["response"]["output"].take();
        let errors = parsed["response"]["errors"].as_array();
        let errors: Vec<_> = errors
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let is_success = errors.is_empty() && !is_false(&output);
        if self.json {
            print(format!("{}\n", printable_json(reply)).as_bytes())?;
        } else if errors.is_empty() {
            let uri = take_qr_code(&mut output);
            let output = serde_json::to_string_pretty(&output)?;
            print(format!("{}\n", printable_json(&output)).as_bytes())?;
            if let Some(uri) = uri {
                show_qr_code(&uri)?;
            }
        } else {
            for error in errors {
                complain(format_args!("error: {}", printable(error)));
            }
        }
        Ok(if is_success {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(REFUSED)
        })
    }
}

/// Whether an output is false, or begins with false: `[false, "invalid_credentials"]`.
fn is_false(output: &Value) -> bool {
    let first = output.as_array().and_then(|list| list.first());
    first.unwrap_or(output) == false
}

/// Removes the QR code for an authenticator, a PNG in base64, from an output that goes to a
/// terminal. Returns the `otpauth` URI to draw instead, unless the output has backup codes: they
/// are shown only once, and must not scroll away.
fn take_qr_code(output: &mut Value) -> Option<String> {
    let output = output
        .as_object_mut()
        .filter(|_| io::stdout().is_terminal())?;
    let uri = output.get("otp_uri")?.as_str()?.to_owned();
    output.remove("qrcode");
    let codes = output.get("backup_codes").and_then(Value::as_array);
    codes.is_none_or(Vec::is_empty).then_some(uri)
}

fn show_qr_code(uri: &str) -> Result<()> {
    match qr_code::draw(uri) {
        Some(drawn) => print(drawn.as_bytes()).map(|_| ()),
        None => {
            complain(
                "The otp_uri is too long for a QR code on a terminal: enter the otp_secret in the \
                 authenticator.",
            );
            Ok(())
        }
    }
}

struct Request {
    id: String,
    message: SecretString,
}

/// Returns the value of an argument; for `-`, reads it from the terminal or standard input.
fn read_value(key: &str, value: &str) -> Result<String> {
    if value != "-" {
        return Ok(value.to_owned());
    }
    prompt::secret(key)
}

/// Converts the text of an argument to the type of its parameter.
fn convert(signature: &Signature, key: &str, value: String) -> Value {
    let parameter = signature.parameters.iter().find(|p| p.name == key);
    match parameter.map(|parameter| parameter.kind) {
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

/// Sends the request and waits for its reply. Returns `None` if no reply arrived.
async fn exchange(config: &Config, request: &Request, timeout: u32) -> Result<Option<String>> {
    let wait = Duration::from_secs(timeout.into());
    let connector = Connector::new(&config.redis)?;
    let not_sent = |error| anyhow!("the request was not sent: {}", connector.explain(&error));
    let answer = wait + ANSWER;
    let mut connection = connector.connect(CONNECT, answer).await.map_err(not_sent)?;
    let _: () = connection
        .rpush(&config.queue, request.message.expose_secret())
        .await
        .map_err(not_sent)?;
    let reply = tokio::select! {
        reply = wait_for_reply(&mut connection, config, &request.id, wait) => reply,
        _ = tokio::signal::ctrl_c() => Ok(None),
    };
    if let Ok(Some(reply)) = reply {
        return Ok(Some(reply));
    }
    // On a new connection: the first may be broken or blocked by BLPOP.
    let withdrawal = async {
        let mut connection = connector.connect(CONNECT, ANSWER).await?;
        withdraw(&mut connection, config, request).await
    };
    match withdrawal.await {
        Ok(Withdrawal::Answered(reply)) => return Ok(Some(reply)),
        Ok(Withdrawal::Withdrawn) => {
            complain(
                "error: no reply arrived; the request was withdrawn, nothing was done. Is the daemon running? (platypush-userd serve, or systemctl status platypush-userd)",
            );
        }
        Ok(Withdrawal::TooLate) => {
            complain(
                "error: no reply arrived, but the daemon has fetched the request: it may still run",
            );
        }
        Err(error) => complain(format_args!(
            "error: no reply arrived, and the request could not be withdrawn: it may still run ({error})"
        )),
    }
    Ok(None)
}

/// Outcome of withdrawing a request.
enum Withdrawal {
    /// The request was still in the queue, and was removed.
    Withdrawn,
    /// The daemon has fetched the request.
    TooLate,
    /// The reply arrived in the meantime.
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

async fn withdraw(
    connection: &mut MultiplexedConnection,
    config: &Config,
    request: &Request,
) -> redis::RedisResult<Withdrawal> {
    let removed: usize = connection
        .lrem(&config.queue, 1, request.message.expose_secret())
        .await?;
    if removed > 0 {
        return Ok(Withdrawal::Withdrawn);
    }
    // BLPOP, not LPOP: clients may have the right to BLPOP only.
    let reply = wait_for_reply(connection, config, &request.id, Duration::from_millis(10)).await?;
    Ok(reply.map_or(Withdrawal::TooLate, Withdrawal::Answered))
}
