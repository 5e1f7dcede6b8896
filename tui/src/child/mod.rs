//! Starts a command as a given user so that none of its system calls is missed, and observes its
//! end.
//!
//! `zctrace` runs itself again as `zctrace __start` ([`exec_main()`]). That child switches to the
//! user, finds the program, reports both, and waits for its release. Then it announces itself to
//! the tracer, which traces it from there on, and executes the command.
//!
//! The handshake uses a socket that is the child's standard input until then ([`handshake`]); the
//! real standard input is sent over it. Therefore the command inherits no descriptor but 0, 1 and
//! 2, and nothing is read or written between the release and execve(2).

mod credentials;
mod exec;
mod handshake;
mod path_lookup;
mod spawn;

pub(crate) use credentials::User;
pub(crate) use exec::{REEXEC_ARG, main as exec_main};
pub(crate) use spawn::{CommandSpec, CommandStatus, ExecError, RunningCommand, WaitingChild};
