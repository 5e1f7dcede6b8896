//! Segments, the elements of a list: memory, mapped pages, a file extent, a range of a pipe, or
//! zeros.

mod extent;
mod hole;
mod id;
mod pages;

pub use extent::FileExtent;
pub use hole::Hole;
pub use id::SegmentId;
pub use pages::{Pages, PagesMut};

use crate::journal::{Caller, EntryTemplate, Operation};
use crate::pipe::PipeRange;
use crate::reason::Reason;
use bytes::Bytes;
pub(crate) use hole::HoleRange;
use std::fmt;

/// Storage of the bytes of a segment.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum SegmentKind {
    /// The program's memory.
    Memory,
    /// Sealed pages, which may be passed to the kernel by reference: [`Pages`].
    Mapped,
    /// A range of an open file: [`FileExtent`].
    File,
    /// Kernel pages in a pipe.
    Pipe,
    /// Zeros, which take no memory.
    Zero,
}

impl SegmentKind {
    /// Returns the short name, for tables.
    ///
    /// ```
    /// assert_eq!(bufferlist::SegmentKind::Pipe.name(), "pipe");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Mapped => "mapped",
            Self::File => "file",
            Self::Pipe => "pipe",
            Self::Zero => "zero",
        }
    }
}

/// Possibility that other code changes the bytes while a list holds them.
///
/// Pages that were spliced out of a file *are* the file's pages: writing to the file changes them
/// in a pipe, in a socket's queue, anywhere. A checksum or signature of such bytes may be outdated
/// as soon as it is computed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Stability {
    /// No other code can change the bytes.
    Private,
    /// Other code may change the bytes: they are pages of a file, or came from a socket or pipe
    /// whose other side may have spliced such pages.
    Volatile,
}

/// One element of a [`BufferList`](crate::BufferList). Cloning counts a reference and copies
/// nothing.
///
/// The representation is private, because kinds may be added. Segments are created with `From` and
/// inspected with [`kind`](Self::kind).
///
/// ```
/// use bufferlist::{Segment, SegmentKind};
///
/// let segment = Segment::from(&b"static bytes cost nothing"[..]);
/// assert_eq!(segment.kind(), SegmentKind::Memory);
/// assert_eq!(segment.as_memory().map(<[u8]>::len), Some(25));
/// ```
#[derive(Clone)]
pub struct Segment {
    pub(crate) id: SegmentId,
    pub(crate) body: Body,
    /// Reason for the copy when a segment of memory is written: usually [`Reason::FromMemory`].
    pub(crate) copy_reason: Reason,
}

/// Zeros that are returned by peeks and written to sinks, as often as needed.
pub(crate) static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Contents of a segment.
#[derive(Clone)]
pub(crate) enum Body {
    Memory(Bytes),
    Mapped(Pages),
    File(FileExtent),
    Pipe(PipeRange),
    Zero(u64),
    Hole(HoleRange),
}

impl Segment {
    #[inline]
    pub(crate) fn new(body: Body) -> Self {
        // A pipe segment has the ID of its cell.
        let id = match &body {
            Body::Pipe(range) => range.cell.id(),
            _ => SegmentId::next(),
        };
        Self {
            id,
            body,
            copy_reason: Reason::FromMemory,
        }
    }

    /// Creates a segment of memory for bytes that could not be moved, with the reason.
    pub(crate) fn copied(bytes: Bytes, reason: Reason) -> Self {
        Self {
            copy_reason: reason,
            ..Self::new(Body::Memory(bytes))
        }
    }

    /// Creates a segment of `len` zeros, which take no memory.
    ///
    /// ```
    /// use bufferlist::{Segment, SegmentKind};
    /// let zeros = Segment::zero(1 << 40);
    /// assert_eq!((zeros.kind(), zeros.len()), (SegmentKind::Zero, 1 << 40));
    /// ```
    pub fn zero(len: u64) -> Self {
        Self::new(Body::Zero(len))
    }

    /// Returns the ID of the cell that holds the bytes. Clones and parts of a segment have the same
    /// ID: a part is identified by (ID, range).
    ///
    /// ```
    /// let one = bufferlist::Segment::from("one");
    /// assert_eq!(one.id(), one.clone().id());
    /// assert_ne!(one.id(), bufferlist::Segment::from("two").id());
    /// ```
    pub fn id(&self) -> SegmentId {
        self.id
    }

    /// Returns the kind of storage.
    ///
    /// ```
    /// # use bufferlist::{Segment, SegmentKind};
    /// assert_eq!(Segment::from("x").kind(), SegmentKind::Memory);
    /// ```
    pub fn kind(&self) -> SegmentKind {
        match &self.body {
            Body::Memory(..) | Body::Hole(_) => SegmentKind::Memory,
            Body::Mapped(_) => SegmentKind::Mapped,
            Body::File(_) => SegmentKind::File,
            Body::Pipe(_) => SegmentKind::Pipe,
            Body::Zero(_) => SegmentKind::Zero,
        }
    }

    /// Returns the number of bytes.
    ///
    /// ```
    /// assert_eq!(bufferlist::Segment::from("four").len(), 4);
    /// ```
    #[inline]
    pub fn len(&self) -> u64 {
        match &self.body {
            Body::Memory(bytes) => bytes.len() as u64,
            Body::Mapped(pages) => pages.len() as u64,
            Body::File(extent) => extent.len(),
            Body::Pipe(part) => part.len(),
            Body::Zero(len) => *len,
            Body::Hole(hole) => hole.len(),
        }
    }

    /// Returns whether the segment has no bytes.
    ///
    /// ```
    /// assert!(bufferlist::Segment::zero(0).is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether other code can change the bytes.
    ///
    /// ```
    /// # use bufferlist::{Segment, Stability};
    /// assert_eq!(Segment::from("mine").stability(), Stability::Private);
    /// ```
    pub fn stability(&self) -> Stability {
        match &self.body {
            Body::File(_) => Stability::Volatile,
            Body::Pipe(part) => part.stability(),
            Body::Memory(..) | Body::Mapped(_) | Body::Zero(_) | Body::Hole(_) => Stability::Private,
        }
    }

    /// Returns the bytes if they are in memory, which costs no copy: memory, mapped pages, and
    /// filled holes.
    ///
    /// ```
    /// # use bufferlist::Segment;
    /// assert_eq!(Segment::from("free").as_memory(), Some(&b"free"[..]));
    /// assert_eq!(Segment::zero(4).as_memory(), None);
    /// ```
    pub fn as_memory(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Memory(bytes) => Some(bytes),
            Body::Mapped(pages) => Some(pages),
            Body::Hole(hole) => hole.filled(),
            Body::File(_) | Body::Pipe(_) | Body::Zero(_) => None,
        }
    }

    /// Returns the bytes if they are in memory, sharing the allocation instead of borrowing it.
    pub(crate) fn memory(&self) -> Option<Bytes> {
        match &self.body {
            Body::Memory(bytes) => Some(bytes.clone()),
            Body::Mapped(pages) => Some(pages.clone().into()),
            Body::Hole(hole) => hole.bytes(),
            Body::File(_) | Body::Pipe(_) | Body::Zero(_) => None,
        }
    }

    /// Returns whether the segment is an unfilled hole.
    #[inline]
    pub(crate) fn is_unfilled(&self) -> bool {
        matches!(&self.body, Body::Hole(hole) if hole.filled().is_none())
    }

    /// Returns the journal entry template for a copy into memory that begins at the segment's first
    /// byte.
    pub(crate) fn copy_template(&self, reason: Reason, caller: Caller) -> EntryTemplate {
        let operation = match reason {
            Reason::Peeked => Operation::Peek,
            _ => Operation::Materialize,
        };
        EntryTemplate {
            operation,
            reason: Some(reason),
            segment: self.id,
            at: 0,
            caller,
        }
    }

    /// Returns the part `start..end`, with the same ID.
    pub(crate) fn part(&self, start: u64, end: u64) -> Self {
        debug_assert!(start <= end && end <= self.len());
        let memory = || start as usize..end as usize;
        let body = match &self.body {
            Body::Memory(bytes) => Body::Memory(bytes.slice(memory())),
            Body::Mapped(pages) => Body::Mapped(pages.slice(memory())),
            Body::File(extent) => Body::File(extent.part(start, end)),
            Body::Pipe(part) => Body::Pipe(part.part(start, end)),
            Body::Zero(_) => Body::Zero(end - start),
            Body::Hole(hole) => Body::Hole(hole.part(start, end)),
        };
        Self {
            id: self.id,
            body,
            copy_reason: self.copy_reason,
        }
    }

    /// Drops the first `n` bytes without touching the reference count.
    pub(crate) fn advance(&mut self, n: u64) {
        debug_assert!(n <= self.len());
        match &mut self.body {
            Body::Memory(bytes) => bytes::Buf::advance(bytes, n as usize),
            Body::Mapped(pages) => pages.advance(n as usize),
            Body::File(extent) => extent.advance(n),
            Body::Pipe(part) => part.advance(n),
            Body::Zero(len) => *len -= n,
            Body::Hole(hole) => hole.advance(n),
        }
    }

    /// Keeps the first `n` bytes without touching the reference count.
    pub(crate) fn truncate(&mut self, n: u64) {
        debug_assert!(n <= self.len());
        match &mut self.body {
            Body::Memory(bytes) => bytes.truncate(n as usize),
            Body::Mapped(pages) => pages.truncate(n as usize),
            Body::File(extent) => extent.truncate(n),
            Body::Pipe(part) => part.truncate(n),
            Body::Zero(len) => *len = n,
            Body::Hole(hole) => hole.truncate(n),
        }
    }
}

/// Formats the kind, the ID and the length, never the contents.
impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} of {} bytes", self.kind().name(), self.id, self.len())?;
        match &self.body {
            Body::File(extent) => write!(f, " at {}", extent.start()),
            Body::Pipe(part) => write!(f, " at {} from {:?}", part.start(), part.origin()),
            Body::Hole(hole) if hole.filled().is_none() => f.write_str(" (a hole)"),
            _ => Ok(()),
        }
    }
}

impl From<Bytes> for Segment {
    #[inline]
    fn from(bytes: Bytes) -> Self {
        Self::new(Body::Memory(bytes))
    }
}

impl From<Vec<u8>> for Segment {
    #[inline]
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Segment {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static [u8]> for Segment {
    #[inline]
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

impl From<&'static str> for Segment {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<Pages> for Segment {
    fn from(pages: Pages) -> Self {
        Self::new(Body::Mapped(pages))
    }
}

impl From<FileExtent> for Segment {
    fn from(extent: FileExtent) -> Self {
        Self::new(Body::File(extent))
    }
}
