//! The child that becomes the command: `zctrace __start IDS HOME TERMINAL CMD…`. Only zctrace itself runs it.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::ioctl_tiocsctty;
use zctrace_probes::probe::announce;

use super::control::{self, Said};
use super::{find, user};

/// The word by which it is asked for.
pub(crate) const WORD: &str = "__start";

/// The word by which it is told that its standard input is a terminal of its own.
pub(crate) const OWN_TERMINAL: &str = "own-terminal";

/// What it exits with if it was not started as it must be, or if zctrace is gone.
const NOT_STARTED: u8 = 127;

/// Becomes the command. Returns only if that fails.
pub(crate) fn main(mut arguments: impl Iterator<Item = OsString>) -> u8 {
    let (Some(ids), Some(home), Some(terminal)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return NOT_STARTED;
    };
    let Some(name) = arguments.next() else {
        return NOT_STARTED;
    };
    let handed = hand_over();
    let Ok((control, stdin, cookie)) = handed else {
        return NOT_STARTED;
    };
    let not_runnable = |code, why| {
        control::say(&control, &Said::NotRunnable { code, why });
        code
    };
    if terminal == OWN_TERMINAL
        && let Err(errno) = rustix::process::setsid().and_then(|_| ioctl_tiocsctty(&stdin))
    {
        return not_runnable(126, format!("its terminal cannot be given to it: {errno}"));
    }
    if !ids.is_empty()
        && let Err(why) = user::become_user(&ids)
    {
        return not_runnable(126, why);
    }
    let home = (!home.is_empty()).then(|| Path::new(&home));
    let found = match find::find(&name, std::env::var_os("PATH"), home) {
        Ok(found) => found,
        Err((code, why)) => return not_runnable(code, why),
    };
    control::say(
        &control,
        &Said::Ready {
            path: found.path.clone().into_os_string(),
            beyond_path: found.beyond_path,
        },
    );
    if !control::wait_to_go(&control).unwrap_or(false) {
        return NOT_STARTED;
    }
    let mut command = Command::new(&found.path);
    command.arg0(&name).args(arguments).stdin(Stdio::from(stdin));
    // From here on the process is watched: nothing may be read or written before the command is there.
    announce(cookie);
    let error = command.exec();
    let code = if error.kind() == io::ErrorKind::NotFound {
        127
    } else {
        126
    };
    not_runnable(code, format!("{} cannot be run: {error}", found.path.display()))
}

/// Takes the socket from where the standard input is to be, and the standard input from the socket, with the cookie.
fn hand_over() -> io::Result<(OwnedFd, OwnedFd, u64)> {
    // Above 2, and closed when the command is executed.
    let control = io::stdin().as_fd().try_clone_to_owned()?;
    let (stdin, cookie) = control::take_stdin(&control)?;
    Ok((control, stdin, cookie))
}
