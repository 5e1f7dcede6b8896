//! The command's terminal: a pty, read by a thread that keeps its screen. The command never writes
//! to the real screen.

use std::fmt;
use std::io;
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::Size;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};
use tokio::sync::watch;

use super::terminal::panic_if_asked;

/// Minimum time between two notifications of screen changes; a shorter one is invisible.
const UPDATE_INTERVAL: Duration = Duration::from_millis(33);

/// zctrace's end of the pty, with the command's screen.
#[derive(Clone)]
pub(crate) struct ChildTerminal {
    shared: Arc<Shared>,
    /// The latest content of the command's screen.
    pub(crate) screen: watch::Receiver<Arc<vt100::Screen>>,
}

struct Shared {
    pty: OwnedFd,
    parser: Mutex<vt100::Parser<Replies>>,
    screens: watch::Sender<Arc<vt100::Screen>>,
}

impl fmt::Debug for ChildTerminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildTerminal")
            .field("pty", &self.shared.pty)
            .finish_non_exhaustive()
    }
}

impl ChildTerminal {
    /// Creates a pty of this size and returns the command's end. The pty belongs to the given user
    /// and has the settings of zctrace's own terminal.
    pub(crate) fn open(size: Size, uid: Option<u32>) -> io::Result<(Self, OwnedFd)> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let pty = openpt(flags)?;
        grantpt(&pty)?;
        unlockpt(&pty)?;
        let child_end = ioctl_tiocgptpeer(&pty, flags)?;
        if let Some(uid) = uid {
            // grantpt(3) does this for its caller. Otherwise the command could not open its
            // terminal by name.
            rustix::fs::fchown(&child_end, Some(rustix::fs::Uid::from_raw(uid)), None)?;
        }
        if let Ok(settings) = tcgetattr(rustix::stdio::stdin()) {
            tcsetattr(&child_end, OptionalActions::Now, &settings)?;
        }
        // Keys must not block the viewer when the command does not read.
        rustix::io::ioctl_fionbio(&pty, true)?;
        let size = min_size(size);
        let (rows, columns) = grid_size(size);
        let parser = vt100::Parser::new_with_callbacks(rows, columns, 0, Replies::default());
        let (screens, screen) = watch::channel(Arc::new(parser.screen().clone()));
        let shared = Arc::new(Shared {
            pty,
            parser: Mutex::new(parser),
            screens,
        });
        let terminal = Self {
            shared: Arc::clone(&shared),
            screen,
        };
        terminal.resize(size);
        std::thread::Builder::new()
            .name("child-terminal".to_owned())
            .spawn(move || shared.read())?;
        Ok((terminal, child_end))
    }

    /// Resizes the terminal; the kernel notifies the command by a signal.
    pub(crate) fn resize(&self, size: Size) {
        let size = min_size(size);
        let window = Winsize {
            ws_row: size.height,
            ws_col: size.width,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let (rows, columns) = grid_size(size);
        // Before the command is notified: what it draws for the new size must not be parsed for the
        // old one.
        let mut parser = self.shared.parser();
        // Fails only for a descriptor that is not a terminal.
        let _ = tcsetwinsize(&self.shared.pty, window);
        // Rows that would be cut off at the bottom are scrolled up, so that the cursor and the
        // latest output stay visible.
        parser.screen_mut().set_size(rows, columns);
        self.shared.screens.send_replace(Arc::new(parser.screen().clone()));
    }

    /// Sends a key. Returns `false` if the pty's queue is full because the command does not read.
    pub(crate) fn send_key(&self, key: &KeyEvent) -> bool {
        let application = self.shared.parser().screen().application_cursor();
        let bytes = key_bytes(key, application);
        bytes.is_empty() || rustix::io::write(&self.shared.pty, &bytes).is_ok_and(|written| written == bytes.len())
    }
}

/// Programs divide by the size, so a terminal has at least one row. It has at least three columns,
/// because a character can have three (U+17D8) and vt100 does not handle a character wider than the
/// terminal.
fn min_size(size: Size) -> Size {
    Size::new(size.width.max(3), size.height.max(1))
}

/// Returns rows and columns of a terminal in an area of this size, in the form that vt100 takes.
pub(crate) fn grid_size(size: Size) -> (NonZeroU16, NonZeroU16) {
    let size = min_size(size);
    let number = |number| NonZeroU16::new(number).unwrap_or(NonZeroU16::MIN);
    (number(size.height), number(size.width))
}

impl Shared {
    fn parser(&self) -> std::sync::MutexGuard<'_, vt100::Parser<Replies>> {
        self.parser.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the command's output until the last descriptor of its end is closed.
    fn read(&self) {
        let mut buffer = vec![0; 64 << 10];
        let mut last_update = Instant::now();
        let mut changed = false;
        loop {
            panic_if_asked("child-terminal");
            let wait = changed.then(|| UPDATE_INTERVAL.saturating_sub(last_update.elapsed()));
            let mut fds = [PollFd::new(&self.pty, PollFlags::IN)];
            let limit = wait.and_then(|wait| Timespec::try_from(wait).ok());
            match poll(&mut fds, limit.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
            let gone = match rustix::io::read(&self.pty, &mut buffer) {
                // EIO: the last descriptor of the other end was closed.
                Ok(0) | Err(Errno::IO) => true,
                Ok(some) => {
                    let mut parser = self.parser();
                    parser.process(&buffer[..some]);
                    let answer = std::mem::take(&mut parser.callbacks_mut().0);
                    drop(parser);
                    if !answer.is_empty() {
                        // A response that does not fit is lost, as on a line that is too slow.
                        let _ = rustix::io::write(&self.pty, &answer);
                    }
                    changed = true;
                    false
                }
                Err(Errno::AGAIN | Errno::INTR) => false,
                Err(_) => true,
            };
            if changed && (gone || last_update.elapsed() >= UPDATE_INTERVAL) {
                // While the lock is held, so that an older screen never follows a newer one.
                let parser = self.parser();
                self.screens.send_replace(Arc::new(parser.screen().clone()));
                last_update = Instant::now();
                changed = false;
            }
            if gone {
                return;
            }
        }
    }
}

/// The terminal's responses to queries; programs wait for them.
#[derive(Default)]
struct Replies(Vec<u8>);

impl vt100::Callbacks for Replies {
    fn unhandled_csi(
        &mut self,
        screen: &mut vt100::Screen,
        first: Option<u8>,
        _: Option<u8>,
        params: &[&[u16]],
        c: char,
    ) {
        let number = params.first().and_then(|sub| sub.first()).copied().unwrap_or(0);
        match (first, c, number) {
            // Primary device attributes: a VT220 with colors, the response of xterm (ECMA-48
            // 8.3.24, ctlseqs `CSI c`).
            (None, 'c', 0) => self.0.extend_from_slice(b"\x1b[?62;22c"),
            // Device status: ready; and the cursor position, counted from 1 (ECMA-48 8.3.35).
            (None, 'n', 5) => self.0.extend_from_slice(b"\x1b[0n"),
            (None, 'n', 6) => {
                let (row, column) = screen.cursor_position();
                self.0
                    .extend_from_slice(format!("\x1b[{};{}R", row + 1, column + 1).as_bytes());
            }
            _ => {}
        }
    }
}

/// Returns the bytes that xterm sends for a key (ctlseqs, "PC-Style Function Keys"). `application`
/// is the mode of the cursor keys (DECCKM).
fn key_bytes(key: &KeyEvent, application: bool) -> Vec<u8> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    let alt = key.modifiers.contains(KeyModifiers::ALT);
    let shift = key.modifiers.contains(KeyModifiers::SHIFT);
    let modifier = 1 + u8::from(shift) + 2 * u8::from(alt) + 4 * u8::from(control);
    // Cursor keys and F1 to F4 end with a letter, the others with a number and a tilde.
    let letter = |c: char| match (modifier, application) {
        (1, true) => format!("\x1bO{c}"),
        (1, false) => format!("\x1b[{c}"),
        _ => format!("\x1b[1;{modifier}{c}"),
    };
    let number = |n: u8| match modifier {
        1 => format!("\x1b[{n}~"),
        _ => format!("\x1b[{n};{modifier}~"),
    };
    let text = match key.code {
        KeyCode::Char(c) if control => match c.to_ascii_lowercase() {
            c @ 'a'..='z' => char::from(c as u8 - b'a' + 1).to_string(),
            ' ' | '2' | '@' => "\0".to_owned(),
            '3' | '[' => "\x1b".to_owned(),
            '4' | '\\' => "\x1c".to_owned(),
            '5' | ']' => "\x1d".to_owned(),
            '6' | '^' => "\x1e".to_owned(),
            '7' | '_' | '/' => "\x1f".to_owned(),
            '8' | '?' => "\x7f".to_owned(),
            other => other.to_string(),
        },
        KeyCode::Char(c) => c.to_string(),
        KeyCode::Enter => "\r".to_owned(),
        KeyCode::Tab => "\t".to_owned(),
        KeyCode::BackTab => "\x1b[Z".to_owned(),
        KeyCode::Backspace => "\x7f".to_owned(),
        KeyCode::Esc => "\x1b".to_owned(),
        KeyCode::Up => letter('A'),
        KeyCode::Down => letter('B'),
        KeyCode::Right => letter('C'),
        KeyCode::Left => letter('D'),
        KeyCode::Home => letter('H'),
        KeyCode::End => letter('F'),
        KeyCode::Insert => number(2),
        KeyCode::Delete => number(3),
        KeyCode::PageUp => number(5),
        KeyCode::PageDown => number(6),
        KeyCode::F(n @ 1..=4) => match modifier {
            1 => format!("\x1bO{}", char::from(b'P' + n - 1)),
            _ => format!("\x1b[1;{modifier}{}", char::from(b'P' + n - 1)),
        },
        // The gaps are those of the VT220.
        KeyCode::F(n @ 5..=12) => number([15, 17, 18, 19, 20, 21, 23, 24][usize::from(n - 5)]),
        _ => String::new(),
    };
    let plain = matches!(
        key.code,
        KeyCode::Char(_) | KeyCode::Enter | KeyCode::Tab | KeyCode::Backspace | KeyCode::Esc
    );
    let mut bytes = Vec::with_capacity(8);
    if alt && plain {
        bytes.push(0x1b);
    }
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_encoded_like_xterm() {
        let sent = |code, modifiers, application| {
            String::from_utf8(key_bytes(&KeyEvent::new(code, modifiers), application)).unwrap()
        };
        let plain = KeyModifiers::NONE;
        assert_eq!(sent(KeyCode::Char('ä'), plain, false), "ä");
        assert_eq!(sent(KeyCode::Char('c'), KeyModifiers::CONTROL, false), "\x03");
        assert_eq!(sent(KeyCode::Char('x'), KeyModifiers::ALT, false), "\x1bx");
        assert_eq!(sent(KeyCode::Up, plain, false), "\x1b[A");
        assert_eq!(sent(KeyCode::Up, plain, true), "\x1bOA");
        assert_eq!(sent(KeyCode::Up, KeyModifiers::CONTROL, true), "\x1b[1;5A");
        assert_eq!(sent(KeyCode::F(1), plain, false), "\x1bOP");
        assert_eq!(sent(KeyCode::F(12), plain, false), "\x1b[24~");
        assert_eq!(sent(KeyCode::Delete, KeyModifiers::SHIFT, false), "\x1b[3;2~");
        assert_eq!(sent(KeyCode::Null, plain, false), "");
    }

    #[test]
    fn last_lines_survive_resizing() {
        let of = |rows| grid_size(Size::new(20, rows));
        let (rows, columns) = of(6);
        let mut parser = vt100::Parser::new_with_callbacks(rows, columns, 0, Replies::default());
        let resize = |parser: &mut vt100::Parser<Replies>, rows| {
            let (rows, columns) = of(rows);
            parser.screen_mut().set_size(rows, columns);
        };
        parser.process(b"1\r\n2\r\n3\r\n4\r\n5\r\n6\r\n7\r\n$ ");
        resize(&mut parser, 3);
        assert_eq!(parser.screen().contents(), "6\n7\n$ ");
        assert_eq!(parser.screen().cursor_position(), (2, 2));
        resize(&mut parser, 5);
        parser.process(b"x\r\n8");
        // Rows that were scrolled out are not kept, so a new row is empty.
        assert_eq!(parser.screen().contents(), "\n6\n7\n$ x\n8");
    }

    #[test]
    fn output_is_on_the_screen_and_queries_are_answered() {
        let (terminal, child_end) = ChildTerminal::open(Size::new(20, 3), None).unwrap();
        let mut settings = tcgetattr(&child_end).unwrap();
        settings.make_raw();
        tcsetattr(&child_end, OptionalActions::Now, &settings).unwrap();
        rustix::io::write(&child_end, b"\x1b[2;3Hhere\x1b[6n").unwrap();
        // The response arrives where a program reads its keys.
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut fds = [PollFd::new(&child_end, PollFlags::IN)];
        let limit = Timespec::try_from(Duration::from_secs(60)).unwrap();
        assert_eq!(poll(&mut fds, Some(&limit)).unwrap(), 1, "no answer");
        let mut answer = [0; 64];
        let got = rustix::io::read(&child_end, &mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer[..got]).into_owned();
        while !terminal.screen.borrow().contents().starts_with("\n  here") {
            assert!(Instant::now() < deadline, "{:?}", terminal.screen.borrow().contents());
            std::thread::yield_now();
        }
        assert_eq!(answer, "\x1b[2;7R");
    }
}
