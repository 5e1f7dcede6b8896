//! Sources: endpoints that bytes are taken from.

use super::TransferMode;
use super::kind::{EndpointKind, FdInfo, fd_info};
use crate::error::{Error, ErrorKind, Result};
use crate::pipe::Pool;
use crate::range;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ops::{Deref, DerefMut, RangeBounds};
use std::sync::Arc;

/// Requests for fewer bytes are read into memory instead of spliced. A pipe slot holds at most one
/// page of a file, so a splice of less than a page spends a whole slot, and two system calls
/// instead of one, to save the copy of less than a page. The value is coarse and safe; the best one
/// for a machine has to be measured there.
const THRESHOLD: u64 = 4096;

/// Source of a transfer: a descriptor, its properties, an offset of its own, and the transfer mode
/// that works for it.
///
/// `F` may be owned or borrowed: `File`, `&File`, `OwnedFd`, `BorrowedFd<'_>`, `TcpStream`… The
/// descriptor's own file position is neither used nor changed.
///
/// ```
/// use bufferlist::{BufferList, Source};
/// use std::io::Write;
///
/// let mut file = tempfile::tempfile()?;
/// file.write_all(&[7; 10_000])?;
/// let mut source = Source::file(&file, 1000..9000)?;
/// let mut list = BufferList::new();
/// list.splice_from(&mut source, 5000)?;
/// assert_eq!(list.len(), 5000);
/// assert_eq!(source.position(), Some(6000));
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Source<F> {
    pub(crate) fd: F,
    pub(crate) state: SourceState,
}

/// State of a source that does not depend on the descriptor's type.
#[derive(Debug)]
pub(crate) struct SourceState {
    pub(crate) info: FdInfo,
    /// Start of the range still to come, up to `end_offset`. Used for files.
    pub(crate) offset: u64,
    pub(crate) end_offset: u64,
    pub(crate) mode: TransferMode,
    pub(crate) threshold: u64,
    pub(crate) pool: Pool,
    /// A descriptor of our own for the open file, if segments are to record where their bytes came
    /// from.
    pub(crate) provenance: Option<Arc<OwnedFd>>,
}

impl<F: AsFd> Source<F> {
    fn new(fd: F, info: FdInfo, offset: u64, end_offset: u64) -> Self {
        let state = SourceState {
            info,
            offset,
            end_offset,
            mode: TransferMode::Splice,
            threshold: THRESHOLD,
            pool: Pool::default(),
            provenance: None,
        };
        Self { fd, state }
    }

    /// Creates a source from a stream: a TCP or UNIX stream socket, a pipe, a terminal or another
    /// character device.
    ///
    /// Only the write end of a pipe in packet mode (`O_DIRECT`, pipe(2)) reveals that mode. The
    /// packets of such a pipe are joined.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Datagram`] if the descriptor preserves message boundaries (a splice drops the
    /// part of a message that does not fit; use recv(2) instead), [`ErrorKind::InvalidInput`] for a
    /// regular file or a directory, [`ErrorKind::Io`] if the descriptor cannot be queried.
    ///
    /// ```
    /// # use bufferlist::Source;
    /// let (near, _far) = std::os::unix::net::UnixStream::pair()?;
    /// let source = Source::stream(&near)?;
    /// assert_eq!(source.position(), None);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn stream(fd: F) -> Result<Self> {
        let info = fd_info(fd.as_fd())?;
        if info.message_oriented {
            return Err(Error::new(ErrorKind::Datagram, "open a source"));
        }
        if info.endpoint.kind.is_file() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "open a file as a stream (use Source::file)",
            ));
        }
        Ok(Self::new(fd, info, 0, u64::MAX))
    }

    /// Creates a source from a range of a regular file or block device. An open end means the end
    /// of the file at the time when it is reached.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if the descriptor has no offsets or the range ends before it
    /// begins, [`ErrorKind::Io`] if the descriptor cannot be queried.
    ///
    /// ```
    /// # use bufferlist::Source;
    /// let file = tempfile::tempfile()?;
    /// let source = Source::file(&file, 4096..)?;
    /// assert_eq!(source.position(), Some(4096));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn file(fd: F, range: impl RangeBounds<u64>) -> Result<Self> {
        let info = fd_info(fd.as_fd())?;
        if !info.endpoint.kind.is_file() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "open a stream as a file (use Source::stream)",
            ));
        }
        let range = range::resolve(&range, u64::MAX)
            .ok_or_else(|| Error::new(ErrorKind::InvalidInput, "open a range of a file"))?;
        Ok(Self::new(fd, info, range.start, range.end))
    }

    /// Uses `pool` for pipes, instead of the process's own pool.
    ///
    /// ```
    /// # use bufferlist::{Pool, Source};
    /// # let file = tempfile::tempfile()?;
    /// let pool = Pool::new(4, 1 << 20);
    /// let source = Source::file(&file, ..)?.pool(&pool);
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn pool(mut self, pool: &Pool) -> Self {
        self.state.pool = pool.clone();
        self
    }

    /// Sets the number of bytes below which a request is read into memory instead of spliced. The
    /// default is 4096.
    ///
    /// ```
    /// # use bufferlist::Source;
    /// # let file = tempfile::tempfile()?;
    /// let source = Source::file(&file, ..)?.threshold(0); // splice even single bytes
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn threshold(mut self, bytes: u64) -> Self {
        self.state.threshold = bytes;
        self
    }

    /// Makes segments record the file and offset that their bytes came from, so that
    /// [`peek_mapped`](crate::BufferList::peek_mapped) can read them without a copy. Costs one
    /// descriptor, shared by all segments.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`] if the descriptor cannot be duplicated.
    ///
    /// ```
    /// # use bufferlist::Source;
    /// # let file = tempfile::tempfile()?;
    /// let source = Source::file(&file, ..)?.with_provenance()?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn with_provenance(mut self) -> Result<Self> {
        if self.state.info.endpoint.kind.is_file() {
            let own = self
                .fd
                .as_fd()
                .try_clone_to_owned()
                .map_err(|error| Error::from_io(&error, "remember the source file"))?;
            self.state.provenance = Some(Arc::new(own));
        }
        Ok(self)
    }

    /// Returns the offset of the next byte; `None` if the source is not a file.
    ///
    /// ```
    /// # use bufferlist::Source;
    /// # let file = tempfile::tempfile()?;
    /// assert_eq!(Source::file(&file, 7..)?.position(), Some(7));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn position(&self) -> Option<u64> {
        self.state.info.endpoint.kind.is_file().then_some(self.state.offset)
    }

    /// Returns the kind of endpoint.
    ///
    /// ```
    /// # use bufferlist::{EndpointKind, Source};
    /// let (near, _far) = std::os::unix::net::UnixStream::pair()?;
    /// assert_eq!(Source::stream(&near)?.kind(), EndpointKind::Unix);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn kind(&self) -> EndpointKind {
        self.state.info.endpoint.kind
    }

    /// Returns the descriptor.
    ///
    /// ```
    /// # use bufferlist::Source;
    /// # let file = tempfile::tempfile()?;
    /// let source = Source::file(file, ..)?;
    /// println!("{}", source.get_ref().metadata()?.len());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn get_ref(&self) -> &F {
        &self.fd
    }

    /// Returns the descriptor and drops the source.
    ///
    /// ```
    /// # use bufferlist::Source;
    /// # let file = tempfile::tempfile()?;
    /// let file: std::fs::File = Source::file(file, ..)?.into_inner();
    /// # std::io::Result::Ok(())
    /// ```
    pub fn into_inner(self) -> F {
        self.fd
    }

    /// Borrows the source without its descriptor's type.
    #[inline]
    pub(crate) fn borrowed(&mut self) -> SourceMut<'_> {
        SourceMut {
            fd: self.fd.as_fd(),
            state: &mut self.state,
        }
    }
}

/// Source without its descriptor's type, so that the transfer code is compiled once.
#[derive(Debug)]
pub(crate) struct SourceMut<'a> {
    pub(crate) fd: BorrowedFd<'a>,
    pub(crate) state: &'a mut SourceState,
}

impl SourceMut<'_> {
    /// Fails if an operation on the descriptor might block, unless its owner has set `O_NONBLOCK`
    /// since.
    #[inline]
    pub(crate) fn ensure_nonblocking(&mut self) -> Result<()> {
        super::ensure_nonblocking(self.fd, &mut self.state.info, crate::Side::Source)
    }
}

impl Deref for SourceMut<'_> {
    type Target = SourceState;

    #[inline]
    fn deref(&self) -> &SourceState {
        self.state
    }
}

impl DerefMut for SourceMut<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut SourceState {
        self.state
    }
}
