//! Methods of reading pages in a pipe, selectable so that they can be compared.

use super::View;
use crate::counts::Copies;
use crate::endpoint::EndpointKind;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{ApiCall, Caller, EntryTemplate, Operation};
use crate::list::BufferList;
use crate::range;
use crate::reason::Reason;
use crate::receipt::Receipt;
use crate::segment::{Body, FileExtent, Pages};
use crate::sys;
use bytes::Bytes;
use memmap2::MmapOptions;
use rustix::fd::{AsFd, AsRawFd};
use rustix::fs::SealFlags;
use rustix::io::Errno;
use std::ops::{Range, RangeBounds};

/// Method of reading pages in a pipe.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum PeekStrategy {
    /// tee(2) into a private pipe, then read(2). Used by [`peek`](BufferList::peek): the fastest
    /// sound method, and the only one whose result is cached.
    #[default]
    Tee,
    /// tee(2) into a private pipe, splice(2) from there into a memfd, then mmap(2), as proposed by
    /// Ceph's blueprint. The splice copies, as into any file, so this is never faster than reading.
    Memfd,
}

impl BufferList {
    /// Reads a range as [`peek`](Self::peek) does, with the given method. For measurements. The
    /// methods differ only for pipe segments.
    ///
    /// # Panics
    ///
    /// Panics if the range is out of bounds.
    ///
    /// # Errors
    ///
    /// Fails like [`peek`](Self::peek), and with `NoPipe` if the memfd method finds no pipe.
    ///
    /// ```
    /// use bufferlist::{BufferList, Source, PeekStrategy};
    /// use std::io::Write;
    ///
    /// let mut file = tempfile::tempfile()?;
    /// file.write_all(&[7; 8192])?;
    /// let mut list = BufferList::new();
    /// list.splice_from(&mut Source::file(&file, ..)?, 8192)?;
    /// assert_eq!(list.peek_with(PeekStrategy::Memfd, 100..200)?, [7; 100]);
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn peek_with(&self, strategy: PeekStrategy, range: impl RangeBounds<u64>) -> Result<View> {
        let range = range::resolve_in_bounds(&range, self.len());
        let caller = Caller::of(ApiCall::PeekWith);
        match strategy {
            PeekStrategy::Tee => self.view(range, Reason::Peeked, caller),
            PeekStrategy::Memfd => {
                let mut copies = Copies::of(caller);
                let result = self.peek_by_memfd(range, &mut copies);
                self.counter().record(&copies);
                Ok(View::new(
                    result?,
                    Receipt::copied_for(Reason::Peeked, copies.bytes()),
                    caller.at,
                ))
            }
        }
    }

    fn peek_by_memfd(&self, range: Range<u64>, copies: &mut Copies) -> Result<Vec<Bytes>> {
        let mut chunks = Vec::new();
        for (segment, part) in self.rope().segments_in(range) {
            let Body::Pipe(pipe) = &segment.body else {
                super::collect_bytes(segment, part, Reason::Peeked, copies, &mut chunks)?;
                continue;
            };
            let (mut start, end) = (pipe.start() + part.start, pipe.start() + part.end);
            while start < end {
                let (mut private, len) = pipe
                    .cell
                    .tee_to_private_pipe(start, end, copies.caller)
                    .ok_or_else(|| Error::new(ErrorKind::NoPipe, "peek through a memfd"))?;
                let template = pipe.cell.template(Operation::Peek, start, copies.caller);
                chunks.push(copy_through_memfd(&mut private, len, template, copies)?);
                start += len;
            }
        }
        Ok(chunks)
    }

    /// Reads a range as [`peek`](Self::peek) does, but through mappings of files, without a copy,
    /// where a segment is known to come from a file: an extent, or pages of a source [with
    /// provenance](crate::Source::with_provenance). All other segments are read as `peek` does.
    ///
    /// # Panics
    ///
    /// Panics if the range is out of bounds.
    ///
    /// # Errors
    ///
    /// Fails like [`peek`](Self::peek), and with `Truncated` if the file is now shorter than the
    /// extent.
    ///
    /// # Safety
    ///
    /// While the view, or bytes taken out of it, are alive:
    ///
    /// * No code in any process may write to the file, because a `&[u8]` that changes is undefined
    ///   behavior.
    /// * No code in any process may truncate the file, because access beyond its end raises
    ///   `SIGBUS`, which ends the process.
    ///
    /// No check beforehand can ensure this, because the file may change afterwards. For pages in a
    /// pipe, the file must also still hold the bytes that were spliced out of it.
    ///
    /// ```
    /// use bufferlist::{BufferList, FileExtent};
    /// use std::io::Write;
    /// use std::os::fd::OwnedFd;
    ///
    /// let mut file = tempfile::tempfile()?;
    /// file.write_all(b"a file that nobody else can reach")?;
    /// let list = BufferList::from(FileExtent::new(OwnedFd::from(file), 2..6)?);
    /// // SAFETY: the file is temporary and private to this function, which does not write to it again.
    /// let view = unsafe { list.peek_mapped(..)? };
    /// assert_eq!((view.to_vec().as_slice(), view.receipt().copied()), (&b"file"[..], 0));
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub unsafe fn peek_mapped(&self, range: impl RangeBounds<u64>) -> Result<View> {
        let range = range::resolve_in_bounds(&range, self.len());
        let caller = Caller::of(ApiCall::PeekMapped);
        let mut copies = Copies::of(caller);
        let mut chunks = Vec::new();
        let mut result = Ok(());
        for (segment, part) in self.rope().segments_in(range) {
            let source = match &segment.body {
                Body::File(extent) => Some(extent.part(part.start, part.end)),
                Body::Pipe(range) => range.source().map(|source| source.part(part.start, part.end)),
                _ => None,
            };
            result = match source {
                // SAFETY: `map_extent` requires that no code writes to or truncates the file while
                // `bytes` is alive. `bytes` becomes part of the view, for whose life the caller
                // guarantees both (see `# Safety`).
                Some(extent) => unsafe { map_extent(&extent) }.map(|bytes| chunks.push(bytes)),
                None => super::collect_bytes(segment, part, Reason::Peeked, &mut copies, &mut chunks),
            };
            if result.is_err() {
                break;
            }
        }
        self.counter().record(&copies);
        result?;
        Ok(View::new(
            chunks,
            Receipt::copied_for(Reason::Peeked, copies.bytes()),
            caller.at,
        ))
    }
}

/// Copies the first `len` bytes of a pipe through a memfd.
fn copy_through_memfd(
    pipe: &mut crate::pipe::PooledPipe,
    len: u64,
    template: EntryTemplate,
    copies: &mut Copies,
) -> Result<Bytes> {
    let template = EntryTemplate {
        reason: Some(Reason::Peeked),
        ..template
    };
    let error = |errno| Error::from_errno(errno, "peek through a memfd");
    let file = sys::memfd("bufferlist-peek").map_err(error)?;
    let mut at = 0;
    while at < len {
        let left = (len - at) as usize;
        let got = sys::splice(pipe.reader(), None, file.as_fd(), Some(&mut at), left, false).map_err(error)?;
        if got == 0 {
            return Err(error(Errno::IO));
        }
        pipe.record_drain(got as u64);
        pipe.journal_taken(got as u64, &template.advanced_by(at - got as u64));
        copies.add(Reason::Peeked, got as u64);
    }
    rustix::fs::fcntl_add_seals(
        &file,
        SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL,
    )
    .map_err(error)?;
    // SAFETY: the mapping requires a file that never changes while mapped. No other code has the
    // descriptor of this memfd, and its seals forbid writing and truncation permanently.
    let map = unsafe { MmapOptions::new().map_copy_read_only(file.as_raw_fd()) }
        .map_err(|error| Error::from_io(&error, "map a memfd"))?;
    Ok(Pages::from_map(map).into())
}

/// Maps an extent of a sealed memfd. No process can ever write to it or shorten it, so it is like
/// any other memory. Returns `None` for all other files.
pub(super) fn map_sealed(extent: &FileExtent) -> Option<Bytes> {
    if extent.origin().kind != EndpointKind::Tmpfs || extent.is_empty() {
        return None;
    }
    let seals = rustix::fs::fcntl_get_seals(extent.fd()).ok()?;
    if !seals.contains(SealFlags::WRITE | SealFlags::SHRINK) {
        return None;
    }
    // SAFETY: `map_extent` requires that no code writes to or truncates the file. `F_SEAL_WRITE`
    // forbids writes; the kernel grants it only while no writable mapping exists (`mm/memfd.c`).
    // `F_SEAL_SHRINK` forbids truncation. Seals cannot be removed.
    unsafe { map_extent(extent) }.ok()
}

/// Maps an extent of a file.
///
/// # Safety
///
/// While the result is alive, no code in any process may write to the file or truncate it.
unsafe fn map_extent(extent: &FileExtent) -> Result<Bytes> {
    const ACTION: &str = "map a part of a file";
    let stat = sys::stat(extent.fd()).map_err(|errno| Error::from_errno(errno, ACTION))?;
    if (stat.st_size as u64) < extent.start() + extent.len() {
        return Err(Error::new(ErrorKind::Truncated, ACTION));
    }
    let len = extent.len() as usize;
    // SAFETY: the mapping requires that the file neither changes nor shrinks while it is mapped.
    // The caller guarantees both (see `# Safety`), and the length was checked above. Offsets need
    // not be aligned, because memmap2 maps from the page boundary before. The mapping is private,
    // because kernels before 6.7 refuse a shared one of a file that is sealed against writing; it
    // shows the same pages.
    let map = unsafe {
        MmapOptions::new()
            .offset(extent.start())
            .len(len)
            .map_copy_read_only(extent.fd().as_raw_fd())
    };
    map.map(|map| Pages::from_map(map).into())
        .map_err(|error| Error::from_io(&error, ACTION))
}
