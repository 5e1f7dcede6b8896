//! Sinks: endpoints that bytes are sent to.

use super::TransferMode;
use super::kind::{EndpointKind, FdInfo, fd_info};
use crate::error::{Error, ErrorKind, Result};
use crate::pipe::Pool;
use crate::reason::Reason;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::OFlags;
use std::ops::{Deref, DerefMut};

/// Sink of a transfer: a descriptor, its properties, an offset of its own, and the transfer mode
/// that works for it.
///
/// `F` may be owned or borrowed. The descriptor's own file position is neither used nor changed.
///
/// splice(2) has no `MSG_NOSIGNAL`: a splice into a socket or pipe whose peer has closed raises
/// `SIGPIPE`. Rust's `main` ignores that signal. In a library loaded by a C program the signal may
/// have its default action, which ends the process.
///
/// ```
/// use bufferlist::{BufferList, Sink};
///
/// let file = tempfile::tempfile()?;
/// let mut sink = Sink::file(&file, 100)?;
/// BufferList::from("hello").splice_to(&mut sink)?;
/// assert_eq!(sink.position(), Some(105));
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Sink<F> {
    pub(crate) fd: F,
    pub(crate) state: SinkState,
}

/// State of a sink that does not depend on the descriptor's type.
#[derive(Debug)]
pub(crate) struct SinkState {
    pub(crate) info: FdInfo,
    pub(crate) offset: u64,
    /// How bytes in a pipe are sent.
    pub(crate) mode: TransferMode,
    /// How sealed pages are sent: into a pipe by vmsplice(2), or by a write.
    pub(crate) vmsplice_mode: TransferMode,
    /// sendfile(2) has been refused here.
    pub(crate) sendfile_refused: bool,
    pub(crate) pool: Pool,
}

impl<F: AsFd> Sink<F> {
    fn new(fd: F, info: FdInfo, offset: u64) -> Self {
        let state = SinkState {
            info,
            offset,
            mode: TransferMode::Splice,
            vmsplice_mode: TransferMode::Splice,
            sendfile_refused: false,
            pool: Pool::default(),
        };
        Self { fd, state }
    }

    /// Creates a sink from a stream: a TCP or UNIX stream socket, a pipe, a terminal or another
    /// character device, or a file opened with `O_APPEND` (into which the kernel does not splice;
    /// it is written to, with [`Reason::AppendSink`]).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Datagram`] if the descriptor preserves message boundaries (see
    /// [`Sink::datagram`]), [`ErrorKind::InvalidInput`] for a file that is not opened for
    /// appending, [`ErrorKind::Io`] if the descriptor cannot be queried.
    ///
    /// ```
    /// # use bufferlist::Sink;
    /// let (near, _far) = std::os::unix::net::UnixStream::pair()?;
    /// let sink = Sink::stream(&near)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn stream(fd: F) -> Result<Self> {
        let info = fd_info(fd.as_fd())?;
        if info.message_oriented {
            return Err(Error::new(
                ErrorKind::Datagram,
                "open a stream sink (use Sink::datagram)",
            ));
        }
        let appends = info.flags.contains(OFlags::APPEND);
        if info.endpoint.kind.is_file() && !appends {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "open a file as a stream (use Sink::file)",
            ));
        }
        let mut sink = Self::new(fd, info, 0);
        if appends {
            sink.state.mode = TransferMode::Copy(Reason::AppendSink);
            sink.state.vmsplice_mode = sink.state.mode;
            sink.state.sendfile_refused = true;
        }
        Ok(sink)
    }

    /// Creates a sink from a regular file or block device, which is written to from `offset` on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if the descriptor has no offsets, or is opened with `O_APPEND`
    /// (Linux then ignores offsets: pwrite(2), BUGS), [`ErrorKind::Io`] if it cannot be queried.
    ///
    /// ```
    /// # use bufferlist::Sink;
    /// let file = tempfile::tempfile()?;
    /// let sink = Sink::file(&file, 4096)?;
    /// assert_eq!(sink.position(), Some(4096));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn file(fd: F, offset: u64) -> Result<Self> {
        let info = fd_info(fd.as_fd())?;
        if !info.endpoint.kind.is_file() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "open a stream as a file (use Sink::stream)",
            ));
        }
        if info.flags.contains(OFlags::APPEND) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "write at an offset of a file opened with O_APPEND (use Sink::stream)",
            ));
        }
        Ok(Self::new(fd, info, offset))
    }

    /// Creates a sink from a socket that preserves message boundaries.
    ///
    /// Each step sends the segments at the front of the list that can be sent together as *one*
    /// message: all memory at the front, or one segment of a pipe or file. Bytes in the kernel are
    /// copied through memory ([`Reason::MessageSink`]), because a splice into such a socket splits
    /// messages or loses them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if the descriptor is no such socket, [`ErrorKind::Io`] if it
    /// cannot be queried.
    ///
    /// ```
    /// # use bufferlist::{BufferList, Nonblocking, Sink};
    /// let far = std::net::UdpSocket::bind("127.0.0.1:0")?;
    /// let near = std::net::UdpSocket::bind("127.0.0.1:0")?;
    /// near.connect(far.local_addr()?)?;
    /// let mut sink = Sink::datagram(Nonblocking::enter(&near)?)?;
    /// BufferList::from("one message").splice_to(&mut sink)?;
    /// let mut message = [0; 100];
    /// assert_eq!(far.recv(&mut message)?, 11);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn datagram(fd: F) -> Result<Self> {
        let info = fd_info(fd.as_fd())?;
        if !info.message_oriented || info.endpoint.kind == EndpointKind::Pipe {
            return Err(Error::new(ErrorKind::InvalidInput, "open a datagram sink"));
        }
        Ok(Self::new(fd, info, 0))
    }

    /// Uses `pool`, instead of the process's own pool, for the pipes that the sink needs to tee
    /// shared segments and to vmsplice memory.
    ///
    /// ```
    /// # use bufferlist::{Pool, Sink};
    /// # let file = tempfile::tempfile()?;
    /// let pool = Pool::new(4, 1 << 20);
    /// let sink = Sink::file(&file, 0)?.pool(&pool);
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn pool(mut self, pool: &Pool) -> Self {
        self.state.pool = pool.clone();
        self
    }

    /// Returns the offset of the next byte; `None` if the sink is not a file with an offset.
    ///
    /// ```
    /// # use bufferlist::Sink;
    /// let (near, _far) = std::os::unix::net::UnixStream::pair()?;
    /// assert_eq!(Sink::stream(&near)?.position(), None);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn position(&self) -> Option<u64> {
        self.state.is_positioned().then_some(self.state.offset)
    }

    /// Returns the kind of endpoint.
    ///
    /// ```
    /// # use bufferlist::{EndpointKind, Sink};
    /// assert_eq!(Sink::stream(std::fs::File::create("/dev/null")?)?.kind(), EndpointKind::DevNull);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn kind(&self) -> EndpointKind {
        self.state.info.endpoint.kind
    }

    /// Returns the descriptor.
    ///
    /// ```
    /// # use bufferlist::Sink;
    /// # let file = tempfile::tempfile()?;
    /// let sink = Sink::file(file, 0)?;
    /// sink.get_ref().sync_all()?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn get_ref(&self) -> &F {
        &self.fd
    }

    /// Returns the descriptor and drops the sink.
    ///
    /// ```
    /// # use bufferlist::Sink;
    /// # let file = tempfile::tempfile()?;
    /// let file: std::fs::File = Sink::file(file, 0)?.into_inner();
    /// # std::io::Result::Ok(())
    /// ```
    pub fn into_inner(self) -> F {
        self.fd
    }

    /// Borrows the sink without its descriptor's type.
    #[inline]
    pub(crate) fn borrowed(&mut self) -> SinkMut<'_> {
        SinkMut {
            fd: self.fd.as_fd(),
            state: &mut self.state,
        }
    }
}

impl SinkState {
    /// Returns whether the sink is written to at its own offset.
    #[inline]
    pub(crate) fn is_positioned(&self) -> bool {
        self.info.endpoint.kind.is_file() && !self.info.flags.contains(OFlags::APPEND)
    }
}

/// Sink without its descriptor's type, so that the transfer code is compiled once.
#[derive(Debug)]
pub(crate) struct SinkMut<'a> {
    pub(crate) fd: BorrowedFd<'a>,
    pub(crate) state: &'a mut SinkState,
}

impl SinkMut<'_> {
    /// Fails if an operation on the descriptor might block, unless its owner has set `O_NONBLOCK`
    /// since.
    #[inline]
    pub(crate) fn ensure_nonblocking(&mut self) -> Result<()> {
        super::ensure_nonblocking(self.fd, &mut self.state.info, crate::Side::Sink)
    }
}

impl Deref for SinkMut<'_> {
    type Target = SinkState;

    #[inline]
    fn deref(&self) -> &SinkState {
        self.state
    }
}

impl DerefMut for SinkMut<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut SinkState {
        self.state
    }
}
