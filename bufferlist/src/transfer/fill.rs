//! Filling a list from a source.

use super::{Blocking, Progress};
use crate::counts::Copies;
use crate::endpoint::kind::{Endpoint, EndpointKind, LOCAL_HOST};
use crate::endpoint::{SourceMut, TransferMode, direct_io, endpoint_error, fallback_reason};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{self, Caller, EntryTemplate, Operation};
use crate::list::BufferList;
use crate::pipe::{NoPipe, OwnedPipe, PipeCache, SlotLayout};
use crate::reason::Reason;
use crate::receipt::Receipt;
use crate::segment::{Body, FileExtent, Segment, SegmentId, Stability};
use crate::step::Side;
use crate::sys;
use bytes::Bytes;
use rustix::io::Errno;
use std::sync::Arc;

/// Minimum number of slots of a useful pipe. Above an unprivileged user's quota, new pipes have two
/// slots (pipe(7)): two system calls for 8 KiB, where a read and a write move 64 KiB.
const MIN_SLOTS: u64 = 4;

/// Bytes per read when bytes are copied: the capacity of a pipe of the default size.
const COPY_CHUNK: u64 = 64 * 1024;

/// Average number of bytes per slot below which a full pipe is copied into whole pages instead of
/// being left behind for a new one. An eighth of a page, so that the copy frees seven of eight
/// slots.
const MIN_BYTES_PER_SLOT: u64 = 512;

const ACTION: &str = "splice from the source";

/// Endpoint of a pipe of a list.
const PIPE_ENDPOINT: Endpoint = Endpoint {
    kind: EndpointKind::Pipe,
    domain: LOCAL_HOST,
};

/// Makes one attempt to append up to `len` bytes of `source` to `list`, and records them in
/// `receipt`.
pub(super) fn fill(
    list: &mut BufferList,
    source: &mut SourceMut<'_>,
    len: u64,
    pipe_cache: &mut PipeCache,
    blocking: Blocking,
    caller: Caller,
    receipt: &mut Receipt,
) -> Result<Progress> {
    if len == 0 {
        return Err(Error::new(ErrorKind::InvalidInput, "splice zero bytes from a source"));
    }
    if blocking == Blocking::Never {
        source.ensure_nonblocking()?;
    }
    let want = len.min(source.end_offset - source.offset);
    if want == 0 {
        return Ok(Progress::End);
    }
    let mut fill_op = FillOp {
        list,
        source,
        want,
        pipe_cache,
        copies: Copies::of(caller),
        receipt,
    };
    let result = fill_op.attempt();
    fill_op.list.counter().record(&fill_op.copies);
    result
}

/// One attempt, with everything it works on.
struct FillOp<'a, 'fd> {
    list: &'a mut BufferList,
    source: &'a mut SourceMut<'fd>,
    /// Maximum number of bytes.
    want: u64,
    pipe_cache: &'a mut PipeCache,
    copies: Copies,
    /// Records what enters the list.
    receipt: &'a mut Receipt,
}

impl FillOp<'_, '_> {
    fn attempt(&mut self) -> Result<Progress> {
        if let TransferMode::Copy(reason) = self.source.mode {
            return self.copy(reason);
        }
        if self.want < self.source.threshold && self.source.info.endpoint.kind != EndpointKind::DirectFile {
            return self.copy(Reason::BelowThreshold);
        }
        match self.fill_tail()? {
            TailOutcome::Done(step) => Ok(step),
            TailOutcome::CannotSplice(reason) => self.copy(reason),
            TailOutcome::Unavailable => self.fill_new(),
        }
    }

    /// Appends to the pipe at the end of the list, if the list is its only holder and the bytes
    /// have the same origin.
    fn fill_tail(&mut self) -> Result<TailOutcome> {
        let origin = self.source.info.endpoint;
        let caller = self.copies.caller;
        let Some(Segment {
            body: Body::Pipe(range),
            ..
        }) = self.list.rope_mut().back_mut()
        else {
            return Ok(TailOutcome::Unavailable);
        };
        let range_end = range.end();
        let fill = range.cell.template(Operation::Fill, range_end, caller);
        let Some(cell) = Arc::get_mut(&mut range.cell) else {
            return Ok(TailOutcome::Unavailable);
        };
        let Some((cell_end, pipe)) = cell.tail(origin) else {
            return Ok(TailOutcome::Unavailable);
        };
        // An empty pipe would not belong to a segment. If bytes were split off behind the range,
        // appending here would restore them.
        if cell_end != range_end || pipe.ledger.is_empty() {
            return Ok(TailOutcome::Unavailable);
        }
        if !pipe.has_free_slot() {
            return if is_fragmented(pipe) {
                defragment(self.list, &mut self.copies)
            } else {
                Ok(TailOutcome::Unavailable)
            };
        }
        match splice(self.source, pipe, self.want, &fill) {
            Ok(0) => Ok(TailOutcome::Done(Progress::End)),
            Ok(got) => {
                cell.extend_source(source_extent(self.source, got));
                range.extend(got);
                self.list.rope_mut().extend_back(got);
                self.receipt.add_spliced(self.source.info.endpoint, PIPE_ENDPOINT, got);
                Ok(TailOutcome::Done(Progress::Moved))
            }
            Err(Errno::AGAIN) if !pipe.has_free_slot() => {
                if is_fragmented(pipe) {
                    return defragment(self.list, &mut self.copies);
                }
                Ok(TailOutcome::Unavailable)
            }
            Err(Errno::AGAIN) => Ok(TailOutcome::Done(Progress::Blocked(Side::Source))),
            Err(errno) => self.fall_back(errno).map(TailOutcome::CannotSplice),
        }
    }

    /// Splices into a new pipe.
    fn fill_new(&mut self) -> Result<Progress> {
        // One slot more than pages, because the first byte is seldom at the start of a page.
        let page = sys::page_size() as u64;
        let offset = if self.source.info.endpoint.kind.is_file() {
            self.source.offset % page
        } else {
            0
        };
        let slots = (self.want.min(sys::MAX_COUNT as u64) + offset).div_ceil(page).max(1);
        let mut cell = match self.pipe_cache.get_cell(slots.max(MIN_SLOTS), MIN_SLOTS) {
            Ok(cell) => cell,
            Err(NoPipe::Wait) => return Ok(Progress::Blocked(Side::Pipe)),
            Err(NoPipe::Copy) => return self.copy(Reason::NoPipe),
        };
        let id = SegmentId::next();
        let fill = EntryTemplate {
            operation: Operation::Fill,
            reason: None,
            segment: id,
            at: 0,
            caller: self.copies.caller,
        };
        match splice(self.source, cell.pipe(), self.want, &fill) {
            Ok(0) => {
                self.pipe_cache.put_cell(cell);
                Ok(Progress::End)
            }
            Ok(got) => {
                let end = self.source.info.endpoint;
                let range = cell.into_range(id, end, stability(end.kind), source_extent(self.source, got));
                self.list.push(Segment::new(Body::Pipe(range)));
                self.receipt.add_spliced(self.source.info.endpoint, PIPE_ENDPOINT, got);
                Ok(Progress::Moved)
            }
            Err(errno) => {
                // The pipe was empty, so EAGAIN does not mean that it is full.
                self.pipe_cache.put_cell(cell);
                if errno == Errno::AGAIN {
                    return Ok(Progress::Blocked(Side::Source));
                }
                let reason = self.fall_back(errno)?;
                self.copy(reason)
            }
        }
    }

    /// Reads into memory, and appends that to the list.
    fn copy(&mut self, reason: Reason) -> Result<Progress> {
        let len = self.want.min(COPY_CHUNK) as usize;
        match read(self.source, len) {
            Ok(bytes) if bytes.is_empty() => Ok(Progress::End),
            Ok(bytes) => {
                let got = bytes.len() as u64;
                if self.source.info.endpoint.kind.is_file() {
                    self.source.offset += got;
                }
                self.copies.add(reason, got);
                let segment = Segment::copied(bytes, reason);
                journal::write_copy(&segment.copy_template(reason, self.copies.caller), got);
                self.list.push(segment);
                self.receipt.add_copied(reason, got);
                Ok(Progress::Moved)
            }
            Err(Errno::AGAIN) => Ok(Progress::Blocked(Side::Source)),
            Err(errno) => Err(endpoint_error(
                self.source.info.endpoint.kind,
                errno,
                ACTION,
                Side::Source,
            )),
        }
    }

    /// Returns the reason for copying if an error of splice(2) allows it, and records it for later
    /// attempts. No byte had moved.
    fn fall_back(&mut self, errno: Errno) -> Result<Reason> {
        let kind = self.source.info.endpoint.kind;
        let Some(reason) = fallback_reason(kind, errno) else {
            return Err(endpoint_error(kind, errno, ACTION, Side::Source));
        };
        // A TCP socket can refuse one splice and accept the next (a kTLS record that is not data:
        // HAProxy 755436920), so only this attempt is copied. For all other kinds, refusal is a
        // property of the file.
        if !kind.is_socket() || errno != Errno::INVAL {
            self.source.mode = TransferMode::Copy(reason);
        }
        Ok(reason)
    }
}

/// Result of the attempt to use the pipe at the end of the list.
enum TailOutcome {
    Done(Progress),
    /// The list ends with no suitable pipe, or the pipe has no free slot.
    Unavailable,
    /// The source cannot be spliced, with the reason.
    CannotSplice(Reason),
}

/// Returns the extent of the last `got` bytes of the source, whose offset has already advanced.
fn source_extent(source: &SourceMut<'_>, got: u64) -> Option<FileExtent> {
    let file = source.provenance.as_ref()?;
    Some(FileExtent::from_known(
        Arc::clone(file),
        source.info.endpoint,
        source.offset - got..source.offset,
    ))
}

/// Returns the stability of bytes from an endpoint of this kind.
///
/// Pages of a file change when the file is written to. Bytes from a socket or pipe may be such
/// pages, if the other side is on this host and spliced them; the library cannot know. A direct
/// read fills new pages that nothing else refers to.
pub(super) fn stability(kind: EndpointKind) -> Stability {
    match kind {
        EndpointKind::DirectFile => Stability::Private,
        _ => Stability::Volatile,
    }
}

/// Returns the slot layout of bytes that are spliced out of an endpoint from `offset` on.
pub(super) fn slot_layout(kind: EndpointKind, offset: u64) -> SlotLayout {
    match kind {
        EndpointKind::File | EndpointKind::Tmpfs => SlotLayout::Paged {
            offset: (offset % sys::page_size() as u64) as u32,
        },
        // Direct reads fill new pages from their start, whatever the offset (`fs/splice.c`:
        // `copy_splice_read()`).
        EndpointKind::DirectFile => SlotLayout::Paged { offset: 0 },
        _ => SlotLayout::Opaque,
    }
}

/// Splices once into a pipe of the list, and records the bytes at both sides.
fn splice(source: &mut SourceMut<'_>, pipe: &mut OwnedPipe, want: u64, template: &EntryTemplate) -> Result<u64, Errno> {
    let is_file = source.info.endpoint.kind.is_file();
    let offset = source.offset;
    let len = want.min(sys::MAX_COUNT as u64) as usize;
    let got = if is_file {
        sys::splice(
            source.fd,
            Some(&mut source.state.offset),
            pipe.writer(),
            None,
            len,
            false,
        )?
    } else {
        sys::splice(source.fd, None, pipe.writer(), None, len, false)?
    };
    if got > 0 {
        pipe.record_fill(got as u64, slot_layout(source.info.endpoint.kind, offset));
        pipe.journal_put(got as u64, template);
    }
    Ok(got as u64)
}

/// Reads the next bytes of the source into memory; none at its end. Does not advance a file's
/// offset.
fn read(source: &SourceMut<'_>, len: usize) -> Result<Bytes, Errno> {
    let mut bytes = Vec::new();
    match source.info.endpoint.kind {
        EndpointKind::DirectFile => return direct_io::pread(source.fd, len, source.offset),
        kind if kind.is_file() => sys::pread(source.fd, &mut bytes, len, source.offset)?,
        _ => sys::read(source.fd, &mut bytes, len)?,
    };
    if bytes.capacity() > 2 * bytes.len() {
        bytes.shrink_to_fit();
    }
    Ok(bytes.into())
}

/// Returns whether the slots of a full pipe are nearly empty.
fn is_fragmented(pipe: &OwnedPipe) -> bool {
    pipe.ledger.bytes() < pipe.slots() * MIN_BYTES_PER_SLOT
}

/// Reads the pipe at the end of the list, which is full of tiny pieces, into memory. This one
/// bounded copy frees the pipe for further bytes, and avoids a new pipe for each few hundred bytes.
fn defragment(list: &mut BufferList, copies: &mut Copies) -> Result<TailOutcome> {
    if let Some(Segment {
        body: Body::Pipe(range),
        ..
    }) = list.rope_mut().back_mut()
    {
        range
            .cell
            .read_into_memory(range.start(), Reason::Defragmented, copies)
            .map_err(|errno| Error::from_errno(errno, "defragment a pipe").at_side(Side::Pipe))?;
    }
    Ok(TailOutcome::Unavailable)
}
