//! The child that becomes the command: `zctrace __start IDS HOME TERMINAL CMD…`. Only zctrace
//! itself runs it.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::ioctl_tiocsctty;
use zctrace_probes::probe::announce;

use super::handshake::{self, ChildMessage};
use super::{credentials, path_lookup};

/// First argument that selects this mode.
pub(crate) const REEXEC_ARG: &str = "__start";

/// Argument which says that standard input is a terminal of its own.
pub(crate) const OWN_TERMINAL_ARG: &str = "own-terminal";

/// Exit code if the arguments or the control socket are wrong, or if zctrace is gone.
const NOT_STARTED: u8 = 127;

/// Becomes the command. Returns only if that fails, with the exit code.
pub(crate) fn main(mut arguments: impl Iterator<Item = OsString>) -> u8 {
    let (Some(ids), Some(home), Some(terminal)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return NOT_STARTED;
    };
    let Some(name) = arguments.next() else {
        return NOT_STARTED;
    };
    let Ok((control, stdin, cookie)) = take_control_socket() else {
        return NOT_STARTED;
    };
    let fail = |code, reason| {
        handshake::send_message(&control, &ChildMessage::Failed { code, reason });
        code
    };
    if terminal == OWN_TERMINAL_ARG
        && let Err(errno) = rustix::process::setsid().and_then(|_| ioctl_tiocsctty(&stdin))
    {
        return fail(126, format!("the terminal could not be set: {errno}"));
    }
    if !ids.is_empty()
        && let Err(why) = credentials::switch_user(&ids)
    {
        return fail(126, why);
    }
    let home = (!home.is_empty()).then(|| Path::new(&home));
    let program = match path_lookup::find_program(&name, std::env::var_os("PATH"), home) {
        Ok(program) => program,
        Err((code, why)) => return fail(code, why),
    };
    handshake::send_message(
        &control,
        &ChildMessage::Ready {
            path: program.path.clone().into_os_string(),
            outside_path: program.outside_path,
        },
    );
    if !handshake::wait_for_release(&control).unwrap_or(false) {
        return NOT_STARTED;
    }
    let mut command = Command::new(&program.path);
    command.arg0(&name).args(arguments).stdin(Stdio::from(stdin));
    // From here on the process is traced, so that nothing may be read or written before execve(2).
    announce(cookie);
    let error = command.exec();
    let code = if error.kind() == io::ErrorKind::NotFound {
        127
    } else {
        126
    };
    fail(code, format!("{} cannot be run: {error}", program.path.display()))
}

/// Moves the control socket away from standard input, and receives the real standard input and the
/// cookie over it.
fn take_control_socket() -> io::Result<(OwnedFd, OwnedFd, u64)> {
    // The duplicate is above 2 and closed by execve(2).
    let control = io::stdin().as_fd().try_clone_to_owned()?;
    let (stdin, cookie) = handshake::receive_stdin(&control)?;
    Ok((control, stdin, cookie))
}
