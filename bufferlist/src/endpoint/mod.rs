//! Sources and sinks.
//!
//! The properties of a descriptor are queried from the kernel once and stored with the endpoint,
//! together with the transfer mode that works for it.

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

/// How bytes enter or leave an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TransferMode {
    /// By reference, through a pipe.
    Splice,
    /// Through memory, with the reason.
    Copy(Reason),
}

/// Returns whether a direct file rejected an offset, a length or memory that is not a multiple of
/// its block size. EINVAL then does not mean that splicing is unsupported; copying would fail as
/// well.
fn is_misaligned(kind: EndpointKind, errno: Errno) -> bool {
    kind == EndpointKind::DirectFile && errno == Errno::INVAL
}

/// Returns the reason for copying if `errno`, from splice, tee, vmsplice or sendfile at an endpoint
/// of this kind, means that the operation is unsupported or forbidden. `None` if copying would not
/// help.
///
/// libfuse falls back on EINVAL alone; seccomp profiles answer EPERM or ENOSYS, newer kernels
/// EOPNOTSUPP.
pub(crate) fn fallback_reason(kind: EndpointKind, errno: Errno) -> Option<Reason> {
    match errno {
        _ if is_misaligned(kind, errno) => None,
        Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP => Some(Reason::CannotSplice),
        Errno::PERM | Errno::ACCESS => Some(Reason::Forbidden),
        _ => None,
    }
}

/// Creates the error for `errno` at an endpoint of this kind.
pub(crate) fn endpoint_error(kind: EndpointKind, errno: Errno, action: &'static str, side: Side) -> Error {
    if is_misaligned(kind, errno) {
        Error::new(ErrorKind::Misaligned, action)
            .with_errno(errno)
            .at_side(side)
    } else {
        Error::from_errno(errno, action).at_side(side)
    }
}

/// Fails with `BlockingFd` if an operation on the descriptor might block, before any byte moves,
/// because a step never blocks.
///
/// The owner may have set `O_NONBLOCK` since the flags were queried, so they are queried again
/// before the failure. The successful case costs no system call.
#[inline]
fn ensure_nonblocking(fd: BorrowedFd<'_>, info: &mut kind::FdInfo, side: Side) -> Result<()> {
    if !info.is_blocking() {
        return Ok(());
    }
    let action = "make a step";
    info.flags = sys::flags(fd).map_err(|errno| Error::from_errno(errno, action).at_side(side))?;
    if info.is_blocking() {
        Err(Error::new(ErrorKind::BlockingFd, action).at_side(side))
    } else {
        Ok(())
    }
}
