//! The terminal: taken over, and given back as it was.
//!
//! Each mode is a bit of [`TAKEN`]; whoever gives the terminal back takes all bits away at once, so that each is undone
//! exactly once, whether by the guard's drop, by the hook for panics of any thread, or by a stop (Ctrl-Z). A panic keeps the
//! lock of it for good: what another thread was about to take it does not get any more.
//!
//! While it is taken, standard error is a pipe if it was this terminal: what any library or thread writes there becomes lines
//! of the log instead of a hole in the screen.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use ratatui::layout::Size;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::tcgetwinsize;

use crate::exit_code;

/// Keys come one by one, and none is a signal.
const RAW: u8 = 1;
/// The alternate screen, without a cursor.
const SCREEN: u8 = 2;
/// Clicks and the wheel are reported.
const MOUSE: u8 = 4;
/// Standard error goes to the log.
const STDERR: u8 = 8;

/// What of the terminal is ours now.
static TAKEN: Mutex<u8> = Mutex::new(0);

fn taken() -> MutexGuard<'static, u8> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where standard error went before.
static OLD_STDERR: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// Alternate screen with the cursor saved (xterm's 1049), cursor hidden (DECTCEM).
const ENTER: &[u8] = b"\x1b[?1049h\x1b[2J\x1b[?25l";
/// Attributes off, cursor shown, back to the screen from before.
const LEAVE: &[u8] = b"\x1b[0m\x1b[?25h\x1b[?1049l";
/// Buttons and the wheel (1000), in the form that has no limit on columns (1006). Not the motion, which nothing here needs.
const MOUSE_ON: &[u8] = b"\x1b[?1000h\x1b[?1006h";
const MOUSE_OFF: &[u8] = b"\x1b[?1006l\x1b[?1000l";

/// The size of a terminal that does not say it, such as a serial line: that of a VT100.
const UNTOLD: Size = Size::new(80, 24);

/// The size that the terminal has now: of the one that is drawn on, which need not be the one that controls this process.
pub(crate) fn size() -> io::Result<Size> {
    let now = tcgetwinsize(rustix::stdio::stdout())?;
    Ok(match (now.ws_col, now.ws_row) {
        (0, _) | (_, 0) => UNTOLD,
        (columns, rows) => Size::new(columns, rows),
    })
}

/// The terminal is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct Guard {
    mouse: bool,
}

impl Guard {
    /// Takes it. The other end of standard error, if that is taken too.
    pub(crate) fn take(mouse: bool) -> io::Result<(Self, Option<File>)> {
        let guard = Self { mouse };
        // From here on a failure gives back what was taken: the guard is dropped.
        let log = take_stderr()?;
        guard.enter()?;
        Ok((guard, log))
    }

    /// Takes the screen and the keys, the first time or after a stop.
    pub(crate) fn enter(&self) -> io::Result<()> {
        let mut taken = taken();
        enable_raw_mode()?;
        *taken |= RAW;
        let mut out = io::stdout().lock();
        *taken |= SCREEN;
        out.write_all(ENTER)?;
        if self.mouse {
            *taken |= MOUSE;
            out.write_all(MOUSE_ON)?;
        }
        out.flush()
    }

    /// Gives screen and keys back, for a stop. Standard error stays with the log.
    pub(crate) fn leave() {
        let mut taken = taken();
        undo(*taken & !STDERR);
        *taken &= STDERR;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut taken = taken();
        undo(*taken);
        *taken = 0;
    }
}

/// Where frames are written, each in one piece: to the terminal as long as it is taken. Once it is given back, by whichever thread,
/// what is drawn then goes nowhere: it would be drawn over what was there before, and hide the cursor for good.
#[derive(Debug)]
pub(crate) struct Frames;

impl Write for Frames {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Kept until all is written, so that it is not given back in the middle of a sequence.
        let taken = taken();
        let mut rest = if *taken & SCREEN == 0 { &[] } else { bytes };
        while !rest.is_empty() {
            match rustix::io::retry_on_intr(|| rustix::io::write(rustix::stdio::stdout(), rest))? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => rest = &rest[written..],
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Undoes these. What fails cannot be told to anybody: the terminal is gone.
fn undo(taken: u8) {
    if taken & (MOUSE | SCREEN) != 0 {
        // Not through std's own buffer, whose lock another thread may hold.
        let mut bytes = Vec::new();
        if taken & MOUSE != 0 {
            bytes.extend_from_slice(MOUSE_OFF);
        }
        if taken & SCREEN != 0 {
            bytes.extend_from_slice(LEAVE);
        }
        let stdout = rustix::stdio::stdout();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            match rustix::io::retry_on_intr(|| rustix::io::write(stdout, rest)) {
                Ok(written) if written > 0 => rest = &rest[written..],
                _ => break,
            }
        }
    }
    if taken & RAW != 0 {
        let _ = disable_raw_mode();
    }
    if taken & STDERR != 0
        && let Some(old) = OLD_STDERR.lock().unwrap_or_else(PoisonError::into_inner).take()
    {
        let _ = rustix::stdio::dup2_stderr(&old);
    }
}

/// Makes standard error a pipe, if it is a terminal: what was sent to a file stays with the file.
fn take_stderr() -> io::Result<Option<File>> {
    if !io::stderr().is_terminal() {
        return Ok(None);
    }
    let old = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3)?;
    // Whoever writes must not wait for the viewer, which might be the one who writes.
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let mut taken = taken();
    *OLD_STDERR.lock().unwrap_or_else(PoisonError::into_inner) = Some(old);
    *taken |= STDERR;
    rustix::stdio::dup2_stderr(&write)?;
    Ok(Some(File::from(read)))
}

/// From here on a panic of any thread ends zctrace, for without that thread what is shown would not be true. Before it is told
/// the terminal is given back.
///
/// The probes are detached by the kernel when the process is gone, and CMD, if there is one, is hung up by its terminal.
pub(crate) fn catch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let taken = taken();
            undo(*taken);
            std::mem::forget(taken);
            tell(panic);
            std::process::exit(i32::from(exit_code::ERROR));
        }));
    });
}

/// For tests of the real program: panics if this thread was asked to. Not in what is released.
pub(crate) fn panic_if_asked(thread: &str) {
    let asked = cfg!(debug_assertions) && std::env::var("ZCTRACE_TEST_PANIC").is_ok_and(|asked| asked == thread);
    assert!(!asked, "the thread {thread} was asked to panic");
}
