//! The error type of the crate.

use crate::receipt::Receipt;
use crate::step::Side;
use rustix::io::Errno;
use std::fmt;
use std::io;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Category of an [`Error`], for programs to act on.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ErrorKind {
    /// A system call failed; the [`io::Error`] inside has the error number.
    Io,
    /// The deadline passed. Bytes in flight are still in the transfer.
    TimedOut,
    /// The peer of the pipe or socket has closed it.
    Closed,
    /// A file opened with `O_DIRECT` requires offsets, lengths or memory in multiples of its block
    /// size.
    Misaligned,
    /// A file is shorter than an extent of it.
    Truncated,
    /// A step never blocks, and an operation on this descriptor might: set `O_NONBLOCK`, or use
    /// [`Nonblocking`](crate::Nonblocking).
    BlockingFd,
    /// The descriptor preserves message boundaries, which splicing would lose.
    Datagram,
    /// A [`Hole`](crate::Hole) was not filled.
    Hole,
    /// The operation requires a pipe, and none could be allocated.
    NoPipe,
    /// An argument is invalid, such as a range that ends before it begins.
    InvalidInput,
    /// The pipe belongs to the process that this one was forked from.
    Forked,
}

impl ErrorKind {
    /// Returns the message for users: the cause, and a hint where there is one.
    const fn description(self) -> &'static str {
        match self {
            Self::Io => "system call failed",
            Self::TimedOut => "the deadline passed before all bytes were moved",
            Self::Closed => "the peer has closed its side",
            Self::Misaligned => {
                "direct I/O requires offset, length and memory in multiples of the block size: rebuild the list with rebuild_aligned"
            }
            Self::Truncated => "the file is shorter than its extent in the list",
            Self::BlockingFd => {
                "a step never blocks, but this descriptor is blocking: set O_NONBLOCK or use Nonblocking"
            }
            Self::Datagram => "the descriptor preserves message boundaries, which splicing would lose",
            Self::Hole => "a hole in the list was not filled",
            Self::NoPipe => "no pipe available: too many open files or pipe pages",
            Self::InvalidInput => "invalid argument",
            Self::Forked => "the pipe belongs to the process that this one was forked from",
        }
    }
}

/// Error of an operation, with the side it occurred at and the bytes delivered before it.
///
/// From a *step* ([`splice_from`](crate::BufferList::splice_from),
/// [`splice_to`](crate::BufferList::splice_to), [`Transfer::step`](crate::Transfer::step)), an
/// error means that no byte moved in that step. From a *loop*
/// ([`Transfer::run`](crate::Transfer::run)), the error carries the receipt of the bytes that were
/// delivered.
///
/// ```
/// use bufferlist::{BufferList, ErrorKind, Sink};
///
/// let (_, write) = std::io::pipe()?;                    // its read end is closed at once
/// let write = bufferlist::Nonblocking::enter(write)?;
/// let error = BufferList::from("hello").splice_to(&mut Sink::stream(write)?).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Closed);
/// assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::BrokenPipe);
/// # std::io::Result::Ok(())
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    side: Option<Side>,
    receipt: Receipt,
    action: &'static str,
    errno: Option<Errno>,
}

impl Error {
    /// Creates an error that did not come from the kernel.
    pub(crate) fn new(kind: ErrorKind, action: &'static str) -> Self {
        Self(Box::new(Inner {
            kind,
            side: None,
            receipt: Receipt::default(),
            action,
            errno: None,
        }))
    }

    /// Creates an error from the kernel's error number. `action` is what the library was doing.
    pub(crate) fn from_errno(errno: Errno, action: &'static str) -> Self {
        let kind = match errno {
            Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN => ErrorKind::Closed,
            Errno::MFILE | Errno::NFILE if action == "pipe" => ErrorKind::NoPipe,
            Errno::TIMEDOUT => ErrorKind::TimedOut,
            _ => ErrorKind::Io,
        };
        let mut error = Self::new(kind, action);
        error.0.errno = Some(errno);
        error
    }

    /// Creates an error from one of the standard library, keeping the kernel's error number if it
    /// has one.
    pub(crate) fn from_io(error: &io::Error, action: &'static str) -> Self {
        match Errno::from_io_error(error) {
            Some(errno) => Self::from_errno(errno, action),
            None => Self::new(ErrorKind::Io, action),
        }
    }

    pub(crate) fn at_side(mut self, side: Side) -> Self {
        self.0.side = Some(side);
        self
    }

    pub(crate) fn with_errno(mut self, errno: Errno) -> Self {
        self.0.errno = Some(errno);
        self
    }

    pub(crate) fn with_receipt(mut self, receipt: Receipt) -> Self {
        self.0.receipt = receipt;
        self
    }

    /// Returns the category.
    ///
    /// ```
    /// # use bufferlist::{ErrorKind, FileExtent};
    /// # use std::sync::Arc;
    /// let file = Arc::new(std::os::fd::OwnedFd::from(std::fs::File::open("/proc/self/exe")?));
    /// let error = FileExtent::new(file, 10..5).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::InvalidInput);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the side at which the error occurred, if it is known.
    ///
    /// ```
    /// # use bufferlist::{BufferList, Side, Sink};
    /// # let (_, write) = std::io::pipe()?;
    /// # let write = bufferlist::Nonblocking::enter(write)?;
    /// let error = BufferList::from("hello").splice_to(&mut Sink::stream(write)?).unwrap_err();
    /// assert_eq!(error.side(), Some(Side::Sink));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn side(&self) -> Option<Side> {
        self.0.side
    }

    /// Returns the receipt of the bytes delivered before the error. Empty for the error of a step.
    ///
    /// ```
    /// # use bufferlist::{BufferList, Sink};
    /// # let (_, write) = std::io::pipe()?;
    /// # let write = bufferlist::Nonblocking::enter(write)?;
    /// let error = BufferList::from("hello").splice_to(&mut Sink::stream(write)?).unwrap_err();
    /// assert_eq!(error.receipt().total(), 0);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn receipt(&self) -> Receipt {
        self.0.receipt
    }

    /// Returns the kernel's error number, if the error came from the kernel.
    ///
    /// ```
    /// # use bufferlist::{BufferList, Sink};
    /// # let (_, write) = std::io::pipe()?;
    /// # let write = bufferlist::Nonblocking::enter(write)?;
    /// let error = BufferList::from("hello").splice_to(&mut Sink::stream(write)?).unwrap_err();
    /// assert_eq!(error.raw_os_error(), Some(32)); // EPIPE
    /// # std::io::Result::Ok(())
    /// ```
    pub fn raw_os_error(&self) -> Option<i32> {
        self.0.errno.map(Errno::raw_os_error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.action, self.0.kind.description())?;
        if let Some(side) = self.0.side {
            write!(f, " (at the {})", side.name())?;
        }
        if let Some(errno) = self.0.errno {
            write!(f, ": {}", io::Error::from(errno))?;
        }
        if self.0.receipt.total() > 0 {
            write!(f, "; {} bytes were delivered before", self.0.receipt.total())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("side", &self.0.side)
            .field("doing", &self.0.action)
            .field("errno", &self.0.errno)
            .field("receipt", &self.0.receipt)
            .finish()
    }
}

impl std::error::Error for Error {}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match (error.0.kind, error.0.errno) {
            // The kernel's error number is more precise than this type: `kind` and `raw_os_error`
            // are kept.
            (ErrorKind::Io | ErrorKind::Closed, Some(errno)) => return errno.into(),
            (ErrorKind::TimedOut, _) => io::ErrorKind::TimedOut,
            (ErrorKind::Closed, _) => io::ErrorKind::BrokenPipe,
            (ErrorKind::Truncated, _) => io::ErrorKind::UnexpectedEof,
            (ErrorKind::InvalidInput | ErrorKind::Hole | ErrorKind::Datagram | ErrorKind::BlockingFd, _) => {
                io::ErrorKind::InvalidInput
            }
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
