//! The rope: a list of segments.
//!
//! Operations on it make no system call, never block, never read bytes, and cannot fail.

mod build;
mod convert;
mod rope;
#[cfg(test)]
mod rope_tests;

pub use convert::IntoIter;

use crate::counts::{Counter, Counts};
use crate::range;
use crate::segment::{Body, Segment, Stability};
use rope::Rope;
use std::fmt;
use std::ops::RangeBounds;
use std::sync::Arc;

/// A list of bytes as segments, some of which may be kernel pages in a pipe.
///
/// Joining, splitting and cloning lists counts references and touches no byte and no page. Bytes
/// enter and leave by [`splice_from`](Self::splice_from) and [`splice_to`](Self::splice_to).
/// Reading them is a separate call, [`peek`](Self::peek), because reading bytes in the kernel costs
/// a copy. For the same reason the list has no `Buf`, `Read`, `AsRef<[u8]>`, `Index`, `PartialEq`
/// or `Display`: each would peek implicitly.
///
/// ```
/// use bufferlist::BufferList;
///
/// let mut list = BufferList::new();
/// list.push("hello ");
/// list.push("world");
/// let world = list.split_off(6);
/// assert_eq!((list.len(), world.len()), (6, 5));
/// assert_eq!(&world.peek(..)?.to_vec(), b"world");
/// # std::io::Result::Ok(())
/// ```
pub struct BufferList {
    rope: Rope,
    counter: Counter,
    /// Unused room for headers. The next header is put at its end.
    headroom: bytes::BytesMut,
    /// Room for bytes that are appended by `io::Write`.
    tailroom: bytes::BytesMut,
}

const _: () = {
    const fn is_shareable<T: Send + Sync + 'static>() {}
    is_shareable::<BufferList>();
};

impl BufferList {
    /// Creates an empty list. Does not allocate.
    ///
    /// ```
    /// assert!(bufferlist::BufferList::new().is_empty());
    /// ```
    pub fn new() -> Self {
        Self::from_rope(Rope::new(), Counter::new())
    }

    fn from_rope(rope: Rope, counter: Counter) -> Self {
        Self {
            rope,
            counter,
            headroom: bytes::BytesMut::new(),
            tailroom: bytes::BytesMut::new(),
        }
    }

    /// Returns the number of bytes.
    ///
    /// ```
    /// assert_eq!(bufferlist::BufferList::from("four").len(), 4);
    /// ```
    pub fn len(&self) -> u64 {
        self.rope.len()
    }

    /// Returns whether the list has no bytes.
    ///
    /// ```
    /// assert!(!bufferlist::BufferList::from("four").is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.rope.len() == 0
    }

    /// Returns an iterator over the segments, from the front. No segment is empty.
    ///
    /// ```
    /// # use bufferlist::{BufferList, Segment};
    /// let mut list = BufferList::from("abc");
    /// list.push(Segment::zero(100));
    /// assert_eq!(list.segments().map(Segment::len).collect::<Vec<_>>(), [3, 100]);
    /// ```
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &Segment> + ExactSizeIterator {
        self.rope.iter()
    }

    /// Appends a segment. O(1).
    ///
    /// ```
    /// # use bufferlist::BufferList;
    /// let mut list = BufferList::new();
    /// list.push(vec![1, 2, 3]);
    /// list.push("static");
    /// assert_eq!(list.len(), 9);
    /// ```
    pub fn push(&mut self, segment: impl Into<Segment>) {
        self.rope.push_back(segment.into());
    }

    /// Prepends a segment. O(1).
    ///
    /// ```
    /// # use bufferlist::BufferList;
    /// let mut list = BufferList::from("body");
    /// list.push_front("header ");
    /// assert_eq!(&list.to_bytes()?[..], b"header body");
    /// # std::io::Result::Ok(())
    /// ```
    pub fn push_front(&mut self, segment: impl Into<Segment>) {
        self.rope.push_front(segment.into());
    }

    /// Moves all segments of `other` to the end of this list. O(segments of the shorter list).
    ///
    /// ```
    /// # use bufferlist::BufferList;
    /// let mut list = BufferList::from("one ");
    /// let mut other = BufferList::from("two");
    /// list.append(&mut other);
    /// assert_eq!((list.len(), other.len()), (7, 0));
    /// ```
    pub fn append(&mut self, other: &mut Self) {
        self.counter.append(&other.counter);
        self.rope.append(&mut other.rope);
    }

    /// Splits off and returns the first `at` bytes. O(segments returned).
    ///
    /// # Panics
    ///
    /// Panics if `at > len`, as `Bytes::split_to` does.
    ///
    /// ```
    /// # use bufferlist::BufferList;
    /// let mut list = BufferList::from("header body");
    /// let header = list.split_to(6);
    /// assert_eq!((header.len(), list.len()), (6, 5));
    /// ```
    #[must_use = "the bytes that are cut off are in the list that is returned"]
    #[track_caller]
    pub fn split_to(&mut self, at: u64) -> Self {
        assert!(at <= self.len(), "split_to({at}) of {} bytes", self.len());
        let front = self.rope.split_to(at);
        Self::from_rope(front, self.counter.share())
    }

    /// Splits off and returns the bytes after the first `at`. O(segments returned).
    ///
    /// # Panics
    ///
    /// Panics if `at > len`, as `Bytes::split_off` does.
    ///
    /// ```
    /// # use bufferlist::BufferList;
    /// let mut list = BufferList::from("header body");
    /// let body = list.split_off(7);
    /// assert_eq!((list.len(), body.len()), (7, 4));
    /// ```
    #[must_use = "the bytes that are cut off are in the list that is returned"]
    #[track_caller]
    pub fn split_off(&mut self, at: u64) -> Self {
        assert!(at <= self.len(), "split_off({at}) of {} bytes", self.len());
        let back = self.rope.split_off(at);
        Self::from_rope(back, self.counter.share())
    }

    /// Returns a part of the list, which shares its segments. O(log segments + segments of the
    /// part).
    ///
    /// # Panics
    ///
    /// Panics if the range is out of bounds.
    ///
    /// ```
    /// # use bufferlist::BufferList;
    /// let list = BufferList::from("hello world");
    /// assert_eq!(&list.slice(6..).to_bytes()?[..], b"world");
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    #[track_caller]
    pub fn slice(&self, range: impl RangeBounds<u64>) -> Self {
        let range = range::resolve_in_bounds(&range, self.len());
        Self::from_rope(self.rope.slice(range), self.counter.share())
    }

    /// Drops the first `n` bytes.
    ///
    /// # Panics
    ///
    /// Panics if `n > len`.
    ///
    /// ```
    /// # use bufferlist::BufferList;
    /// let mut list = BufferList::from("header body");
    /// list.advance(7);
    /// assert_eq!(list.len(), 4);
    /// ```
    #[track_caller]
    pub fn advance(&mut self, n: u64) {
        assert!(n <= self.len(), "advance({n}) of {} bytes", self.len());
        self.rope.advance(n);
    }

    /// Shortens the list to `len` bytes. Has no effect if it is not longer.
    ///
    /// ```
    /// # use bufferlist::BufferList;
    /// let mut list = BufferList::from("hello world");
    /// list.truncate(5);
    /// list.truncate(100);
    /// assert_eq!(list.len(), 5);
    /// ```
    pub fn truncate(&mut self, len: u64) {
        self.rope.truncate(len);
    }

    /// Drops all bytes.
    ///
    /// ```
    /// # use bufferlist::BufferList;
    /// let mut list = BufferList::from("hello");
    /// list.clear();
    /// assert!(list.is_empty());
    /// ```
    pub fn clear(&mut self) {
        self.rope.clear();
    }

    /// Returns the stability of the list: [`Stability::Volatile`] if any segment is.
    ///
    /// ```
    /// # use bufferlist::{BufferList, Stability};
    /// assert_eq!(BufferList::from("mine").stability(), Stability::Private);
    /// ```
    pub fn stability(&self) -> Stability {
        self.segments()
            .map(Segment::stability)
            .max()
            .unwrap_or(Stability::Private)
    }

    /// Returns the bytes of kernel memory that this list keeps alive.
    ///
    /// A small part may pin a whole pipe, and each page of it a whole folio of the page cache.
    /// Folios are not counted, so the result is a lower bound. [`stabilize`](Self::stabilize)
    /// releases them.
    ///
    /// ```
    /// # use bufferlist::{BufferList, Source};
    /// let file = tempfile::tempfile()?;
    /// file.set_len(8192)?;
    /// let mut list = BufferList::new();
    /// list.splice_from(&mut Source::file(&file, ..)?, 8192)?;
    /// list.advance(8000);
    /// assert_eq!((list.len(), list.pinned()), (192, 8192));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn pinned(&self) -> u64 {
        let mut cells: Vec<_> = self
            .segments()
            .filter_map(|segment| match &segment.body {
                Body::Pipe(part) => Some(&part.cell),
                _ => None,
            })
            .collect();
        cells.sort_by_key(|cell| Arc::as_ptr(cell));
        cells.dedup_by(|a, b| Arc::ptr_eq(a, b));
        cells.iter().map(|cell| cell.pinned()).sum()
    }

    /// Returns the copies that this library made for the list and every list cloned or split from
    /// it.
    ///
    /// ```
    /// # use bufferlist::BufferList;
    /// BufferList::from("never moved").counts().assert_no_copies();
    /// ```
    pub fn counts(&self) -> Counts {
        self.counter.counts()
    }

    pub(crate) fn counter(&self) -> &Counter {
        &self.counter
    }

    pub(crate) fn rope(&self) -> &Rope {
        &self.rope
    }

    pub(crate) fn rope_mut(&mut self) -> &mut Rope {
        &mut self.rope
    }
}

/// Costs one reference count per segment. Headroom stays with the original.
impl Clone for BufferList {
    fn clone(&self) -> Self {
        Self::from_rope(self.rope.clone(), self.counter.share())
    }
}

impl Default for BufferList {
    fn default() -> Self {
        Self::new()
    }
}

/// Formats the kinds and lengths of the segments, never their contents.
impl fmt::Debug for BufferList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BufferList of {} bytes ", self.len())?;
        f.debug_list().entries(self.segments()).finish()
    }
}
