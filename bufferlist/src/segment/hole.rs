//! Bytes that come later: the length field before a body that is not yet built.

use bytes::Bytes;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// A promise of bytes that are already counted in a list: see [`BufferList::hole`](crate::BufferList::hole).
///
/// Fill it before the list is sent: otherwise sending fails with [`ErrorKind::Hole`](crate::ErrorKind::Hole), before a
/// byte has moved. It is tied neither to the list's lifetime nor to its place: clones and parts of the list are filled
/// with it.
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
    /// A hole, and the part of a list that it is.
    pub(crate) fn new(len: usize) -> (Self, HoleRange) {
        let cell = Arc::new(OnceLock::new());
        let range = HoleRange {
            cell: Arc::clone(&cell),
            start: 0,
            end: len,
        };
        (Self { cell, len }, range)
    }

    /// How many bytes it wants.
    ///
    /// ```
    /// assert_eq!(bufferlist::BufferList::new().hole(8).len(), 8);
    /// ```
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it wants none.
    ///
    /// ```
    /// assert!(bufferlist::BufferList::new().hole(0).is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fills it, in the list and in all that was cloned or cut from it.
    ///
    /// # Panics
    ///
    /// If `bytes` has another length than the hole.
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
        // `fill` takes the only token there is, so the cell is empty.
        let _ = self.cell.set(Bytes::copy_from_slice(bytes));
    }
}

impl fmt::Debug for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hole({} bytes)", self.len)
    }
}

/// The part of a list that is a hole.
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
