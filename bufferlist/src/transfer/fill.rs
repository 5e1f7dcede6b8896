//! From a source into a list.

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

/// With fewer slots than this a pipe is not worth having: over an unprivileged user's quota new pipes have two (pipe(7)),
/// which is two system calls for 8 KiB where a read and a write move 64 KiB.
const MIN_SLOTS: u64 = 4;

/// What one read takes when bytes are copied: what a pipe of the usual size holds.
const COPY_CHUNK: u64 = 64 * 1024;

/// A full pipe whose slots hold less than this on average is rewritten into whole pages rather than left behind for a
/// new one: an eighth of a page, so that the copy frees seven of eight slots.
const MIN_BYTES_PER_SLOT: u64 = 512;

const ACTION: &str = "splice from the source";

/// The end that a list's pipe is.
const PIPE_ENDPOINT: Endpoint = Endpoint {
    kind: EndpointKind::Pipe,
    domain: LOCAL_HOST,
};

/// One attempt to add up to `len` bytes of `source` to `list`, which the receipt then tells of.
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
        return Err(Error::new(ErrorKind::InvalidInput, "splice nothing from a source"));
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

/// One attempt, with all that it works on.
struct FillOp<'a, 'fd> {
    list: &'a mut BufferList,
    source: &'a mut SourceMut<'fd>,
    /// How many bytes, at most.
    want: u64,
    pipe_cache: &'a mut PipeCache,
    copies: Copies,
    /// Told of what comes into the list.
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

    /// Adds to the pipe that the list ends with, if only this list holds it and the bytes are of the same origin.
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
        // A pipe in use has its place in a list: what was cut off behind the range must not come back.
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

    /// Puts bytes into a pipe of their own.
    fn fill_new(&mut self) -> Result<Progress> {
        // One slot more than pages: the first byte seldom lies at the start of one.
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
                // The pipe was empty, so it is not what is full.
                self.pipe_cache.put_cell(cell);
                if errno == Errno::AGAIN {
                    return Ok(Progress::Blocked(Side::Source));
                }
                let reason = self.fall_back(errno)?;
                self.copy(reason)
            }
        }
    }

    /// Reads into memory, and adds that to the list.
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

    /// Whether an error of splice(2) lets us copy instead, and remembers so. Nothing had moved.
    fn fall_back(&mut self, errno: Errno) -> Result<Reason> {
        let kind = self.source.info.endpoint.kind;
        let Some(reason) = fallback_reason(kind, errno) else {
            return Err(endpoint_error(kind, errno, ACTION, Side::Source));
        };
        // A TCP socket can refuse one splice and take the next (a kTLS record that is not data: HAProxy 755436920), so only
        // this attempt is copied. For all others it is a property of the file.
        if !kind.is_socket() || errno != Errno::INVAL {
            self.source.mode = TransferMode::Copy(reason);
        }
        Ok(reason)
    }
}

/// What became of the attempt to use the pipe at the end of the list.
enum TailOutcome {
    Done(Progress),
    /// There is none, or no slot of it is free.
    Unavailable,
    /// The source cannot be spliced, for this reason.
    CannotSplice(Reason),
}

/// The extent of the last `got` bytes of the source, which has gone on already.
fn source_extent(source: &SourceMut<'_>, got: u64) -> Option<FileExtent> {
    let file = source.provenance.as_ref()?;
    Some(FileExtent::from_known(
        Arc::clone(file),
        source.info.endpoint,
        source.offset - got..source.offset,
    ))
}

/// Pages of a file change when the file is written to. What comes through a socket or pipe may be such pages, if its
/// other side is on this host and spliced them; we cannot know. A direct read is into fresh pages that are ours alone.
pub(super) fn stability(kind: EndpointKind) -> Stability {
    match kind {
        EndpointKind::DirectFile => Stability::Private,
        _ => Stability::Volatile,
    }
}

/// How bytes that were spliced out of an end, from this offset on, lie in slots.
pub(super) fn slot_layout(kind: EndpointKind, offset: u64) -> SlotLayout {
    match kind {
        EndpointKind::File | EndpointKind::Tmpfs => SlotLayout::Paged {
            offset: (offset % sys::page_size() as u64) as u32,
        },
        // Direct reads fill fresh pages from their start, whatever the offset (copy_splice_read, fs/splice.c).
        EndpointKind::DirectFile => SlotLayout::Paged { offset: 0 },
        _ => SlotLayout::Opaque,
    }
}

/// One splice into a pipe of ours, accounted for at both sides.
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

/// The next bytes of the source in memory, without going on in a file; none at its end.
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

/// Whether the slots of a full pipe hold next to nothing.
fn is_fragmented(pipe: &OwnedPipe) -> bool {
    pipe.ledger.bytes() < pipe.slots() * MIN_BYTES_PER_SLOT
}

/// Reads the pipe that the list ends with, full of tiny pieces, into memory: one bounded copy, which frees the pipe for
/// what comes next, instead of a new pipe for each few hundred bytes.
fn defragment(list: &mut BufferList, copies: &mut Copies) -> Result<TailOutcome> {
    if let Some(Segment {
        body: Body::Pipe(range),
        ..
    }) = list.rope_mut().back_mut()
    {
        range
            .cell
            .read_into_memory(range.start(), Reason::Defragmented, copies)
            .map_err(|errno| Error::from_errno(errno, "rewrite a pipe full of tiny pieces").at_side(Side::Pipe))?;
    }
    Ok(TailOutcome::Unavailable)
}
