//! A terminal that runs zctrace: types keys, and searches the output for frames and words.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// End of each frame: the cursor is hidden.
const END_OF_FRAME: &[u8] = b"\x1b[?25l";

/// A pty with zctrace on it.
pub(crate) struct Terminal {
    ours: OwnedFd,
    child: Child,
    /// Output that was not searched yet.
    drawn: Vec<u8>,
    /// Times at which frames ended.
    pub(crate) frames: Vec<Instant>,
}

impl Terminal {
    /// Starts the replay of a recording on a new terminal.
    pub(crate) fn start(program: &Path, recording: &Path) -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let theirs = ioctl_tiocgptpeer(&ours, flags)?;
        let size = Winsize {
            ws_row: 60,
            ws_col: 200,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&ours, size)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let end = || theirs.try_clone().map(Stdio::from);
        let child = Command::new(program)
            .arg("replay")
            .arg(recording)
            .env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8")
            .stdin(end()?)
            .stdout(end()?)
            .stderr(end()?)
            .spawn()?;
        Ok(Self {
            ours,
            child,
            drawn: Vec::new(),
            frames: Vec::new(),
        })
    }

    /// Types keys.
    pub(crate) fn press(&mut self, keys: &str) {
        // Earlier output is not an effect of the keys.
        self.read_until(Instant::now());
        self.drawn.clear();
        // The input queue has room for a few bytes.
        let _ = rustix::io::write(&self.ours, keys.as_bytes());
    }

    /// Waits until a word is drawn and its frame has ended.
    pub(crate) fn wait(&mut self, word: &str, most: Duration) -> Result<(), String> {
        let until = Instant::now() + most;
        loop {
            let at = self
                .drawn
                .windows(word.len())
                .position(|window| window == word.as_bytes());
            if let Some(at) = at
                && self.drawn[at..]
                    .windows(END_OF_FRAME.len())
                    .any(|window| window == END_OF_FRAME)
            {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(format!(
                    "`{word}` was not drawn: {}",
                    String::from_utf8_lossy(&self.drawn)
                ));
            }
            self.read(until);
        }
    }

    /// Reads output until the given time.
    pub(crate) fn read_until(&mut self, until: Instant) {
        while self.read(until) {}
    }

    /// Reads some output. Returns `false` if there was none until the given time.
    fn read(&mut self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(&self.ours, PollFlags::IN)];
        let limit = Timespec::try_from(left).ok();
        if !matches!(poll(&mut fds, limit.as_ref()), Ok(1..)) {
            return false;
        }
        let mut buffer = [0; 1 << 14];
        let Ok(got) = rustix::io::read(&self.ours, &mut buffer) else {
            return false;
        };
        let now = Instant::now();
        // A frame whose end arrives in two reads counts with the second.
        let from = self.drawn.len().saturating_sub(END_OF_FRAME.len() - 1);
        self.drawn.extend_from_slice(&buffer[..got]);
        let ends = self.drawn[from..].windows(END_OF_FRAME.len());
        let ends = ends.filter(|window| *window == END_OF_FRAME).count();
        self.frames.extend(std::iter::repeat_n(now, ends));
        true
    }

    /// Returns the peak memory of the program, in MiB.
    pub(crate) fn peak(&self) -> u64 {
        crate::of_status(self.child.id(), "VmHWM:")
    }

    /// Waits until the program has ended.
    pub(crate) fn end(mut self) -> Result<(), String> {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            // Its last output must be read, or the program blocks.
            self.read_until(Instant::now() + Duration::from_millis(10));
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(format!("zctrace: {status}")),
                Ok(None) if Instant::now() < until => {}
                Ok(None) => return Err("zctrace does not end".to_owned()),
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
