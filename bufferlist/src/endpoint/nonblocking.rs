//! A guard that makes a descriptor non-blocking for a time.

use crate::error::{Error, Result};
use crate::sys;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::OFlags;

/// Guard that sets `O_NONBLOCK` on a descriptor, and clears it on drop if it was not set before.
///
/// The flag belongs to the *open file description*: every process and descriptor that shares it, by
/// `dup` or `fork`, is affected. The library therefore never sets it by itself. `SPLICE_F_NONBLOCK`
/// is no substitute: it does not cover a socket at the other side of the pipe, and a blocking
/// splice holds the pipe's lock while it waits (splice(2), `fs/splice.c`).
///
/// Has no `Deref`: reach the descriptor by [`AsFd`] or [`get_ref`](Self::get_ref).
///
/// ```
/// use bufferlist::{BufferList, Nonblocking, Sink};
/// use std::os::unix::net::UnixStream;
///
/// let (near, _far) = UnixStream::pair()?;
/// let mut sink = Sink::stream(Nonblocking::enter(&near)?)?;
/// BufferList::from("hello").splice_to(&mut sink)?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Nonblocking<F: AsFd> {
    fd: F,
    was_blocking: bool,
}

impl<F: AsFd> Nonblocking<F> {
    /// Sets `O_NONBLOCK`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if fcntl(2) fails.
    ///
    /// ```
    /// # use bufferlist::Nonblocking;
    /// let (read, _write) = std::io::pipe()?;
    /// let _read = Nonblocking::enter(read)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn enter(fd: F) -> Result<Self> {
        const ACTION: &str = "set O_NONBLOCK";
        let flags = sys::flags(fd.as_fd()).map_err(|errno| Error::from_errno(errno, ACTION))?;
        let was_blocking = !flags.contains(OFlags::NONBLOCK);
        if was_blocking {
            rustix::fs::fcntl_setfl(fd.as_fd(), flags | OFlags::NONBLOCK)
                .map_err(|errno| Error::from_errno(errno, ACTION))?;
        }
        Ok(Self { fd, was_blocking })
    }

    /// Returns the descriptor.
    ///
    /// ```
    /// # use bufferlist::Nonblocking;
    /// let (read, _write) = std::io::pipe()?;
    /// let read = Nonblocking::enter(read)?;
    /// println!("{:?}", read.get_ref());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn get_ref(&self) -> &F {
        &self.fd
    }
}

impl<F: AsFd> AsFd for Nonblocking<F> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl<F: AsFd> Drop for Nonblocking<F> {
    fn drop(&mut self) {
        if self.was_blocking {
            // Queries the flags again, because other flags may have changed meanwhile. A failure is
            // ignored: drop cannot report it, and the descriptor stays usable.
            if let Ok(flags) = sys::flags(self.fd.as_fd()) {
                let _ = rustix::fs::fcntl_setfl(self.fd.as_fd(), flags - OFlags::NONBLOCK);
            }
        }
    }
}
