//! A terminal for tests: a pty, the screen that a program draws, keys and clicks. Nothing sleeps;
//! the tests wait for conditions.

use std::io;
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

/// Timeout of an operation that should take no time, for a loaded machine and an unoptimized
/// program.
const PATIENCE: Duration = Duration::from_secs(40);

/// A terminal with a program on it.
pub(crate) struct Terminal {
    keys: OwnedFd,
    child_end: OwnedFd,
    before: Termios,
    child: Child,
    status: Option<i32>,
    screen: vt100::Parser,
    /// Everything that the program wrote.
    pub(crate) written: Vec<u8>,
}

impl Terminal {
    /// Starts a program on a terminal of the given size. `stderr` states whether its standard error
    /// is the terminal too.
    pub(crate) fn start(mut command: Command, columns: u16, rows: u16) -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let keys = openpt(flags)?;
        grantpt(&keys)?;
        unlockpt(&keys)?;
        let child_end = ioctl_tiocgptpeer(&keys, flags)?;
        tcsetwinsize(&keys, size(columns, rows))?;
        rustix::io::ioctl_fionbio(&keys, true)?;
        let end = || child_end.try_clone().map(Stdio::from);
        command.stdin(end()?).stdout(end()?).stderr(end()?);
        command.env("TERM", "xterm-256color").env("LC_ALL", "C.UTF-8");
        for name in [
            "NO_COLOR",
            "COLORTERM",
            "SUDO_UID",
            "SUDO_GID",
            "ZCTRACE_THEME",
            "XDG_CONFIG_HOME",
        ] {
            command.env_remove(name);
        }
        let before = tcgetattr(&child_end)?;
        let child = command.spawn()?;
        Ok(Self {
            keys,
            child_end,
            before,
            child,
            status: None,
            screen: vt100::Parser::new(cells(rows), cells(columns), 0),
            written: Vec::new(),
        })
    }

    /// Returns the PID of the program.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")).expect("a pid")
    }

    /// Sends the program a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it is there");
    }

    /// Types text.
    pub(crate) fn press(&self, keys: &str) {
        let mut rest = keys.as_bytes();
        while !rest.is_empty() {
            match rustix::io::write(&self.keys, rest) {
                Ok(written) => rest = &rest[written..],
                Err(rustix::io::Errno::AGAIN) => std::thread::yield_now(),
                Err(errno) => panic!("typing: {errno}"),
            }
        }
    }

    /// Clicks, in xterm's encoding of mode 1006. Column and row start at 0.
    pub(crate) fn click(&self, column: usize, row: usize) {
        self.press(&format!("\x1b[<0;{0};{1}M\x1b[<0;{0};{1}m", column + 1, row + 1));
    }

    /// Resizes the terminal, and notifies the program.
    pub(crate) fn resize(&mut self, columns: u16, rows: u16) {
        self.resize_in_silence(columns, rows);
        self.signal(Signal::WINCH);
    }

    /// Resizes the terminal without notifying the program. No process has this terminal as its
    /// controlling terminal, so that the kernel sends no signal by itself.
    pub(crate) fn resize_in_silence(&mut self, columns: u16, rows: u16) {
        tcsetwinsize(&self.keys, size(columns, rows)).expect("a size");
        self.screen.screen_mut().set_size(cells(rows), cells(columns));
        // Remains of the old screen could be mistaken for a new one.
        self.screen.process(b"\x1b[2J");
    }

    /// Returns the lines of the screen.
    pub(crate) fn lines(&self) -> Vec<String> {
        let screen = self.screen.screen();
        let lines = screen.rows(0, screen.size().1.get());
        lines.map(|line| line.trim_end().to_owned()).collect()
    }

    /// Returns the screen as one string.
    pub(crate) fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// Returns whether anything on the screen has a color.
    pub(crate) fn is_colored(&self) -> bool {
        let screen = self.screen.screen();
        let (rows, columns) = screen.size();
        let (rows, columns) = (rows.get(), columns.get());
        let mut cells = (0..rows).flat_map(|row| (0..columns).filter_map(move |column| screen.cell(row, column)));
        cells.any(|cell| cell.fgcolor() != vt100::Color::Default || cell.bgcolor() != vt100::Color::Default)
    }

    /// Waits until the screen fulfills a condition, and returns it.
    pub(crate) fn wait_for(&mut self, what: &str, so: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.text();
            if so(&text) {
                return text;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain for {what}; the screen is\n{text}");
            assert!(
                self.read(left),
                "the program is gone; waited for {what}; the screen is\n{text}"
            );
        }
    }

    /// Waits for a text on the screen.
    pub(crate) fn wait(&mut self, text: &str) -> String {
        self.wait_for(&format!("{text:?}"), |screen| screen.contains(text))
    }

    /// Waits for bytes in the output.
    pub(crate) fn wait_for_bytes(&mut self, bytes: &[u8]) {
        let deadline = Instant::now() + PATIENCE;
        let mut from = 0;
        loop {
            if self.written[from..].windows(bytes.len()).any(|window| window == bytes) {
                return;
            }
            from = self.written.len().saturating_sub(bytes.len());
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero() && self.read(left),
                "waited in vain for {bytes:?}:\n{}",
                self.text()
            );
        }
    }

    /// Reads what the program has written, or waits for output. Returns `false` if the program has
    /// ended and everything was read.
    fn read(&mut self, most: Duration) -> bool {
        // In short steps, because the end of the program causes no event: this test has its
        // terminal open.
        let step = most.min(Duration::from_millis(100));
        let ended = self.ended();
        let mut fds = [PollFd::new(&self.keys, PollFlags::IN)];
        let limit = Timespec::try_from(step).expect("a short time");
        poll(&mut fds, Some(&limit)).expect("a poll");
        let mut buffer = vec![0; 1 << 16];
        match rustix::io::read(&self.keys, &mut buffer) {
            Ok(got) => {
                self.screen.process(&buffer[..got]);
                self.written.extend_from_slice(&buffer[..got]);
                true
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => !ended,
            Err(errno) => panic!("reading: {errno}"),
        }
    }

    fn ended(&mut self) -> bool {
        if self.status.is_none()
            && let Some(status) = self.child.try_wait().expect("a child")
        {
            use std::os::unix::process::ExitStatusExt;
            self.status = Some(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
        }
        self.status.is_some()
    }

    /// Waits until the program has ended, reads everything, and returns its exit code, or 128 plus
    /// the signal.
    pub(crate) fn end(&mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "it does not end:\n{}", self.text());
            if !self.read(left) {
                return self.status.expect("it has ended");
            }
        }
    }

    /// Waits until the program has stopped, as by Ctrl-Z.
    pub(crate) fn wait_stopped(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let options = WaitOptions::UNTRACED | WaitOptions::NOHANG;
            let status = waitpid(Some(self.pid()), options).expect("a child");
            if status.is_some_and(|(_, status): (_, WaitStatus)| status.stopped()) {
                // Reads the output from before the stop.
                while self.pending() {
                    self.read(Duration::ZERO);
                }
                return;
            }
            if let Some((_, status)) = status {
                // The program was waited for just now.
                self.status = Some(status.exit_status().unwrap_or(-1));
                while self.pending() {
                    self.read(Duration::ZERO);
                }
                panic!("it has ended instead ({status:?}):\n{}", self.text());
            }
            assert!(Instant::now() < deadline, "it does not stop:\n{}", self.text());
            self.read(Duration::from_millis(20));
        }
    }

    fn pending(&self) -> bool {
        let mut fds = [PollFd::new(&self.keys, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).expect("a poll") > 0
    }

    /// Returns the settings of the terminal that differ from those before the program; empty on
    /// success.
    pub(crate) fn left_behind(&self) -> Vec<String> {
        let mut left = Vec::new();
        let now = tcgetattr(&self.child_end).expect("settings");
        if format!("{now:?}") != format!("{:?}", self.before) {
            left.push(format!("settings {now:?} instead of {:?}", self.before));
        }
        // Modes that were set and not reset, and the cursor.
        for (name, set, reset) in [
            ("alternate screen", "?1049h", "?1049l"),
            ("buttons of the mouse", "?1000h", "?1000l"),
            ("motion of the mouse", "?1002h", "?1002l"),
            ("all motion of the mouse", "?1003h", "?1003l"),
            ("form of the mouse", "?1006h", "?1006l"),
            ("bracketed paste", "?2004h", "?2004l"),
            ("reports of focus", "?1004h", "?1004l"),
            ("hidden cursor", "?25l", "?25h"),
        ] {
            let last = |what: &str| {
                let what = format!("\x1b[{what}");
                let windows = self.written.windows(what.len());
                windows.rev().position(|window| window == what.as_bytes())
            };
            // Positions are counted from the end, so that the smaller one is later.
            if let Some(set) = last(set)
                && last(reset).is_none_or(|reset| reset > set)
            {
                left.push(name.to_owned());
            }
        }
        left
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if !self.ended() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Returns a number of rows or columns, as vt100 takes them.
fn cells(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).expect("a terminal has some")
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}
