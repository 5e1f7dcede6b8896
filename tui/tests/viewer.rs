//! Tests of the live viewer in a real terminal: every key of its help, every way to exit, the
//! command's terminal, the log, the configuration. It traces `sh` and `cat`, which requires the
//! privileges to trace. Without them every test is skipped except those of recordings.

#[path = "viewer/keys.rs"]
mod keys;
#[path = "viewer/replay.rs"]
mod replay;
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

/// Returns whether tracing is possible here. If not, reports that the test is skipped.
fn can_trace(test: &str) -> bool {
    static ANSWER: OnceLock<Option<String>> = OnceLock::new();
    let why = ANSWER.get_or_init(|| {
        let Output { status, stderr, .. } = zctrace()
            .args(["run", "--", "true"])
            .env_remove("SUDO_UID")
            .stdin(Stdio::null())
            .output()
            .expect("zctrace");
        let printed = String::from_utf8_lossy(&stderr);
        (status.code() == Some(4)).then(|| printed.lines().next().unwrap_or_default().to_owned())
    });
    if let Some(why) = why {
        println!("SKIP {test}: {why}");
    }
    why.is_none()
}

/// An empty temporary directory, removed at the end.
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

/// Starts the viewer on a command, and waits until it has the terminal.
fn viewer(arguments: &[&str], size: (u16, u16)) -> Terminal {
    let mut command = zctrace();
    command.args(arguments);
    let mut terminal = Terminal::start(command, size.0, size.1).expect("a terminal");
    terminal.wait_for_bytes(TAKEN);
    terminal
}

/// A command that runs until its keyboard input ends.
const CAT: [&str; 3] = ["--mouse", "--", "cat"];

#[test]
fn terminal_is_restored_on_every_exit() {
    if !can_trace("terminal_is_restored_on_every_exit") {
        return;
    }
    // With a command: quitting ends it, which counts as success. A signal is forwarded to it, and
    // its exit code is returned.
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
    // Without a command, quitting is a success in any case.
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
fn panic_in_any_thread_releases_the_terminal() {
    if !can_trace("panic_in_any_thread_releases_the_terminal") {
        return;
    }
    if !cfg!(debug_assertions) {
        println!("SKIP panic_in_any_thread_releases_the_terminal: a release does not panic when asked");
        return;
    }
    for thread in ["main", "poller", "child-terminal"] {
        let mut command = zctrace();
        // A backtrace is longer than the screen.
        command
            .args(CAT)
            .env("ZCTRACE_TEST_PANIC", thread)
            .env("RUST_BACKTRACE", "0");
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
fn suspend_releases_and_reacquires_the_terminal() {
    if !can_trace("suspend_releases_and_reacquires_the_terminal") {
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

/// A command that transfers bytes in several ways, prints `ready`, and repeats its input. Its
/// largest transfers have payload, and are larger than the read of `/dev/zero`, which has none.
fn mover(directory: &Directory) -> [String; 4] {
    let long = "a-name-that-is-longer-than-any-column-of-the-narrowest-screen-that-is-laid-out-in-full-0123456789";
    let script = format!(
        "cd '{}' && head -c 3000000 /dev/zero >{long} && cat {long} {long} >b && cat b | cat >c && cp b d && echo re''ady && exec cat",
        directory.0.display()
    );
    ["--".to_owned(), "sh".to_owned(), "-c".to_owned(), script]
}

/// Starts the viewer on it, and waits until all flows are shown.
fn of_mover(directory: &Directory, more: &[&str], size: (u16, u16)) -> Terminal {
    let mover = mover(directory);
    let arguments: Vec<&str> = more.iter().copied().chain(mover.iter().map(String::as_str)).collect();
    let mut terminal = viewer(&arguments, size);
    terminal.wait("ready");
    // The last program, `cp`, copies 6,000,000 of 21,000,000 bytes.
    terminal.wait_for("all bytes", |text| text.contains("20.0 MiB delivered"));
    terminal
}

/// Returns the cursor's row and the number of rows: `7 of 37`.
fn position(text: &str) -> Option<(usize, usize)> {
    let line = text.lines().rev().nth(1)?;
    let number = |text: &str| text.replace(' ', "").parse().ok();
    line.split(" · ").find_map(|part| {
        let (row, rest) = part.split_once(" of ")?;
        Some((number(row)?, number(rest.split_once(',')?.0)?))
    })
}

/// Returns the lines of the rows, without the header, whose numbers keep changing.
fn rows(text: &str) -> Vec<&str> {
    text.lines().skip(5).collect()
}

#[test]
fn standard_error_goes_to_the_log_and_is_reprinted() {
    if !can_trace("standard_error_goes_to_the_log_and_is_reprinted") {
        return;
    }
    let mut terminal = viewer(&CAT, (100, 30));
    terminal.wait("[2 Flows]");
    let stderr = format!("/proc/{}/fd/2", terminal.pid().as_raw_nonzero());
    fs::write(stderr, "something stray\x1b[31m\n").expect("its standard error");
    terminal.press("7");
    let text = terminal.wait_for("the line", |text| {
        text.contains("[7 Log]") && text.contains("something stray")
    });
    assert!(
        !terminal.written.windows(10).any(|window| window == b"stray\x1b[31m"),
        "escape codes are not passed on: {text}"
    );
    terminal.press("qy");
    assert_eq!(terminal.end(), 0);
    assert!(
        terminal.text().contains("zctrace: something stray"),
        "{}",
        terminal.text()
    );
    assert_eq!(terminal.left_behind(), [""; 0]);
}

#[test]
fn ended_command_leaves_its_code_and_report() {
    if !can_trace("ended_command_leaves_its_code_and_report") {
        return;
    }
    let mut terminal = viewer(
        &["--", "sh", "-c", "cat /etc/passwd | cat >/dev/null; exit 7"],
        (100, 30),
    );
    terminal.wait("CMD ended with code 7");
    // The command has ended, so that quitting asks no question.
    terminal.press("q");
    assert_eq!(terminal.end(), 7);
    assert_eq!(terminal.left_behind(), [""; 0]);

    let mut terminal = viewer(&["--", "sh", "-c", "kill -KILL $$"], (100, 30));
    terminal.wait("CMD was ended by signal 9");
    terminal.press("q");
    assert_eq!(terminal.end(), 128 + 9);
}

#[test]
fn command_terminal_has_the_size_of_the_pane() {
    if !can_trace("command_terminal_has_the_size_of_the_pane") {
        return;
    }
    let script = "trap 'stty size' WINCH; stty size; tty; echo all-w''ell; while :; do read x; done";
    let mut terminal = viewer(&["--", "sh", "-c", script], (120, 40));
    let text = terminal.wait("all-well");
    assert!(text.contains("/dev/pts/"), "{text}");
    let line = text.lines().find(|line| line.ends_with(" 120")).expect("its size");
    let rows: usize = line.split_once(' ').expect("rows and columns").0.parse().expect("rows");
    let pane = text.lines().skip_while(|line| !line.contains("CMD is running")).count() - 1 - 2;
    assert_eq!(rows, pane, "{text}");
    terminal.resize(90, 30);
    terminal.wait_for("the new size", |text| text.lines().any(|line| line.ends_with(" 90")));
    terminal.press("qy");
    assert_eq!(terminal.end(), 0);
}

/// Returns whether the whole screen is drawn for a size, with or without the help.
fn is_drawn_for(text: &str, (columns, rows): (u16, u16), help: bool) -> bool {
    let wide = |line: &str| line.contains(" CMD ") && line.chars().count() == usize::from(columns);
    text.lines().count() == usize::from(rows)
        && text.lines().any(wide)
        && text.lines().next_back().is_some_and(|line| line.contains("q quit"))
        && text.contains("keys ·") == help
}

#[test]
fn simultaneous_key_and_resize_are_both_handled() {
    if !can_trace("simultaneous_key_and_resize_are_both_handled") {
        return;
    }
    let script = "echo re''ady; while read line; do stty size; done";
    let mut terminal = viewer(&["--", "sh", "-c", script], (100, 30));
    terminal.wait("ready");
    for round in 0..24 {
        let size = (80 + round * 37 % 60, 24 + round * 11 % 30);
        // Nothing is read while the viewer is stopped, so that all events are pending at once when
        // it continues. None of them may be lost.
        terminal.signal(Signal::STOP);
        terminal.wait_stopped();
        let help = round % 2 == 0;
        terminal.press(if help { "?" } else { "\x1b" });
        terminal.resize(size.0, size.1);
        terminal.signal(Signal::CONT);
        let text = terminal.wait_for(&format!("{size:?} in round {round}"), |text| {
            is_drawn_for(text, size, help)
        });
        if help {
            continue;
        }
        // The command's terminal has the size of the pane: the lines between its title and the two
        // last ones.
        let position = text.lines().skip_while(|line| !line.contains(" CMD ")).count() - 3;
        terminal.press("\x1b[24~");
        terminal.wait("keys go to CMD");
        terminal.press("\r");
        let answer = format!("{position} {}", size.0);
        terminal.wait_for(&answer, |text| text.lines().any(|line| line == answer));
        terminal.press("\x1b[24~");
        terminal.wait("sends keys to it");
    }
    terminal.press("qy");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn resize_without_signal_is_noticed_at_the_next_frame() {
    if !can_trace("resize_without_signal_is_noticed_at_the_next_frame") {
        return;
    }
    let mut terminal = viewer(&CAT, (100, 30));
    terminal.wait("CMD is running");
    for (size, help) in [((131, 43), true), ((80, 24), false)] {
        terminal.resize_in_silence(size.0, size.1);
        terminal.press(if help { "?" } else { "\x1b" });
        terminal.wait_for(&format!("{size:?}"), |text| is_drawn_for(text, size, help));
    }
    // An unchanged size does not imply that the screen still shows what was drawn.
    terminal.written.clear();
    terminal.resize(80, 24);
    terminal.wait_for_bytes(b"\x1b[2J");
    terminal.wait_for("the screen", |text| is_drawn_for(text, (80, 24), false));
    terminal.press("qy");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn mouse_selects_rows_columns_and_views() {
    if !can_trace("mouse_selects_rows_columns_and_views") {
        return;
    }
    let directory = Directory::new("mouse");
    let mut terminal = of_mover(&directory, &["--mouse"], (120, 40));
    let text = terminal.wait("[2 Flows]");
    let find = |text: &str, what: &str| {
        let (row, line) = text
            .lines()
            .enumerate()
            .find(|(_, line)| line.contains(what))
            .expect("it is there");
        (line[..line.find(what).expect("it is there")].chars().count(), row)
    };
    let titles = find(&text, "bytes v");
    terminal.click(titles.0 + 1, titles.1);
    terminal.wait("by bytes, smallest first");
    let moved = find(&text, "  moved ");
    terminal.click(moved.0 + 3, titles.1);
    terminal.wait("by moved, largest first");
    terminal.click(10, titles.1 + 3);
    terminal.wait_for("the third row", |text| position(text).is_some_and(|at| at.0 == 3));
    terminal.press("\x1b[<65;11;11M");
    terminal.wait_for("three rows down", |text| position(text).is_some_and(|at| at.0 == 6));
    terminal.press("\x1b[<64;11;11M");
    terminal.wait_for("three rows up", |text| position(text).is_some_and(|at| at.0 == 3));
    let tab = find(&text, "5 Reasons");
    terminal.click(tab.0 + 3, tab.1);
    terminal.wait("[5 Reasons]");
    terminal.press("qy");
    assert_eq!(terminal.end(), 0);
    assert_eq!(terminal.left_behind(), [""; 0]);
}

#[test]
fn header_shows_the_recording_and_its_failure() {
    if !can_trace("header_shows_the_recording_and_its_failure") {
        return;
    }
    let directory = Directory::new("record");
    let path = |name: &str| directory.0.join(name).to_str().expect("a path").to_owned();
    let whole = path("whole.zct");
    let mut terminal = viewer(&["--record", &whole, "--", "cat"], (100, 30));
    terminal.wait_for("the recording", |text| {
        text.contains("● REC LIVE") && text.contains("whole.zct ") && !text.contains("whole.zct 0 ·")
    });
    terminal.press("qy");
    assert_eq!(terminal.end(), 0);
    let printed = zctrace().args(["report", &whole]).output().expect("zctrace");
    assert!(printed.status.success(), "{printed:?}");

    // The reader of the recording exits, so that further records cannot be written.
    let pipe = path("pipe.zct");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .expect("a pipe");
    let mode = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    let reader = rustix::fs::open(&pipe, mode, rustix::fs::Mode::empty()).expect("its reader");
    let mut terminal = viewer(&["--record", &pipe, "--", "cat"], (100, 30));
    terminal.wait("● REC LIVE");
    drop(reader);
    terminal.wait_for("the failure", |text| {
        text.contains("REC FAILED") && text.contains("has failed; the run continues")
    });
    terminal.press("qy");
    // The command ended as requested, so that the exit code is that of the recording.
    assert_eq!(terminal.end(), 4);
    assert!(terminal.text().contains("ended early"), "{}", terminal.text());
}

#[test]
fn configuration_changes_theme_and_keys() {
    if !can_trace("configuration_changes_theme_and_keys") {
        return;
    }
    let directory = Directory::new("config");
    let file = directory.0.join("zctrace/config.toml");
    fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
    fs::write(
        &file,
        "theme = 'none'\nascii = true\n[keys]\nquit = 'x'\nreasons = 'R'\n",
    )
    .expect("a file");
    let mut command = zctrace();
    command.arg("--config").arg(&file).args(CAT);
    let mut terminal = Terminal::start(command, 80, 24).expect("a terminal");
    terminal.wait("[2 Flows]");
    terminal.press("R");
    let text = terminal.wait("[R Reasons]");
    assert!(text.is_ascii(), "{text}");
    assert!(!terminal.is_colored());
    terminal.press("x");
    terminal.wait("y ends both");
    terminal.press("y");
    assert_eq!(terminal.end(), 0);

    fs::write(&file, "\n[keys]\nquit = 'x'\nopen = 'x'\n").expect("a file");
    let mut command = zctrace();
    command.arg("--config").arg(&file).args(CAT);
    let mut terminal = Terminal::start(command, 160, 24).expect("a terminal");
    assert_eq!(terminal.end(), 2);
    let text = terminal.text();
    assert!(
        text.contains("config.toml, line 3: the key x is bound to `open` and to `quit`"),
        "{text}"
    );
    assert!(
        !terminal.written.windows(TAKEN.len()).any(|window| window == TAKEN),
        "the screen was not touched"
    );
}

#[test]
fn setup_error_leaves_the_screen_alone() {
    const NOBODY: u32 = 65_534;
    if !can_trace("setup_error_leaves_the_screen_alone") {
        return;
    }
    // An unprivileged user, who can run a copy of the program.
    let directory = Directory::new("nobody");
    let program = directory.0.join("zctrace");
    fs::copy(env!("CARGO_BIN_EXE_zctrace"), &program).expect("a copy");
    let mut command = Command::new(program);
    std::os::unix::process::CommandExt::uid(&mut command, NOBODY);
    command.args(CAT).env("HOME", "/nonexistent");
    let mut terminal = Terminal::start(command, 100, 30).expect("a terminal");
    assert_eq!(terminal.end(), 4);
    let text = terminal.text();
    assert!(
        text.contains("tracing could not be set up") && text.contains('→'),
        "{text}"
    );
    assert!(
        !terminal.written.windows(TAKEN.len()).any(|window| window == TAKEN),
        "{text}"
    );
    assert_eq!(terminal.left_behind(), [""; 0]);
}

#[test]
fn report_is_printed_without_a_terminal_or_with_a_format() {
    if !can_trace("report_is_printed_without_a_terminal_or_with_a_format") {
        return;
    }
    let mut command = zctrace();
    command.args(["--format", "text", "--", "true"]);
    let mut terminal = Terminal::start(command, 100, 30).expect("a terminal");
    assert_eq!(terminal.end(), 0);
    assert!(!terminal.written.windows(TAKEN.len()).any(|window| window == TAKEN));
    let mut command = zctrace();
    command.args(["--", "true"]).env("TERM", "dumb");
    let output = command.stdin(Stdio::null()).output().expect("zctrace");
    assert!(output.status.success() && !output.stdout.contains(&0x1b));
}
