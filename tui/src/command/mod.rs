//! Starting a command so that not one of its calls is missed, as the right user, and seeing how it ends.
//!
//! `zctrace` runs itself again as `zctrace __start` ([`start()`]). That child becomes the right user, finds the command, says
//! so, and waits until it may go; then it announces itself to the tracer, by whose probes it is watched from there on, and
//! executes the command. All this goes over a socket that the child has for its standard input until then ([`control`]); the real
//! standard input comes over it. So no descriptor is inherited but 0, 1 and 2, and between the word to go and the command
//! nothing is read or written.

mod control;
mod find;
mod spawn;
mod start;
mod user;

pub(crate) use spawn::{Ended, NotRunnable, Pending, Running, Wanted};
pub(crate) use start::{WORD, main as start};
pub(crate) use user::User;
