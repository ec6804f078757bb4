//! A terminal of 80 columns and 24 lines that runs a command.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Time limit of every wait: longer than any successful wait.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Terminal {
    child: Child,
    keyboard: Option<ChildStdin>,
    screen: Arc<Screen>,
}

#[derive(Default)]
struct Screen {
    shown: Mutex<Shown>,
    changed: Condvar,
}

#[derive(Default)]
struct Shown {
    bytes: Vec<u8>,
    ended: bool,
}

impl Shown {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).replace("\r\n", "\n")
    }
}

impl Terminal {
    /// Runs a command on a terminal, in the environment and folder of the command.
    pub fn run(command: &Command) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/on_terminal.py");
        let mut python = Command::new("python3");
        python.arg(script).arg(command.get_program());
        python.args(command.get_args()).env_clear();
        let path = std::env::var_os("PATH").unwrap_or_default();
        python.env("PATH", path).env("TERM", "xterm");
        for (name, value) in command.get_envs() {
            python.env(name, value.unwrap_or_default());
        }
        if let Some(folder) = command.get_current_dir() {
            python.current_dir(folder);
        }
        let mut child = python
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is needed: `make test` installs it");
        let mut output = child.stdout.take().unwrap();
        let screen = Arc::new(Screen::default());
        let writer = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            loop {
                let read = output.read(&mut chunk).unwrap_or(0);
                let mut shown = writer.shown.lock().unwrap();
                shown.bytes.extend(&chunk[..read]);
                shown.ended = read == 0;
                writer.changed.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        Self {
            keyboard: child.stdin.take(),
            child,
            screen,
        }
    }

    /// Types text: `\x03` is Ctrl-C, `\t` is Tab.
    pub fn type_in(&mut self, text: &str) {
        let keyboard = self.keyboard.as_mut().unwrap();
        keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until the terminal shows a text and returns its complete output so far.
    #[track_caller]
    pub fn wait_for(&self, text: &str) -> String {
        let shown = self.wait_until(|shown| shown.text().contains(text));
        assert!(
            shown.contains(text),
            "no {text:?} on the terminal:\n{shown}"
        );
        shown
    }

    /// Waits for the end of the command and returns its exit status and complete output.
    pub fn wait(mut self) -> (Option<i32>, String) {
        let shown = self.wait_until(|_| false);
        drop(self.keyboard.take());
        (self.child.wait().unwrap().code(), shown)
    }

    fn wait_until(&self, condition: impl Fn(&Shown) -> bool) -> String {
        let shown = self.screen.shown.lock().unwrap();
        let pending = |shown: &mut Shown| !shown.ended && !condition(shown);
        let waited = self
            .screen
            .changed
            .wait_timeout_while(shown, PATIENCE, pending);
        let (shown, _) = waited.unwrap();
        shown.text()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Closing the terminal ends the command.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
