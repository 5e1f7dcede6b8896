//! Where bytes go.

use super::TransferMode;
use super::kind::{EndpointKind, FdInfo, fd_info};
use crate::error::{Error, ErrorKind, Result};
use crate::pipe::Pool;
use crate::reason::Reason;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::OFlags;
use std::ops::{Deref, DerefMut};

/// Where bytes go: a descriptor with what the kernel says of it, its own offset, and the way that works.
///
/// `F` is owned or borrowed, as you like. The descriptor's own file position is neither used nor changed.
///
/// splice(2) has no `MSG_NOSIGNAL`: a splice into a socket or pipe whose peer has gone raises `SIGPIPE`. Rust's `main`
/// ignores that signal; in a library that is loaded by a C program it may be at its default and end the process.
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

/// What is remembered of a sink, whatever its descriptor's type is.
#[derive(Debug)]
pub(crate) struct SinkState {
    pub(crate) info: FdInfo,
    pub(crate) offset: u64,
    /// How pages in a pipe go out.
    pub(crate) mode: TransferMode,
    /// How sealed memory goes out: lent to a pipe, or written.
    pub(crate) vmsplice_mode: TransferMode,
    /// Whether sendfile(2) has been refused here.
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

    /// A stream: a TCP or UNIX stream socket, a pipe, a terminal or another character device, or a file that is open
    /// with `O_APPEND` (into which the kernel does not splice: it is written to, with [`Reason::AppendSink`]).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Datagram`] if it keeps message borders (see [`Sink::datagram`]), [`ErrorKind::InvalidInput`] for a
    /// file that is not open for appending, [`ErrorKind::Io`] if it cannot be asked.
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
                "open a sink (Sink::datagram asks for it by name)",
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

    /// A regular file or block device, written to from `offset` on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if it has no offsets, or is open with `O_APPEND` (Linux then ignores offsets:
    /// pwrite(2), BUGS), [`ErrorKind::Io`] if it cannot be asked.
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
                "give an offset to a file that appends (use Sink::stream)",
            ));
        }
        Ok(Self::new(fd, info, offset))
    }

    /// A socket that keeps message borders. Each step sends the segments at the front of the list that can go together
    /// as *one* message: all the memory there, or one segment of pipe or file. What is in the kernel is copied through
    /// memory ([`Reason::MessageSink`]): a splice into such a socket cuts messages, or loses them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if it is not such a socket, [`ErrorKind::Io`] if it cannot be asked.
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
            return Err(Error::new(ErrorKind::InvalidInput, "open a sink for datagrams"));
        }
        Ok(Self::new(fd, info, 0))
    }

    /// Takes the pipes that it needs (to tee shared segments, to lend memory) from `pool` instead of the process's own.
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

    /// The offset of the next byte, for a file.
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

    /// What kind of end it is.
    ///
    /// ```
    /// # use bufferlist::{EndpointKind, Sink};
    /// assert_eq!(Sink::stream(std::fs::File::create("/dev/null")?)?.kind(), EndpointKind::DevNull);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn kind(&self) -> EndpointKind {
        self.state.info.endpoint.kind
    }

    /// The descriptor.
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

    /// Gives the descriptor back.
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

    /// The sink as the movers see it.
    #[inline]
    pub(crate) fn borrowed(&mut self) -> SinkMut<'_> {
        SinkMut {
            fd: self.fd.as_fd(),
            state: &mut self.state,
        }
    }
}

impl SinkState {
    /// Whether it is written to at its own offset.
    #[inline]
    pub(crate) fn is_positioned(&self) -> bool {
        self.info.endpoint.kind.is_file() && !self.info.flags.contains(OFlags::APPEND)
    }
}

/// A sink without its descriptor's type, so that what moves bytes is compiled once.
#[derive(Debug)]
pub(crate) struct SinkMut<'a> {
    pub(crate) fd: BorrowedFd<'a>,
    pub(crate) state: &'a mut SinkState,
}

impl SinkMut<'_> {
    /// Refuses a descriptor that would wait, unless its owner has made it non-blocking since.
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
