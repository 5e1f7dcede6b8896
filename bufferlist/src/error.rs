//! The one error type of the crate.

use crate::receipt::Receipt;
use crate::step::Side;
use rustix::io::Errno;
use std::fmt;
use std::io;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of thing went wrong, for programs to act on.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ErrorKind {
    /// The kernel refused: the [`io::Error`] inside says what.
    Io,
    /// The deadline passed. What was taken and not yet given is still in the job.
    TimedOut,
    /// The other side of a pipe or socket is gone.
    Closed,
    /// A direct (`O_DIRECT`) file wants offsets, lengths or memory in multiples of its block size.
    Misaligned,
    /// A file is shorter than the extent of it that was promised.
    Truncated,
    /// A step never waits, and this descriptor would: set `O_NONBLOCK`, or use [`Nonblocking`](crate::Nonblocking).
    BlockingFd,
    /// The descriptor keeps message borders, which splicing would lose.
    Datagram,
    /// A [`Hole`](crate::Hole) was not filled.
    Hole,
    /// No pipe was to be had where nothing but a pipe would do.
    NoPipe,
    /// An argument makes no sense, such as a range that ends before it begins.
    InvalidInput,
    /// The pipe belongs to the process that this one was forked from.
    Forked,
}

impl ErrorKind {
    /// What a person should read: the cause, and the mend where there is one.
    const fn description(self) -> &'static str {
        match self {
            Self::Io => "the system refused",
            Self::TimedOut => "the deadline passed before all was moved",
            Self::Closed => "the peer has closed its side",
            Self::Misaligned => {
                "direct I/O wants offset, length and memory in multiples of the block size: rebuild the list to it"
            }
            Self::Truncated => "the file is shorter than the extent that the list holds of it",
            Self::BlockingFd => {
                "a step never waits, but this descriptor is blocking: set O_NONBLOCK or use Nonblocking"
            }
            Self::Datagram => "the descriptor keeps message borders, which splicing would lose",
            Self::Hole => "a hole in the list was not filled",
            Self::NoPipe => "no pipe was to be had: too many open files or pipe pages",
            Self::InvalidInput => "the argument makes no sense",
            Self::Forked => "the pipe belongs to the process that this one was forked from",
        }
    }
}

/// What went wrong, at which side, and how far the job had come.
///
/// From a *step* ([`splice_from`](crate::BufferList::splice_from), [`splice_to`](crate::BufferList::splice_to),
/// [`Transfer::step`](crate::Transfer::step)) an error means that nothing moved in this step. From a *loop*
/// ([`Transfer::run`](crate::Transfer::run)) the error carries the receipt of what had arrived.
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
    /// An error that is ours, not the kernel's.
    pub(crate) fn new(kind: ErrorKind, action: &'static str) -> Self {
        Self(Box::new(Inner {
            kind,
            side: None,
            receipt: Receipt::default(),
            action,
            errno: None,
        }))
    }

    /// The kernel's error, while `doing` something.
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

    /// An error of the standard library, which carries the kernel's.
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

    /// What kind of thing went wrong.
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

    /// At which side it went wrong, where that is known.
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

    /// What had arrived before it went wrong. Empty for the error of a step.
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

    /// The kernel's error number, where the kernel gave one.
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
            write!(f, "; {} bytes had arrived before", self.0.receipt.total())?;
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
            // The kernel's own number says more than our wrapping: `kind` and `raw_os_error` are kept.
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
