//! zctrace's side of the child: spawns and releases it, sends it signals, and observes its end.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::User;
use super::exec::{OWN_TERMINAL_ARG, REEXEC_ARG};
use super::handshake::{self, ChildMessage};
use crate::exit_code;

/// TERM of a command on a terminal of its own: an entry that every terminfo database has, and whose
/// sequences the viewer's terminal emulator knows.
const TERM: &str = "xterm-256color";

/// Parameters of a command.
#[derive(Clone, Debug)]
pub(crate) struct CommandSpec<'a> {
    /// Program and arguments.
    pub(crate) command: &'a [OsString],
    /// User to run as; `None` for that of zctrace.
    pub(crate) user: Option<&'a User>,
    /// Cookie that the command announces in order to be traced.
    pub(crate) cookie: u64,
    /// Controlling terminal of the command; `None` for that of zctrace.
    pub(crate) terminal: Option<BorrowedFd<'a>>,
}

/// Why a command could not be executed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ExecError {
    /// Exit code of a shell in this case, 126 or 127; `None` if zctrace itself failed.
    pub(crate) code: Option<u8>,
    /// Reason, as a sentence.
    pub(crate) reason: String,
}

impl ExecError {
    fn internal(what: &str, error: &io::Error) -> Self {
        Self {
            code: None,
            reason: format!("{what}: {error}"),
        }
    }
}

impl fmt::Display for ExecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&zctrace_report::format::printable(&self.reason))
    }
}

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CommandStatus {
    /// It exited with this code.
    Exited(u8),
    /// This signal ended it.
    Signaled(u8),
}

impl CommandStatus {
    /// Returns the exit code of a shell in this case: the code itself, or 128 plus the signal.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled(signal) => exit_code::from_signal(signal),
        }
    }
}

impl From<ExitStatus> for CommandStatus {
    fn from(status: ExitStatus) -> Self {
        // Both values are below 256. One of them is present, because the wait does not ask for
        // stopped or continued children.
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Exited(code as u8),
            (None, signal) => Self::Signaled(signal.unwrap_or(0) as u8),
        }
    }
}

/// A child that waits to become the command. Dropping it ends the child.
#[derive(Debug)]
pub(crate) struct WaitingChild {
    // Dropped first, so that the child sees the end of the stream and exits.
    control: Option<OwnedFd>,
    child: Child,
    path: PathBuf,
    outside_path: bool,
}

impl WaitingChild {
    /// Spawns the child. `zctrace` is the path of the zctrace program, because a test is another
    /// one.
    pub(crate) fn spawn(zctrace: &Path, spec: &CommandSpec<'_>) -> Result<Self, ExecError> {
        let failed = |error: io::Error| ExecError::internal("a process could not be started", &error);
        let (control, child_end) = handshake::socket_pair().map_err(failed)?;
        let mut command = reexec_command(zctrace, spec, child_end).map_err(failed)?;
        let child = command.spawn().map_err(failed)?;
        // `command` holds the child's end of the socket, which would hide the end of the stream.
        drop(command);
        let mut waiting = Self {
            control: None,
            child,
            path: PathBuf::new(),
            outside_path: false,
        };
        let stdin = io::stdin();
        let stdin = spec.terminal.unwrap_or_else(|| stdin.as_fd());
        handshake::send_stdin(&control, stdin, spec.cookie).map_err(failed)?;
        match handshake::receive_message(&control).map_err(failed)? {
            Some(ChildMessage::Ready { path, outside_path }) => {
                waiting.path = path.into();
                waiting.outside_path = outside_path;
                waiting.control = Some(control);
                Ok(waiting)
            }
            Some(ChildMessage::Failed { code, reason }) => Err(ExecError {
                code: Some(code),
                reason,
            }),
            None => Err(ExecError {
                code: None,
                reason: "the process that was to become the command has exited".to_owned(),
            }),
        }
    }

    /// Returns the PID of the child, which the command will keep.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the program that will be executed if it was found outside of PATH.
    pub(crate) fn path_outside_path(&self) -> Option<&Path> {
        self.outside_path.then_some(&self.path)
    }

    /// Releases the child, and waits until it has executed the command.
    pub(crate) fn exec(mut self) -> Result<RunningCommand, ExecError> {
        let failed = |error: io::Error| ExecError::internal("the command could not be started", &error);
        if let Some(control) = &self.control {
            handshake::release(control).map_err(failed)?;
            match handshake::receive_message(control).map_err(failed)? {
                Some(ChildMessage::Failed { code, reason }) => {
                    return Err(ExecError {
                        code: Some(code),
                        reason,
                    });
                }
                Some(ChildMessage::Ready { .. }) | None => {}
            }
        }
        self.control = None;
        // With `control` gone, dropping the child does not wait for it.
        Ok(RunningCommand {
            released: self,
            status: None,
        })
    }
}

/// Returns the invocation of zctrace that becomes the command, with the control socket as its
/// standard input.
fn reexec_command(zctrace: &Path, spec: &CommandSpec<'_>, child_end: OwnedFd) -> io::Result<Command> {
    let mut command = Command::new(zctrace);
    command.arg(REEXEC_ARG);
    match spec.user {
        Some(user) => {
            let home = user.home.as_ref().map(|(home, _)| home.as_os_str());
            command.arg(user.ids()).arg(home.unwrap_or_default());
            command.envs(user.environment());
        }
        None => {
            command.args(["", ""]);
        }
    }
    match spec.terminal {
        Some(terminal) => {
            let end = || terminal.try_clone_to_owned().map(Stdio::from);
            command.arg(OWN_TERMINAL_ARG).stdout(end()?).stderr(end()?);
            // Programs query the size from the terminal itself.
            command.env("TERM", TERM).env_remove("LINES").env_remove("COLUMNS");
        }
        None => {
            command.arg("");
        }
    }
    // The tracer finds a journal shortly after the first pipe of its process. Recording from the
    // start keeps the entries written until then.
    if std::env::var_os(bufferlist::journal::ENV_VAR).is_none() {
        command.env(bufferlist::journal::ENV_VAR, "record");
    }
    command.args(spec.command).stdin(Stdio::from(child_end));
    Ok(command)
}

impl Drop for WaitingChild {
    fn drop(&mut self) {
        // A child that has become the command has no control socket, and is not waited for.
        if self.control.take().is_some() {
            let _ = self.child.wait();
        }
    }
}

/// A command that was executed, and may have ended.
#[derive(Debug)]
pub(crate) struct RunningCommand {
    released: WaitingChild,
    status: Option<CommandStatus>,
}

impl RunningCommand {
    /// Returns the PID.
    pub(crate) fn pid(&self) -> u32 {
        self.released.pid()
    }

    /// Returns how the command ended, or `None` while it runs.
    pub(crate) fn status(&mut self) -> io::Result<Option<CommandStatus>> {
        if self.status.is_none() {
            self.status = self.released.child.try_wait()?.map(CommandStatus::from);
        }
        Ok(self.status)
    }

    /// Sends a signal unless the command has ended. Its PID cannot be reused before it is waited
    /// for.
    pub(crate) fn send_signal(&mut self, signal: Signal) {
        if matches!(self.status(), Ok(None))
            && let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw)
        {
            // The command may end in between, or may have switched to another user by itself.
            let _ = kill_process(pid, signal);
        }
    }
}
