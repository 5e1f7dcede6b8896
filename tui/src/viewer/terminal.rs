//! Acquires the terminal, and restores it to its previous state.
//!
//! Each terminal mode that was changed is a bit of [`ACTIVE_MODES`]. Whatever releases the terminal
//! clears all bits at once, so that each mode is restored exactly once: the guard's drop, the panic
//! hook of any thread, or a stop (Ctrl-Z). A panic keeps the lock forever, so that no other thread
//! can acquire a mode afterwards.
//!
//! While the terminal is acquired, standard error is a pipe if it was this terminal. Whatever a
//! library or thread writes there becomes a line of the log instead of damaging the screen.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use ratatui::layout::Size;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::tcgetwinsize;

use crate::exit_code;

/// Raw mode: keys are delivered one by one, and none is a signal.
const RAW: u8 = 1;
/// Alternate screen, with the cursor hidden.
const SCREEN: u8 = 2;
/// Mouse reporting of clicks and the wheel.
const MOUSE: u8 = 4;
/// Standard error redirected to the log.
const STDERR: u8 = 8;

/// Modes that are active now, as a bit set.
static ACTIVE_MODES: Mutex<u8> = Mutex::new(0);

fn active_modes() -> MutexGuard<'static, u8> {
    ACTIVE_MODES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Standard error before it was redirected.
static SAVED_STDERR: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// Alternate screen with the cursor saved (xterm's 1049), cursor hidden (DECTCEM).
const ENTER: &[u8] = b"\x1b[?1049h\x1b[2J\x1b[?25l";
/// Attributes off, cursor shown, back to the main screen.
const LEAVE: &[u8] = b"\x1b[0m\x1b[?25h\x1b[?1049l";
/// Reports of buttons and the wheel (1000), in the encoding without a limit on columns (1006).
/// Motion is not reported, because nothing uses it.
const MOUSE_ON: &[u8] = b"\x1b[?1000h\x1b[?1006h";
const MOUSE_OFF: &[u8] = b"\x1b[?1006l\x1b[?1000l";

/// Size of a terminal that does not report one, such as a serial line: that of a VT100.
const DEFAULT_SIZE: Size = Size::new(80, 24);

/// Returns the current size of the terminal that is drawn on, which need not be the controlling
/// terminal.
pub(crate) fn size() -> io::Result<Size> {
    let now = tcgetwinsize(rustix::stdio::stdout())?;
    Ok(match (now.ws_col, now.ws_row) {
        (0, _) | (_, 0) => DEFAULT_SIZE,
        (columns, rows) => Size::new(columns, rows),
    })
}

/// Owner of the terminal. Dropping it releases the terminal.
#[derive(Debug)]
pub(crate) struct TerminalGuard {
    mouse: bool,
}

impl TerminalGuard {
    /// Acquires the terminal. Returns the read end of the redirected standard error, if it was
    /// redirected.
    pub(crate) fn acquire(mouse: bool) -> io::Result<(Self, Option<File>)> {
        let guard = Self { mouse };
        // On an error from here on, dropping the guard restores the modes that were changed.
        let log = redirect_stderr()?;
        guard.enter()?;
        Ok((guard, log))
    }

    /// Acquires the screen and the keys, initially or after a stop.
    pub(crate) fn enter(&self) -> io::Result<()> {
        let mut modes = active_modes();
        enable_raw_mode()?;
        *modes |= RAW;
        let mut out = io::stdout().lock();
        *modes |= SCREEN;
        out.write_all(ENTER)?;
        if self.mouse {
            *modes |= MOUSE;
            out.write_all(MOUSE_ON)?;
        }
        out.flush()
    }

    /// Releases the screen and the keys before a stop. Standard error stays redirected.
    pub(crate) fn leave() {
        let mut modes = active_modes();
        undo(*modes & !STDERR);
        *modes &= STDERR;
    }
}

impl Drop for TerminalGuard {
    fn drop(&mut self) {
        let mut modes = active_modes();
        undo(*modes);
        *modes = 0;
    }
}

/// Writer of frames to the acquired terminal, each frame in one piece.
///
/// Once any thread has released the terminal, frames are discarded. They would overwrite the main
/// screen and leave the cursor hidden.
#[derive(Debug)]
pub(crate) struct FrameWriter;

impl Write for FrameWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        // The lock is held until everything is written, so that the terminal is not released in the
        // middle of an escape sequence.
        let modes = active_modes();
        let mut rest = if *modes & SCREEN == 0 { &[] } else { bytes };
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

/// Restores the given modes. An error cannot be reported, because the terminal is then gone.
fn undo(modes: u8) {
    if modes & (MOUSE | SCREEN) != 0 {
        // Not through std's buffered stdout, whose lock another thread may hold.
        let mut bytes = Vec::new();
        if modes & MOUSE != 0 {
            bytes.extend_from_slice(MOUSE_OFF);
        }
        if modes & SCREEN != 0 {
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
    if modes & RAW != 0 {
        let _ = disable_raw_mode();
    }
    if modes & STDERR != 0
        && let Some(old) = SAVED_STDERR.lock().unwrap_or_else(PoisonError::into_inner).take()
    {
        let _ = rustix::stdio::dup2_stderr(&old);
    }
}

/// Replaces standard error with a pipe if it is a terminal, and returns the read end.
fn redirect_stderr() -> io::Result<Option<File>> {
    if !io::stderr().is_terminal() {
        return Ok(None);
    }
    let old = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3)?;
    // Non-blocking, because the writer can be the viewer's own thread, which also reads the pipe.
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let mut modes = active_modes();
    *SAVED_STDERR.lock().unwrap_or_else(PoisonError::into_inner) = Some(old);
    *modes |= STDERR;
    rustix::stdio::dup2_stderr(&write)?;
    Ok(Some(File::from(read)))
}

/// Installs a hook that makes a panic in any thread fatal, because the display would be stale
/// without that thread. The hook releases the terminal before it prints the panic.
///
/// The kernel detaches the probes when the process exits. The command, if there is one, gets SIGHUP
/// from its terminal.
pub(crate) fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default_hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let modes = active_modes();
            undo(*modes);
            std::mem::forget(modes);
            default_hook(panic);
            std::process::exit(i32::from(exit_code::ERROR));
        }));
    });
}

/// Panics if `ZCTRACE_TEST_PANIC` names this thread. For tests; release builds ignore the variable.
pub(crate) fn panic_if_asked(thread: &str) {
    let asked = cfg!(debug_assertions) && std::env::var("ZCTRACE_TEST_PANIC").is_ok_and(|asked| asked == thread);
    assert!(!asked, "the thread {thread} was asked to panic");
}
