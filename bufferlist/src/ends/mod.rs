//! The two ends of a movement: what they are is asked of the kernel once, and remembered with the way that works.

pub(crate) mod direct;
pub(crate) mod kind;
mod nonblocking;
mod sink;
mod source;

pub use kind::EndKind;
pub use nonblocking::Nonblocking;
pub use sink::Sink;
pub(crate) use sink::{Giving, SinkState};
pub use source::Source;
pub(crate) use source::{SourceState, Taking};

use crate::error::{Error, ErrorKind, Result};
use crate::outcome::Side;
use crate::reason::Reason;
use crate::sys;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

/// How bytes pass an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// By reference, through a pipe.
    Splice,
    /// Through memory, for this reason.
    Copy(Reason),
}

/// Whether an errno of splice, tee, vmsplice or sendfile means "not this way", so that copying may work instead.
/// (libfuse falls back on EINVAL alone; seccomp profiles answer EPERM or ENOSYS, newer kernels EOPNOTSUPP.)
pub(crate) fn refusal(errno: Errno) -> Option<Reason> {
    match errno {
        Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP => Some(Reason::CannotSplice),
        Errno::PERM | Errno::ACCESS => Some(Reason::Forbidden),
        _ => None,
    }
}

/// A step never waits, so a descriptor that would is refused before anything moves. Its owner may have set the flag
/// since it was asked, so the kernel is asked again before the refusal; the good case costs nothing.
#[inline]
fn never_waits(fd: BorrowedFd<'_>, facts: &mut kind::Facts, side: Side) -> Result<()> {
    if !facts.blocking() {
        return Ok(());
    }
    let doing = "take a step";
    facts.flags = sys::flags(fd).map_err(|errno| Error::sys(errno, doing).at(side))?;
    if facts.blocking() {
        Err(Error::new(ErrorKind::BlockingFd, doing).at(side))
    } else {
        Ok(())
    }
}
