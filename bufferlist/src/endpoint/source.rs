//! Where bytes come from.

use super::TransferMode;
use super::kind::{EndpointKind, FdInfo, fd_info};
use crate::error::{Error, ErrorKind, Result};
use crate::pipe::Pool;
use crate::range;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ops::{Deref, DerefMut, RangeBounds};
use std::sync::Arc;

/// Below this many bytes a source is read into memory instead of spliced: a pipe slot holds at most one page of a file,
/// so a splice of less than a page spends a whole slot, and two system calls instead of one, to save the copy of less
/// than a page. The coarse and safe choice; what is best on a machine is to be measured there.
const THRESHOLD: u64 = 4096;

/// Where bytes come from: a descriptor with what the kernel says of it, its own offset, and the way that works.
///
/// `F` is owned or borrowed, as you like: `File`, `&File`, `OwnedFd`, `BorrowedFd<'_>`, `TcpStream`…
/// The descriptor's own file position is neither used nor changed.
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

/// What is remembered of a source, whatever its descriptor's type is.
#[derive(Debug)]
pub(crate) struct SourceState {
    pub(crate) info: FdInfo,
    /// The range still to come, for files.
    pub(crate) offset: u64,
    pub(crate) end_offset: u64,
    pub(crate) mode: TransferMode,
    pub(crate) threshold: u64,
    pub(crate) pool: Pool,
    /// A descriptor of our own for the same open file, if segments are to remember where they came from.
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

    /// A stream: a TCP or UNIX stream socket, a pipe, a terminal or another character device. Of a pipe in packet mode
    /// (`O_DIRECT`, pipe(2)) only the write end tells that it is one: its packets come joined.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Datagram`] if it keeps message borders (a splice drops what does not fit: recv(2) them instead),
    /// [`ErrorKind::InvalidInput`] for a regular file or a directory, [`ErrorKind::Io`] if it cannot be asked.
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

    /// A range of a regular file or block device. An open end means: to the end of the file, as it is when it is met.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if it has no offsets or the range ends before it begins, [`ErrorKind::Io`] if it
    /// cannot be asked.
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

    /// Takes its pipes from `pool` instead of the process's own.
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

    /// Reads into memory instead of splicing when fewer than `bytes` are asked for. The default is 4096.
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

    /// Lets the segments remember which file and offset they came from, so that
    /// [`peek_mapped`](crate::BufferList::peek_mapped) can look without a copy. Costs one descriptor, shared by all.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`] if no descriptor is to be had.
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

    /// The offset of the next byte, for a file.
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

    /// What kind of end it is.
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

    /// The descriptor.
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

    /// Gives the descriptor back.
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

    /// The source as the movers see it.
    #[inline]
    pub(crate) fn borrowed(&mut self) -> SourceMut<'_> {
        SourceMut {
            fd: self.fd.as_fd(),
            state: &mut self.state,
        }
    }
}

/// A source without its descriptor's type, so that what moves bytes is compiled once.
#[derive(Debug)]
pub(crate) struct SourceMut<'a> {
    pub(crate) fd: BorrowedFd<'a>,
    pub(crate) state: &'a mut SourceState,
}

impl SourceMut<'_> {
    /// Refuses a descriptor that would wait, unless its owner has made it non-blocking since.
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
