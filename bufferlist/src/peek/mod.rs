//! Peeking: reading bytes without consuming them, always explicitly, always counted by call site.

mod align;
mod crc;
mod hexdump;
mod strategy;
mod view;

pub use align::Alignment;
pub use crc::Crc;
pub use strategy::PeekStrategy;
pub use view::View;

use crate::counts::Copies;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{self, ApiCall, Caller, EntryTemplate};
use crate::list::BufferList;
use crate::range;
use crate::reason::Reason;
use crate::receipt::Receipt;
use crate::segment::{Body, FileExtent, Segment, ZEROS};
use bytes::{Bytes, BytesMut};
use rustix::io::Errno;
use std::ops::{Range, RangeBounds};

/// Bytes of a file per read, large enough that the cost of the system call is negligible.
const READ_CHUNK: u64 = 1 << 20;

impl BufferList {
    /// Returns a range of the list in memory. The only access to bytes in a pipe, besides sending
    /// them.
    ///
    /// Memory is returned without a copy. Of bytes in a pipe or file, at most the range is copied,
    /// and the copy is counted for the caller's call site as [`Reason::Peeked`]. The pages stay
    /// where they are, so the list can still be moved without a copy. Clones of a list share the
    /// copies of pipe contents: peeking at the same range again costs nothing. Bytes of files are
    /// read again each time, because the file may have changed. Only a memfd that is sealed against
    /// writing and shrinking (`F_SEAL_WRITE`, `F_SEAL_SHRINK`, fcntl(2)) is mapped, and returned
    /// without a copy.
    ///
    /// # Panics
    ///
    /// Panics if the range is out of bounds.
    ///
    /// # Errors
    ///
    /// `Hole` if one in the range is not filled, `Truncated` if a file is shorter than its extent,
    /// `Forked` or `Io`. The list is unchanged in any case.
    ///
    /// ```
    /// use bufferlist::{BufferList, Source};
    /// use std::io::Write;
    ///
    /// let mut file = tempfile::tempfile()?;
    /// file.write_all(b"magic and a long body")?;
    /// let mut list = BufferList::new();
    /// list.splice_from(&mut Source::file(&file, ..)?.threshold(0), 100)?;
    /// assert_eq!(list.peek(..5)?, *b"magic");
    /// assert_eq!(list.counts().copied(), 5);
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn peek(&self, range: impl RangeBounds<u64>) -> Result<View> {
        let range = range::resolve_in_bounds(&range, self.len());
        self.view(range, Reason::Peeked, Caller::of(ApiCall::Peek))
    }

    /// Returns the whole list in one piece of memory, like Ceph's `c_str`.
    ///
    /// Nothing is copied if the list is one piece of memory already. Otherwise all bytes are
    /// copied; those that were in the kernel count as [`Reason::Peeked`].
    ///
    /// # Errors
    ///
    /// Fails like [`peek`](Self::peek).
    ///
    /// ```
    /// # use bufferlist::BufferList;
    /// let mut list = BufferList::from("one ");
    /// list.push("two");
    /// assert_eq!(list.to_bytes()?, "one two");
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn to_bytes(&self) -> Result<Bytes> {
        let view = self.view(0..self.len(), Reason::Peeked, Caller::of(ApiCall::ToBytes))?;
        Ok(view.into_bytes())
    }

    /// Replaces segments that others could change by private memory: one copy, counted as
    /// [`Reason::Stabilized`]. Memory and zeros are kept. The receipt covers the copied bytes.
    ///
    /// # Errors
    ///
    /// Fails like [`peek`](Self::peek). The list is then unchanged.
    ///
    /// ```
    /// use bufferlist::{BufferList, Source, Stability};
    /// use std::io::Write;
    ///
    /// let mut file = tempfile::tempfile()?;
    /// file.write_all(&[1; 8192])?;
    /// let mut list = BufferList::new();
    /// list.splice_from(&mut Source::file(&file, ..)?, 8192)?;
    /// assert_eq!(list.stability(), Stability::Volatile);
    /// assert_eq!(list.stabilize()?.copied(), 8192);
    /// assert_eq!(list.stability(), Stability::Private);
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn stabilize(&mut self) -> Result<Receipt> {
        let mut copies = Copies::of(Caller::of(ApiCall::Stabilize));
        let result = self.stable_segments(&mut copies);
        self.counter().record(&copies);
        let segments = result?;
        self.rope_mut().clear();
        for segment in segments {
            self.rope_mut().push_back(segment);
        }
        Ok(Receipt::copied_for(Reason::Stabilized, copies.bytes()))
    }

    /// Returns the segments, with copies in place of those that others can change.
    fn stable_segments(&self, copies: &mut Copies) -> Result<Vec<Segment>> {
        let mut stable = Vec::new();
        for segment in self.segments() {
            if segment.stability() == crate::Stability::Private {
                stable.push(segment.clone());
            } else {
                let mut chunks = Vec::new();
                collect_bytes(segment, 0..segment.len(), Reason::Stabilized, copies, &mut chunks)?;
                stable.extend(
                    chunks
                        .into_iter()
                        .map(|bytes| Segment::copied(bytes, Reason::Stabilized)),
                );
            }
        }
        Ok(stable)
    }

    /// Returns a range in memory, and counts the copies for a reason and call site.
    fn view(&self, range: Range<u64>, reason: Reason, caller: Caller) -> Result<View> {
        let mut copies = Copies::of(caller);
        let mut chunks = Vec::new();
        let mut result = Ok(());
        for (segment, part) in self.rope().segments_in(range) {
            result = collect_bytes(segment, part, reason, &mut copies, &mut chunks);
            if result.is_err() {
                break;
            }
        }
        // Copies made before an error count as well.
        self.counter().record(&copies);
        result?;
        let mut receipt = Receipt::default();
        if let Some(reason) = copies.reason() {
            receipt += Receipt::copied_for(reason, copies.bytes());
        }
        Ok(View::new(chunks, receipt, caller.at))
    }
}

/// Appends the bytes of a part of a segment to `chunks`.
fn collect_bytes(
    segment: &Segment,
    part: Range<u64>,
    reason: Reason,
    copies: &mut Copies,
    chunks: &mut Vec<Bytes>,
) -> Result<()> {
    const ACTION: &str = "peek at bytes";
    match &segment.body {
        Body::Zero(_) => {
            let mut left = part.end - part.start;
            while left > 0 {
                let len = left.min(ZEROS.len() as u64);
                chunks.push(Bytes::from_static(&ZEROS[..len as usize]));
                left -= len;
            }
        }
        Body::File(extent) => {
            let template = segment.copy_template(reason, copies.caller).advanced_by(part.start);
            let extent = extent.part(part.start, part.end);
            match strategy::map_sealed(&extent) {
                Some(bytes) => chunks.push(bytes),
                None => read_extent(&extent, &template, reason, copies, chunks)?,
            }
        }
        Body::Pipe(range) => {
            if !range.cell.is_from_this_process() {
                return Err(Error::new(ErrorKind::Forked, ACTION));
            }
            let (mut start, end) = (range.start() + part.start, range.start() + part.end);
            while start < end {
                let bytes = range
                    .cell
                    .peek(start, end, copies, reason)
                    .map_err(|errno| Error::from_errno(errno, ACTION))?;
                if bytes.is_empty() {
                    return Err(Error::from_errno(Errno::IO, ACTION));
                }
                start += bytes.len() as u64;
                chunks.push(bytes);
            }
        }
        Body::Memory(..) | Body::Mapped(_) | Body::Hole(_) => match segment.memory() {
            Some(memory) => chunks.push(memory.slice(part.start as usize..part.end as usize)),
            None => return Err(Error::new(ErrorKind::Hole, ACTION)),
        },
    }
    Ok(())
}

/// Reads a whole extent. `template` is that of its first byte.
fn read_extent(
    extent: &FileExtent,
    template: &EntryTemplate,
    reason: Reason,
    copies: &mut Copies,
    chunks: &mut Vec<Bytes>,
) -> Result<()> {
    const ACTION: &str = "peek at a file";
    let mut left = extent.clone();
    while !left.is_empty() {
        match left.read(READ_CHUNK) {
            Ok(bytes) if bytes.is_empty() => return Err(Error::new(ErrorKind::Truncated, ACTION)),
            Ok(bytes) => {
                let got = bytes.len() as u64;
                copies.add(reason, got);
                journal::write_copy(&template.advanced_by(extent.len() - left.len()), got);
                left.advance(got);
                chunks.push(bytes);
            }
            Err(errno) => return Err(Error::from_errno(errno, ACTION)),
        }
    }
    Ok(())
}

/// Concatenates chunks. Does not copy a single one.
pub(crate) fn concat(chunks: &[Bytes]) -> Bytes {
    match chunks {
        [] => Bytes::new(),
        [only] => only.clone(),
        many => {
            let mut joined = BytesMut::with_capacity(many.iter().map(Bytes::len).sum());
            for chunk in many {
                joined.extend_from_slice(chunk);
            }
            joined.freeze()
        }
    }
}
