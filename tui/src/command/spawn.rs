//! zctrace's side: starts the child, lets it go, sends it signals, and sees how it ends.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::User;
use super::control::{self, Said};
use super::start::{OWN_TERMINAL, WORD};

/// What a terminal in a pane is to programs: the entry that every terminfo database has and whose codes the pane knows.
const TERM: &str = "xterm-256color";

/// The command that is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Wanted<'a> {
    /// The program and its arguments.
    pub(crate) command: &'a [OsString],
    /// As whom; as who runs zctrace if nobody is said.
    pub(crate) user: Option<&'a User>,
    /// What it announces, to be watched from then on.
    pub(crate) cookie: u64,
    /// A terminal of its own, which is to control it; without one it has zctrace's.
    pub(crate) terminal: Option<BorrowedFd<'a>>,
}

/// Why a command cannot be run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct NotRunnable {
    /// What a shell would exit with, 126 or 127; none if starting failed on our side.
    pub(crate) code: Option<u8>,
    /// Why, as a sentence.
    pub(crate) why: String,
}

impl NotRunnable {
    fn ours(what: &str, error: &io::Error) -> Self {
        Self {
            code: None,
            why: format!("{what}: {error}"),
        }
    }
}

impl fmt::Display for NotRunnable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&zctrace_report::text::printable(&self.why))
    }
}

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// With this code.
    Code(u8),
    /// By this signal.
    Signal(u8),
}

impl Ended {
    /// What a shell would say: the code, or 128 and the signal.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128_u8.saturating_add(signal),
        }
    }
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        // Both are below 256, and one of them is there, since a child that stopped or went on is not waited for.
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code as u8),
            (None, signal) => Self::Signal(signal.unwrap_or(0) as u8),
        }
    }
}

/// The child waits to become the command. Dropped, it goes away without having done so.
#[derive(Debug)]
pub(crate) struct Pending {
    // Dropped first: the child hears it, and leaves.
    control: Option<OwnedFd>,
    child: Child,
    path: PathBuf,
    beyond_path: bool,
}

impl Pending {
    /// Starts the child. `zctrace` is this very program, which a test is not.
    pub(crate) fn new(zctrace: &Path, wanted: &Wanted<'_>) -> Result<Self, NotRunnable> {
        let failed = |error: io::Error| NotRunnable::ours("a process could not be started", &error);
        let (ours, childs) = control::pair().map_err(failed)?;
        let mut command = Command::new(zctrace);
        command.arg(WORD);
        match wanted.user {
            Some(user) => {
                let home = user.home.as_ref().map(|(home, _)| home.as_os_str());
                command.arg(user.ids()).arg(home.unwrap_or_default());
                command.envs(user.environment());
            }
            None => {
                command.args(["", ""]);
            }
        }
        match wanted.terminal {
            Some(terminal) => {
                let end = || terminal.try_clone_to_owned().map(Stdio::from).map_err(failed);
                command.arg(OWN_TERMINAL).stdout(end()?).stderr(end()?);
                // What its terminal understands; the size is asked of the terminal itself.
                command.env("TERM", TERM).env_remove("LINES").env_remove("COLUMNS");
            }
            None => {
                command.arg("");
            }
        }
        // A list's journal is found a moment after its first pipe; what is done in that moment shall be in it.
        if std::env::var_os(bufferlist::journal::ENV_VAR).is_none() {
            command.env(bufferlist::journal::ENV_VAR, "record");
        }
        command.args(wanted.command).stdin(Stdio::from(childs));
        let child = command.spawn().map_err(failed)?;
        // The command holds the child's end of the socket, by which its going would be hidden.
        drop(command);
        let mut pending = Self {
            control: None,
            child,
            path: PathBuf::new(),
            beyond_path: false,
        };
        let stdin = io::stdin();
        let stdin = wanted.terminal.unwrap_or_else(|| stdin.as_fd());
        control::give_stdin(&ours, stdin, wanted.cookie).map_err(failed)?;
        match control::hear(&ours).map_err(failed)? {
            Some(Said::Ready { path, beyond_path }) => {
                pending.path = path.into();
                pending.beyond_path = beyond_path;
                pending.control = Some(ours);
                Ok(pending)
            }
            Some(Said::NotRunnable { code, why }) => Err(NotRunnable { code: Some(code), why }),
            None => Err(NotRunnable {
                code: None,
                why: "the process that was to become the command has gone".to_owned(),
            }),
        }
    }

    /// The number that the command will have.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file that will be executed, if it was found where PATH does not lead.
    pub(crate) fn beyond_path(&self) -> Option<&Path> {
        self.beyond_path.then_some(&self.path)
    }

    /// Lets it go, and sees to it that it has become the command.
    pub(crate) fn go(mut self) -> Result<Running, NotRunnable> {
        let failed = |error: io::Error| NotRunnable::ours("the command could not be started", &error);
        if let Some(control) = &self.control {
            control::go(control).map_err(failed)?;
            match control::hear(control).map_err(failed)? {
                Some(Said::NotRunnable { code, why }) => return Err(NotRunnable { code: Some(code), why }),
                Some(Said::Ready { .. }) | None => {}
            }
        }
        self.control = None;
        // Something to wait for that is not this child, whose drop would wait.
        Ok(Running {
            pending: self,
            ended: None,
        })
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // A child that has become the command has no such socket any more, and is not waited for.
        if self.control.take().is_some() {
            let _ = self.child.wait();
        }
    }
}

/// The command runs, or has ended.
#[derive(Debug)]
pub(crate) struct Running {
    pending: Pending,
    ended: Option<Ended>,
}

impl Running {
    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.pending.pid()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> io::Result<Option<Ended>> {
        if self.ended.is_none() {
            self.ended = self.pending.child.try_wait()?.map(Ended::from);
        }
        Ok(self.ended)
    }

    /// Sends it a signal, unless it has ended: until it has been waited for its number is nobody else's.
    pub(crate) fn send(&mut self, signal: Signal) {
        if matches!(self.ended(), Ok(None))
            && let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw)
        {
            // It may end in between, and may be another user's, which it became by itself.
            let _ = kill_process(pid, signal);
        }
    }
}
