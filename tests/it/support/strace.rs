//! Runs a daemon under strace and parses the trace.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, PipeReader, pipe};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};

use super::Daemon;

/// Returns the command run under strace with these options. The daemon stays the child of the test
/// (`-D`), so that signals reach the daemon and the exit status is that of the daemon.
pub fn under_strace(command: &Command, options: &[&str]) -> Command {
    Command::new("strace")
        .arg("-V")
        .stdout(Stdio::null())
        .status()
        .expect("strace is needed for this test: `make test` installs it");
    let mut strace = Command::new("strace");
    strace
        .args(["-D", "-f", "-q"])
        .args(options)
        .arg("--")
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(command.get_current_dir().unwrap_or(Path::new(".")))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdout(Stdio::null());
    for (key, value) in command.get_envs() {
        strace.env(key, value.unwrap_or_default());
    }
    strace
}

/// Ends the strace of a daemon. The daemon continues.
pub fn end_tracer(daemon: &Daemon) {
    let pid = daemon.pid().as_raw_nonzero();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mut lines = status.lines();
    let tracer = lines.find_map(|line| line.strip_prefix("TracerPid:"));
    let tracer = tracer.unwrap().trim().parse().unwrap();
    let tracer = Pid::from_raw(tracer).expect("the daemon is traced");
    kill_process(tracer, Signal::KILL).unwrap();
}

/// Reads the output of strace in a thread.
pub struct Trace(JoinHandle<Vec<Call>>);

/// A system call. `began` and `ended` are line numbers of the trace: a call whose `ended` is lower
/// than the `began` of another returned before the other was made.
#[derive(Debug, Clone, Default)]
pub struct Call {
    pub name: String,
    /// The path, or other name, of the file descriptor in the first argument.
    pub file: String,
    /// All bytes to write.
    pub data: Vec<u8>,
    pub result: Option<i64>,
    pub began: usize,
    pub ended: usize,
}

impl Trace {
    /// Returns the command under strace, and the reader of these system calls.
    ///
    /// The daemon makes itself non-dumpable, and from then on the kernel lets
    /// only root's strace read the paths and data of its calls. So strace skips
    /// each `prctl` and reports success (the others only name threads), and an
    /// ordinary user's strace reads as much as root's.
    pub fn start(command: &Command, calls: &str) -> (Command, Self) {
        let (reader, writer) = pipe().unwrap();
        let calls = format!("trace=prctl,{calls}");
        let mut strace = under_strace(
            command,
            &[
                "-y",
                "-xx",
                "-s",
                "4194304",
                "-e",
                &calls,
                "-e",
                "inject=prctl:retval=0",
                "-o",
                "/dev/stdout",
            ],
        );
        strace.stdout(writer);
        (strace, Self(std::thread::spawn(move || parse(reader))))
    }

    /// Waits for the end of the daemon and returns all calls in the order in which they began.
    pub fn finish(self) -> Vec<Call> {
        self.0.join().expect("a trace that can be read")
    }
}

fn parse(output: PipeReader) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut unfinished: HashMap<String, usize> = HashMap::new();
    for (position, line) in BufReader::new(output).lines().enumerate() {
        let line = line.unwrap();
        let (thread, text) = line.split_once(' ').unwrap();
        let text = text.trim_start();
        if text.starts_with("+++") || text.starts_with("---") {
            continue;
        }
        if let Some((_, rest)) = text.split_once(" resumed>") {
            let call = &mut calls[unfinished.remove(thread).expect("the start of the call")];
            call.parse(rest);
            call.ended = position;
            continue;
        }
        let (name, arguments) = text.split_once('(').expect("a call");
        let so_far = arguments.strip_suffix("<unfinished ...>");
        if so_far.is_some() {
            unfinished.insert(thread.to_owned(), calls.len());
        }
        let mut call = Call {
            name: name.to_owned(),
            began: position,
            ended: position,
            ..Call::default()
        };
        call.parse(so_far.unwrap_or(arguments));
        calls.push(call);
    }
    calls
}

impl Call {
    /// Parses the arguments and the result in a line. Where the trace of another thread
    /// interrupts the call, a line has only a part of them.
    fn parse(&mut self, text: &str) {
        if self.name == "prctl" {
            // Traced only to be skipped; strace truncates thread names.
            return;
        }
        assert!(!text.contains("\"..."), "truncated: {}", self.name);
        if let Some((_, rest)) = text.split_once('<') {
            let file = rest.split_once('>').map_or("", |(file, _)| file);
            self.file = String::from_utf8(unescape(file)).unwrap();
        }
        let quoted = text.split('"').skip(1).step_by(2);
        self.data.extend(quoted.flat_map(unescape));
        let result = text.rsplit_once(" = ");
        self.result = result.and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    }
}

/// Decodes hexadecimal escapes: `\x61\x62` is `ab`.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = text.split("\\x");
    assert_eq!(bytes.next(), Some(""), "not in hexadecimal: {text}");
    bytes
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}
