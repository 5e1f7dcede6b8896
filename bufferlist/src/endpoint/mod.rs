//! The two ends of a movement: what they are is asked of the kernel once, and remembered with the way that works.

pub(crate) mod direct_io;
pub(crate) mod kind;
mod nonblocking;
mod sink;
mod source;

pub use kind::EndpointKind;
pub use nonblocking::Nonblocking;
pub use sink::Sink;
pub(crate) use sink::{SinkMut, SinkState};
pub use source::Source;
pub(crate) use source::{SourceMut, SourceState};

use crate::error::{Error, ErrorKind, Result};
use crate::reason::Reason;
use crate::step::Side;
use crate::sys;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

/// How bytes pass an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TransferMode {
    /// By reference, through a pipe.
    Splice,
    /// Through memory, for this reason.
    Copy(Reason),
}

/// Whether a direct file has refused an offset, a length or memory that is no multiple of its block size. EINVAL then says
/// nothing of the way: copying would be refused as well.
fn is_misaligned(kind: EndpointKind, errno: Errno) -> bool {
    kind == EndpointKind::DirectFile && errno == Errno::INVAL
}

/// Whether an errno of splice, tee, vmsplice or sendfile at an end of this kind means "not this way", so that copying may
/// work instead. (libfuse falls back on EINVAL alone; seccomp profiles answer EPERM or ENOSYS, newer kernels EOPNOTSUPP.)
pub(crate) fn fallback_reason(kind: EndpointKind, errno: Errno) -> Option<Reason> {
    match errno {
        _ if is_misaligned(kind, errno) => None,
        Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP => Some(Reason::CannotSplice),
        Errno::PERM | Errno::ACCESS => Some(Reason::Forbidden),
        _ => None,
    }
}

/// The error that an errno at an end of this kind is.
pub(crate) fn endpoint_error(kind: EndpointKind, errno: Errno, doing: &'static str, side: Side) -> Error {
    if is_misaligned(kind, errno) {
        Error::new(ErrorKind::Misaligned, doing).with_errno(errno).at_side(side)
    } else {
        Error::from_errno(errno, doing).at_side(side)
    }
}

/// A step never waits, so a descriptor that would is refused before anything moves. Its owner may have set the flag
/// since it was asked, so the kernel is asked again before the refusal; the good case costs nothing.
#[inline]
fn ensure_nonblocking(fd: BorrowedFd<'_>, info: &mut kind::FdInfo, side: Side) -> Result<()> {
    if !info.is_blocking() {
        return Ok(());
    }
    let doing = "take a step";
    info.flags = sys::flags(fd).map_err(|errno| Error::from_errno(errno, doing).at_side(side))?;
    if info.is_blocking() {
        Err(Error::new(ErrorKind::BlockingFd, doing).at_side(side))
    } else {
        Ok(())
    }
}
