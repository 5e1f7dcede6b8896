//! The live viewer in a real terminal: every key that its help names, every way of leaving it, CMD's pane, the log, the
//! configuration. What it traces is `sh` and `cat`, so this needs the rights to trace; without them each test is skipped.

#[path = "terminal/mod.rs"]
mod terminal;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use rustix::process::Signal;
use terminal::Terminal;

fn zctrace() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zctrace"));
    command.env("HOME", "/nonexistent");
    command
}

/// Whether tracing is possible here; if not, says that this test is skipped.
fn can_trace(test: &str) -> bool {
    static ANSWER: OnceLock<Option<String>> = OnceLock::new();
    let why = ANSWER.get_or_init(|| {
        let Output { status, stderr, .. } = zctrace()
            .args(["run", "--", "true"])
            .env_remove("SUDO_UID")
            .stdin(Stdio::null())
            .output()
            .expect("zctrace");
        let said = String::from_utf8_lossy(&stderr);
        (status.code() == Some(4)).then(|| said.lines().next().unwrap_or_default().to_owned())
    });
    if let Some(why) = why {
        println!("SKIP {test}: {why}");
    }
    why.is_none()
}

/// A directory of our own, empty, gone at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("zctrace-viewer-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const TAKEN: &[u8] = b"\x1b[?1049h";

/// The viewer of a command, once it has the terminal.
fn viewer(arguments: &[&str], size: (u16, u16)) -> Terminal {
    let mut command = zctrace();
    command.args(arguments);
    let mut terminal = Terminal::start(command, size.0, size.1).expect("a terminal");
    terminal.wait_for_bytes(TAKEN);
    terminal
}

/// A command that goes on until its keyboard says otherwise.
const CAT: [&str; 3] = ["--mouse", "--", "cat"];

#[test]
fn however_it_is_left_the_terminal_is_as_before() {
    if !can_trace("however_it_is_left_the_terminal_is_as_before") {
        return;
    }
    // With a command: leaving ends it, and that is a success; a signal is passed on to it, and its code is the answer.
    for (how, keys, signal, code) in [
        ("q, and y", "qy", None, 0),
        ("Ctrl-C twice", "\x03\x03", None, 0),
        ("SIGTERM", "", Some(Signal::TERM), 128 + 15),
        ("SIGHUP", "", Some(Signal::HUP), 128 + 1),
        ("SIGINT", "", Some(Signal::INT), 128 + 2),
        ("SIGQUIT", "", Some(Signal::QUIT), 128 + 3),
    ] {
        let mut terminal = viewer(&CAT, (80, 24));
        terminal.press(keys);
        if let Some(signal) = signal {
            terminal.signal(signal);
        }
        assert_eq!(terminal.end(), code, "{how}: {}", terminal.text());
        assert_eq!(terminal.left_behind(), [""; 0], "{how}");
    }
    // Without one it is a success in any case.
    let me = std::process::id().to_string();
    for (how, keys, signal) in [
        ("q", "q", None),
        ("Ctrl-C", "\x03", None),
        ("SIGTERM", "", Some(Signal::TERM)),
    ] {
        let mut terminal = viewer(&["--mouse", "-p", &me], (80, 24));
        terminal.press(keys);
        if let Some(signal) = signal {
            terminal.signal(signal);
        }
        assert_eq!(terminal.end(), 0, "{how}: {}", terminal.text());
        assert_eq!(terminal.left_behind(), [""; 0], "{how}");
    }
}

#[test]
fn a_panic_of_any_thread_gives_the_terminal_back_and_is_told() {
    if !can_trace("a_panic_of_any_thread_gives_the_terminal_back_and_is_told") {
        return;
    }
    if !cfg!(debug_assertions) {
        println!("SKIP a_panic_of_any_thread_gives_the_terminal_back_and_is_told: a release does not panic when asked");
        return;
    }
    for thread in ["main", "feed", "pane"] {
        let mut command = zctrace();
        command.args(CAT).env("ZCTRACE_TEST_PANIC", thread);
        let mut terminal = Terminal::start(command, 80, 24).expect("a terminal");
        assert_eq!(terminal.end(), 4, "{thread}: {}", terminal.text());
        assert_eq!(terminal.left_behind(), [""; 0], "{thread}");
        let text = terminal.text();
        assert!(
            text.contains(&format!("the thread {thread} was asked to panic")),
            "{thread}: {text}"
        );
    }
}

#[test]
fn a_stopped_viewer_gives_the_terminal_back_and_takes_it_again() {
    if !can_trace("a_stopped_viewer_gives_the_terminal_back_and_takes_it_again") {
        return;
    }
    let mut terminal = viewer(&CAT, (80, 24));
    for by_key in [true, false] {
        if by_key {
            terminal.press("\x1a");
        } else {
            terminal.signal(Signal::TSTP);
        }
        terminal.wait_stopped();
        assert_eq!(terminal.left_behind(), [""; 0]);
        terminal.written.clear();
        terminal.signal(Signal::CONT);
        terminal.wait_for_bytes(TAKEN);
    }
    terminal.press("qy");
    assert_eq!(terminal.end(), 0);
    assert_eq!(terminal.left_behind(), [""; 0]);
}
