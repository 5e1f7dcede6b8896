//! Page-aligned memory that may be passed to the kernel by reference.

use crate::error::{Error, Result};
use bytes::Bytes;
use memmap2::{Mmap, MmapMut};
use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// Page-aligned memory that is written once and then [sealed](Self::seal).
///
/// ```
/// use bufferlist::{BufferList, PagesMut, SegmentKind};
///
/// let mut pages = PagesMut::new(10_000)?;
/// pages.as_mut_slice().fill(b'x');
/// let mut list = BufferList::new();
/// list.push(pages.seal()?);
/// assert_eq!(list.segments().next().map(|segment| segment.kind()), Some(SegmentKind::Mapped));
/// # std::io::Result::Ok(())
/// ```
pub struct PagesMut {
    map: MmapMut,
}

impl PagesMut {
    /// Allocates `len` zero bytes in whole pages of their own. A `len` of zero allocates one page,
    /// of which nothing is used.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if mmap(2) fails.
    ///
    /// ```
    /// assert_eq!(bufferlist::PagesMut::new(5)?.as_mut_slice(), &[0; 5]);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn new(len: usize) -> Result<Self> {
        let map = MmapMut::map_anon(len).map_err(|error| Error::from_io(&error, "map pages"))?;
        Ok(Self { map })
    }

    /// Returns the bytes for writing.
    ///
    /// ```
    /// let mut pages = bufferlist::PagesMut::new(4)?;
    /// pages.as_mut_slice().copy_from_slice(b"four");
    /// # std::io::Result::Ok(())
    /// ```
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.map
    }

    /// Makes the memory permanently read-only, so that it can be passed to the kernel by reference.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if mprotect(2) fails.
    ///
    /// ```
    /// let pages = bufferlist::PagesMut::new(4)?.seal()?;
    /// assert_eq!(&pages[..], &[0; 4]);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn seal(self) -> Result<Pages> {
        let len = self.map.len();
        let map = self
            .map
            .make_read_only()
            .map_err(|error| Error::from_io(&error, "seal pages"))?;
        Ok(Pages {
            map: Arc::new(map),
            range: 0..len,
        })
    }
}

impl fmt::Debug for PagesMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PagesMut({} bytes)", self.map.len())
    }
}

/// Sealed memory in pages of its own, which the kernel may hold by reference (vmsplice(2)).
///
/// The kernel keeps the *pages*, not a copy, for as long as a socket or pipe needs them, and never
/// reports when that ends. The pages therefore never change (their mapping is read-only) and are
/// never reused (they are unmapped, and the kernel frees them when the last reference is dropped).
/// Memory of an allocator, such as `Vec` or [`Bytes`], must not be passed this way: the allocator
/// would reuse it while the socket still holds it.
///
/// Cloning and slicing count references. Dereferences to `[u8]`.
///
/// ```
/// let mut pages = bufferlist::PagesMut::new(8)?;
/// pages.as_mut_slice().copy_from_slice(b"headbody");
/// let pages = pages.seal()?;
/// assert_eq!(&pages.slice(4..8)[..], b"body");
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct Pages {
    map: Arc<Mmap>,
    range: Range<usize>,
}

impl Pages {
    /// Wraps a mapped memfd that no code can write to.
    pub(crate) fn from_map(map: Mmap) -> Self {
        let len = map.len();
        Self {
            map: Arc::new(map),
            range: 0..len,
        }
    }

    /// Returns a part, by reference.
    ///
    /// # Panics
    ///
    /// Panics if the range is out of bounds.
    ///
    /// ```
    /// let pages = bufferlist::PagesMut::new(8)?.seal()?;
    /// assert_eq!(pages.slice(2..5).len(), 3);
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    #[track_caller]
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(
            range.start <= range.end && range.end <= self.len(),
            "range {range:?} is out of bounds"
        );
        let base = self.range.start;
        Self {
            map: Arc::clone(&self.map),
            range: base + range.start..base + range.end,
        }
    }

    pub(crate) fn advance(&mut self, n: usize) {
        self.range.start += n;
    }

    pub(crate) fn truncate(&mut self, n: usize) {
        self.range.end = self.range.start + n;
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map[self.range.clone()]
    }
}

impl AsRef<[u8]> for Pages {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// Shares the pages without a copy.
impl From<Pages> for Bytes {
    fn from(pages: Pages) -> Self {
        Self::from_owner(pages)
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pages({} bytes)", self.len())
    }
}
