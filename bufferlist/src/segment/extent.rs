//! File extents: ranges of open files, by reference.

use crate::endpoint::direct_io;
use crate::endpoint::kind::{Endpoint, EndpointKind, fd_info};
use crate::error::{Error, ErrorKind, Result};
use crate::range;
use crate::sys::{self, Sys};
use bytes::Bytes;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::FileType;
use std::fmt;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

/// Range of an open file. Nothing is read until the extent is sent or peeked at.
///
/// All extents of one file share one descriptor, which is closed with the last of them. On network
/// filesystems and FUSE, that close may block in the kernel. The file may become shorter than the
/// extent: sending it then fails with [`ErrorKind::Truncated`], and the missing bytes are removed
/// from the list.
///
/// ```
/// use bufferlist::{BufferList, FileExtent};
/// use std::io::Write;
/// use std::os::fd::OwnedFd;
/// use std::sync::Arc;
///
/// let mut file = tempfile::tempfile()?;
/// file.write_all(b"header and body")?;
/// let file = Arc::new(OwnedFd::from(file));
/// let mut list = BufferList::new();
/// list.push(FileExtent::new(Arc::clone(&file), 11..)?);
/// list.push(FileExtent::new(file, ..6)?);
/// assert_eq!(&list.to_bytes()?[..], b"bodyheader");
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct FileExtent {
    file: Arc<OwnedFd>,
    endpoint: Endpoint,
    range: Range<u64>,
}

impl FileExtent {
    /// Creates an extent of `file`. An open end means the current end of the file.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if the descriptor is not a regular file or block device, or the
    /// range ends before it begins; [`ErrorKind::Io`] if it cannot be queried.
    ///
    /// ```
    /// # use bufferlist::FileExtent;
    /// # use std::os::fd::OwnedFd;
    /// let file = tempfile::tempfile()?;
    /// file.set_len(8192)?;
    /// let extent = FileExtent::new(OwnedFd::from(file), 4096..)?;
    /// assert_eq!(extent.len(), 4096);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn new(file: impl Into<Arc<OwnedFd>>, range: impl RangeBounds<u64>) -> Result<Self> {
        const ACTION: &str = "create a file extent";
        let file = file.into();
        let info = fd_info(file.as_fd())?;
        if !info.endpoint.kind.is_file() {
            return Err(Error::new(ErrorKind::InvalidInput, ACTION));
        }
        let stat = sys::stat(file.as_fd()).map_err(|errno| Error::from_errno(errno, ACTION))?;
        // stat(2) reports a size for regular files only. For a block device, the caller must give
        // the end.
        let sized = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !sized && range.end_bound() == Bound::Unbounded {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "create an extent of a block device without an end",
            ));
        }
        let range = range::resolve(&range, stat.st_size as u64);
        let range = range.ok_or_else(|| Error::new(ErrorKind::InvalidInput, ACTION))?;
        Ok(Self {
            file,
            endpoint: info.endpoint,
            range,
        })
    }

    /// Creates an extent of a file whose endpoint is known.
    pub(crate) fn from_known(file: Arc<OwnedFd>, endpoint: Endpoint, range: Range<u64>) -> Self {
        Self { file, endpoint, range }
    }

    /// Returns the number of bytes.
    ///
    /// ```
    /// # use bufferlist::FileExtent;
    /// # use std::os::fd::OwnedFd;
    /// # let file = tempfile::tempfile()?;
    /// assert_eq!(FileExtent::new(OwnedFd::from(file), 10..30)?.len(), 20);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Returns whether the extent has no bytes.
    ///
    /// ```
    /// # use bufferlist::FileExtent;
    /// # use std::os::fd::OwnedFd;
    /// # let file = tempfile::tempfile()?;
    /// assert!(FileExtent::new(OwnedFd::from(file), ..)?.is_empty());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the offset of the first byte in the file.
    ///
    /// ```
    /// # use bufferlist::FileExtent;
    /// # use std::os::fd::OwnedFd;
    /// # let file = tempfile::tempfile()?;
    /// assert_eq!(FileExtent::new(OwnedFd::from(file), 10..30)?.start(), 10);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn start(&self) -> u64 {
        self.range.start
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    pub(crate) fn origin(&self) -> Endpoint {
        self.endpoint
    }

    /// Reads the first bytes of the extent into memory, at most `most`. Returns none if the file
    /// ends before the extent.
    pub(crate) fn read(&self, most: u64) -> Sys<Bytes> {
        let len = self.len().min(most) as usize;
        if self.endpoint.kind == EndpointKind::DirectFile {
            return direct_io::pread(self.fd(), len, self.start());
        }
        let mut bytes = Vec::new();
        sys::pread(self.fd(), &mut bytes, len, self.start())?;
        Ok(bytes.into())
    }

    pub(crate) fn part(&self, start: u64, end: u64) -> Self {
        let base = self.range.start;
        Self {
            file: Arc::clone(&self.file),
            endpoint: self.endpoint,
            range: base + start..base + end,
        }
    }

    /// Joins the extent with the next one, if `next` follows directly in the same file.
    pub(crate) fn join(mut self, next: &Self) -> Option<Self> {
        (Arc::ptr_eq(&self.file, &next.file) && self.range.end == next.range.start).then(|| {
            self.range.end = next.range.end;
            self
        })
    }

    pub(crate) fn advance(&mut self, n: u64) {
        self.range.start += n;
    }

    pub(crate) fn truncate(&mut self, n: u64) {
        self.range.end = self.range.start + n;
    }
}

impl fmt::Debug for FileExtent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileExtent")
            .field("file", &self.file)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}
