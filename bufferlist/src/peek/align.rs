//! Rebuilding of unaligned segments, for direct I/O and for devices with alignment requirements.

use super::collect_bytes;
use crate::counts::Copies;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{ApiCall, Caller};
use crate::list::BufferList;
use crate::reason::Reason;
use crate::receipt::Receipt;
use crate::segment::{Body, PagesMut, Segment};

/// Alignment requirements of direct I/O.
///
/// ```
/// use bufferlist::Alignment;
/// let disk = Alignment { memory: 512, length: 4096 };
/// assert_eq!(Alignment::PAGE.length, 4096);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Alignment {
    /// Addresses and file offsets are multiples of this number of bytes: a power of two, at most a
    /// page.
    pub memory: usize,
    /// Lengths are multiples of this number of bytes.
    pub length: usize,
}

impl Alignment {
    /// 4096 for both, which every disk and filesystem accepts.
    pub const PAGE: Self = Self {
        memory: 4096,
        length: 4096,
    };

    fn is_aligned(self, segment: &Segment) -> bool {
        let start = match &segment.body {
            Body::Zero(_) => 0,
            Body::File(extent) => extent.start(),
            // Only the ledger of the whole pipe knows where in their pages its bytes begin.
            Body::Pipe(range) if range.cell.is_aligned() => range.start(),
            Body::Pipe(_) => return false,
            Body::Memory(..) | Body::Mapped(_) | Body::Hole(_) => match segment.as_memory() {
                Some(memory) => memory.as_ptr() as u64,
                None => return false,
            },
        };
        start % self.memory as u64 == 0 && self.divides(segment.len())
    }

    fn divides(self, len: u64) -> bool {
        len % self.length as u64 == 0
    }
}

impl BufferList {
    /// Copies unaligned segments into pages of their own, and keeps aligned segments.
    ///
    /// A run of consecutive unaligned segments is merged until its length is aligned. The copies
    /// are counted as [`Reason::Rebuilt`]; the receipt covers the copied bytes. The length of the
    /// last segment is aligned only if that of the list is.
    ///
    /// # Errors
    ///
    /// Fails like [`peek`](Self::peek), and with `InvalidInput` if `memory` is not a power of two
    /// up to 4096 or `length` is zero. The list is then unchanged.
    ///
    /// ```
    /// use bufferlist::{Alignment, BufferList, PagesMut};
    ///
    /// let mut list = BufferList::from(vec![1; 4000]);
    /// list.push(vec![2; 96]);
    /// list.push(PagesMut::new(8192)?.seal()?);
    /// assert_eq!(list.rebuild_aligned(Alignment::PAGE)?.copied(), 4096); // the pages are left as they are
    /// assert_eq!(list.segments().map(|segment| segment.len()).collect::<Vec<_>>(), [4096, 8192]);
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn rebuild_aligned(&mut self, to: Alignment) -> Result<Receipt> {
        if !to.memory.is_power_of_two() || to.memory > 4096 || to.length == 0 {
            return Err(Error::new(ErrorKind::InvalidInput, "rebuild to an alignment"));
        }
        let mut copies = Copies::of(Caller::of(ApiCall::RebuildAligned));
        let result = self.aligned_segments(to, &mut copies);
        self.counter().record(&copies);
        let segments = result?;
        self.rope_mut().clear();
        for segment in segments {
            self.rope_mut().push_back(segment);
        }
        Ok(Receipt::copied_for(Reason::Rebuilt, copies.bytes()))
    }

    fn aligned_segments(&self, to: Alignment, copies: &mut Copies) -> Result<Vec<Segment>> {
        let mut aligned = Vec::new();
        let mut run: Vec<&Segment> = Vec::new();
        let mut run_len = 0;
        for segment in self.segments() {
            if run.is_empty() && to.is_aligned(segment) {
                aligned.push(segment.clone());
                continue;
            }
            run.push(segment);
            run_len += segment.len();
            if to.divides(run_len) {
                aligned.push(rebuild(&run, run_len, copies)?);
                run.clear();
                run_len = 0;
            }
        }
        if !run.is_empty() {
            aligned.push(rebuild(&run, run_len, copies)?);
        }
        Ok(aligned)
    }
}

/// Copies several segments into one, in pages of its own.
fn rebuild(run: &[&Segment], len: u64, copies: &mut Copies) -> Result<Segment> {
    let mut pages = PagesMut::new(len as usize)?;
    let mut into = pages.as_mut_slice();
    for segment in run {
        let mut chunks = Vec::new();
        // Bytes in the kernel are read first, and that copy counts as well as the one into the
        // pages.
        collect_bytes(segment, 0..segment.len(), Reason::Rebuilt, copies, &mut chunks)?;
        for chunk in chunks {
            let (here, rest) = into.split_at_mut(chunk.len());
            here.copy_from_slice(&chunk);
            copies.add(Reason::Rebuilt, chunk.len() as u64);
            into = rest;
        }
    }
    Ok(pages.seal()?.into())
}
