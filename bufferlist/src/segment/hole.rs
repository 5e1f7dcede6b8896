//! Holes: bytes that are filled in later, such as a length field in front of a body that is not yet
//! built.

use bytes::Bytes;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// Handle to bytes of a list that are filled in later: see
/// [`BufferList::hole`](crate::BufferList::hole).
///
/// The hole must be filled before the list is sent. Otherwise sending fails with
/// [`ErrorKind::Hole`](crate::ErrorKind::Hole), before any byte moves. A hole is independent of the
/// list's lifetime and position: clones and parts of the list are filled with it.
///
/// ```
/// use bufferlist::BufferList;
///
/// let mut list = BufferList::new();
/// let length = list.hole(4);
/// list.push("a body of some length");
/// length.fill(&u32::try_from(list.len() - 4)?.to_be_bytes());
/// assert_eq!(&list.to_bytes()?[..4], &[0, 0, 0, 21]);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a hole that is never filled keeps its list from being sent"]
pub struct Hole {
    cell: Arc<OnceLock<Bytes>>,
    len: usize,
}

impl Hole {
    /// Creates a hole and the range of it that goes into a list.
    pub(crate) fn new(len: usize) -> (Self, HoleRange) {
        let cell = Arc::new(OnceLock::new());
        let range = HoleRange {
            cell: Arc::clone(&cell),
            start: 0,
            end: len,
        };
        (Self { cell, len }, range)
    }

    /// Returns the number of bytes.
    ///
    /// ```
    /// assert_eq!(bufferlist::BufferList::new().hole(8).len(), 8);
    /// ```
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether the hole has no bytes.
    ///
    /// ```
    /// assert!(bufferlist::BufferList::new().hole(0).is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fills the hole, in the list and in every list cloned or split from it.
    ///
    /// # Panics
    ///
    /// Panics if the length of `bytes` differs from that of the hole.
    ///
    /// ```
    /// # use bufferlist::BufferList;
    /// let mut list = BufferList::new();
    /// list.hole(2).fill(b"ok");
    /// assert_eq!(&list.to_bytes()?[..], b"ok");
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn fill(self, bytes: &[u8]) {
        assert_eq!(
            bytes.len(),
            self.len,
            "a hole of {} bytes is filled with {}",
            self.len,
            bytes.len()
        );
        // `fill` consumes the only handle, so the cell is empty.
        let _ = self.cell.set(Bytes::copy_from_slice(bytes));
    }
}

impl fmt::Debug for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hole({} bytes)", self.len)
    }
}

/// Range of a hole, which a segment holds.
#[derive(Clone)]
pub(crate) struct HoleRange {
    cell: Arc<OnceLock<Bytes>>,
    start: usize,
    end: usize,
}

impl HoleRange {
    pub(crate) fn len(&self) -> u64 {
        (self.end - self.start) as u64
    }

    pub(crate) fn filled(&self) -> Option<&[u8]> {
        self.cell.get().map(|bytes| &bytes[self.start..self.end])
    }

    pub(crate) fn bytes(&self) -> Option<Bytes> {
        self.cell.get().map(|bytes| bytes.slice(self.start..self.end))
    }

    pub(crate) fn part(&self, start: u64, end: u64) -> Self {
        Self {
            cell: Arc::clone(&self.cell),
            start: self.start + start as usize,
            end: self.start + end as usize,
        }
    }

    pub(crate) fn advance(&mut self, n: u64) {
        self.start += n as usize;
    }

    pub(crate) fn truncate(&mut self, n: u64) {
        self.end = self.start + n as usize;
    }
}
