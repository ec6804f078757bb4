//! `platypush-userd call`: one request through Redis.

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

use super::{ConfigFile, complain, print, prompt, qr_code, usage_error};
use crate::actions::{ACTIONS, Kind, PLUGIN, Parameter, Signature};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Config, suggest};
use crate::redis::Connector;
use crate::text::{printable, printable_json};
use crate::workdir::random_id;

/// Exit status when the reply carries errors or its output is false.
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

The result goes to standard output as JSON, errors go to standard error.

Exit status: 0 for a result; 1 when the reply carries errors, when the output \
is false or begins with false (a wrong password, no such session), and when the \
request could not be sent; 2 when no reply came in time (the request is then \
taken back, unless the daemon had taken it), and for a wrong command line, of \
which nothing is sent.",
    after_long_help = actions_help()
)]
pub(super) struct Call {
    #[command(flatten)]
    file: ConfigFile,
    /// Action, with or without `user.` in front; --help lists them
    #[arg(value_parser = ActionParser, hide_possible_values = true)]
    action: &'static Signature,
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

/// Reads the name of an action.
#[derive(Debug, Clone)]
struct ActionParser;

impl ActionParser {
    fn names() -> PossibleValuesParser {
        PossibleValuesParser::new(ACTIONS.iter().map(|action| action.signature().name))
    }
}

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
        let name = Self::names().parse_ref(command, argument, name)?;
        let mut signatures = ACTIONS.iter().map(|action| action.signature());
        signatures
            .find(|signature| signature.name == name)
            .ok_or_else(|| {
                command
                    .clone()
                    .error(ErrorKind::InvalidValue, "unknown action")
            })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let names = ACTIONS.iter().map(|action| action.signature().name);
        Some(Box::new(names.map(PossibleValue::new)))
    }
}

fn actions_help() -> String {
    let mut help = String::from("Actions and their arguments ([] may be left out):\n");
    for action in ACTIONS {
        let signature = action.signature();
        help.push_str(&format!("\n  {}", signature.name));
        if !signature.parameters.is_empty() {
            help.push_str(&format!(" {}", parameters_of(signature)));
        }
        help.push_str(&format!("\n      {}", signature.doc));
    }
    help.push_str(
        "\n\nA password on the command line can be seen by others on this machine: \
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

    /// Refuses what the daemon would refuse, before a secret is asked for and
    /// before anything is sent. A value may be a secret, and so may what stands
    /// in the place of a name: neither is repeated.
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
                        suggest::shown(key)
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
            Some(secret) => format!("{}=- asks for it without echo", secret.name),
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
            let value = typed(self.action, key, typed_in(key, value)?);
            arguments.insert(key.to_owned(), value);
        }
        let id = random_id().context("no randomness for the request's id")?;
        let mut message = json!({
            "type": "request",
            "action": format!("{PLUGIN}.{}", self.action.name),
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
        let mut output = parsed["response"]["output"].take();
        let is_success = errors.is_empty() && !is_no(&output);
        if self.json {
            print(format!("{}\n", printable_json(reply)).as_bytes())?;
        } else if errors.is_empty() {
            let uri = take_picture(&mut output);
            let output = serde_json::to_string_pretty(&output)?;
            print(format!("{}\n", printable_json(&output)).as_bytes())?;
            if let Some(uri) = uri {
                show_qr_code(&uri)?;
            }
        } else {
            for error in &errors {
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

/// Whether an output is false, or begins with it: `[false, "invalid_credentials"]`.
fn is_no(output: &Value) -> bool {
    let first = output.as_array().and_then(|list| list.first());
    first.unwrap_or(output) == false
}

/// Takes the picture for an authenticator, base64 in a PNG, out of an output
/// that goes to a terminal. Returns the link to draw instead, unless the
/// second factor is on already: the backup codes, which are shown this once,
/// must not scroll away.
fn take_picture(output: &mut Value) -> Option<String> {
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
                "This is too long for a QR code on a terminal: type the otp_secret into the \
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

/// The value of an argument: as written, or for `-` as typed or piped in.
fn typed_in(key: &str, value: &str) -> Result<String> {
    if value != "-" {
        return Ok(value.to_owned());
    }
    prompt::secret(key)
}

/// An argument in the type its parameter has: on a command line everything is
/// text.
fn typed(signature: &Signature, key: &str, value: String) -> Value {
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

/// Sends the request and waits for its reply; `None` when none came.
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
    // On a connection of its own: the first may still be waiting, or broken.
    let taken_back = async {
        let mut connection = connector.connect(CONNECT, ANSWER).await?;
        take_back(&mut connection, config, request).await
    };
    match taken_back.await {
        Ok(TakenBack::Answered(reply)) => return Ok(Some(reply)),
        Ok(TakenBack::Yes) => {
            complain(
                "error: no reply came; the request was taken back, nothing was done. Is the daemon running? (platypush-userd serve, or systemctl status platypush-userd)",
            );
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
